"""A detector applied to PIL pictures: prepared, seen in views or tiles, and the findings in their pixels."""

from collections.abc import Sequence
from itertools import groupby

import torch
from PIL import Image

from swinkit.data.object_transforms import ObjectEvalTransform, pad_batch
from swinkit.detection.config import DetectorConfig, SelectConfig, ViewConfig
from swinkit.detection.detector import Detector
from swinkit.detection.structures import Detections
from swinkit.detection.views import View, detect_views, merge_tiles, tile_corners
from swinkit.errors import InputError


class PictureDetector:
    """Finds objects in pictures.

    Args:
        model: a detector; it is set to evaluation mode.
        select: how detections are chosen; None: as the model's configuration says.
        view: how pictures are looked at.
    """

    def __init__(
        self, model: Detector, *, select: SelectConfig | None = None, view: ViewConfig | None = None
    ) -> None:
        self.model = model.eval()
        self.select = select or model.config.select
        self.view = view or ViewConfig()
        config = model.config
        self._transforms = [
            ObjectEvalTransform(
                model.spec.preprocess,
                short_side=round(config.short_side * scale),
                long_side=round(config.long_side * scale),
                scale=None if config.scale is None else config.scale * scale,
            )
            for scale in self.view.scales
        ]
        self._allowed = allowed_classes(config, model.spec.class_names, self.view.classes)

    def prepare(self, picture: Image.Image) -> list[View]:
        """Return the views of a picture that is not tiled, in main memory."""
        views = []
        for transform in self._transforms:
            image = transform.image(picture)
            size = (image.shape[1], image.shape[2])
            for mirrored in (False, True) if self.view.flip else (False,):
                seen = image.flip(-1) if mirrored else image
                views.append(View(pad_batch([seen])[0], size, mirrored))
        return views

    def __call__(self, picture: Image.Image) -> Detections:
        """Return what is found, in pixels of the picture, in main memory."""
        return self.many([picture])[0]

    def many(
        self, pictures: Sequence[Image.Image], views: Sequence[list[View]] | None = None
    ) -> list[Detections]:
        """Return what is found in each picture; those of one size go through the network together.

        Args:
            pictures: PIL RGB.
            views: of `prepare`, if they are there already.
        """
        if self.view.tile is not None:
            return [self._tiled(picture) for picture in pictures]
        ready = list(views) if views is not None else [self.prepare(picture) for picture in pictures]
        sizes = [(picture.height, picture.width) for picture in pictures]
        if len(self._transforms) > 1 or self.view.flip or self._allowed is not None:
            return [self._several(own, size) for own, size in zip(ready, sizes, strict=True)]
        found: list[Detections] = []
        for _, group in groupby(zip(ready, sizes, strict=True), key=lambda item: (item[0][0].size, item[1])):
            found += self._together([(own[0], size) for own, size in group])
        return found

    @torch.inference_mode()
    def _together(self, items: list[tuple[View, tuple[int, int]]]) -> list[Detections]:
        weight = next(self.model.parameters())
        images = torch.stack([view.image for view, _ in items]).to(weight.device, weight.dtype)
        results = self.model(images, [view.size for view, _ in items], self.select)
        found = []
        for result, (view, size) in zip(results, items, strict=True):
            across, down = size[1] / view.size[1], size[0] / view.size[0]
            factor = result.boxes.new_tensor([across, down, across, down])
            found.append(result.moved(result.boxes * factor).cpu())
        return found

    @torch.inference_mode()
    def _several(self, views: list[View], size: tuple[int, int]) -> Detections:
        weight = next(self.model.parameters())
        moved = [View(view.image.to(weight.device, weight.dtype), view.size, view.mirrored) for view in views]
        allowed = None if self._allowed is None else self._allowed.to(weight.device)
        return detect_views(self.model, moved, size, self.select, allowed).cpu()

    def _tiled(self, picture: Image.Image) -> Detections:
        tile = self.view.tile
        assert tile is not None
        size = (picture.height, picture.width)
        corners = tile_corners(size, tile, self.view.overlap)
        parts = []
        for row, column in corners:
            box = (column, row, min(column + tile, size[1]), min(row + tile, size[0]))
            cut = picture.crop(box)
            parts.append(self._several(self.prepare(cut), (cut.height, cut.width)))
        return parts[0] if len(parts) == 1 else merge_tiles(parts, corners, tile, size)


def allowed_classes(
    config: DetectorConfig, names: Sequence[str], wanted: Sequence[str]
) -> torch.Tensor | None:
    """Return which classes (K,) are wanted; None when no class is named, which means all.

    Raises:
        InputError: a name that the model does not know.
    """
    if not wanted:
        return None
    known = list(names) or [str(number) for number in range(config.num_classes)]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        listed = ", ".join(known[:10]) + (" and more" if len(known) > 10 else "")
        raise InputError(f"the model knows no class {unknown[0]!r}: it has {listed}.")
    return torch.tensor([name in wanted for name in known])
