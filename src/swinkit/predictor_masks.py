"""From pictures of any size to masks, overlays and polygons."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from swinkit.errors import InputError
from swinkit.predictor import (
    DrawnResult,
    OnBad,
    PicturePredictor,
    Source,
    flatten_sources,
    log_bad,
    read_source,
    write_picture,
)
from swinkit.segmentation.config import InferenceConfig
from swinkit.segmentation.segmenter import Segmenter


@dataclass(frozen=True)
class SegmentationResult(DrawnResult):
    """What a segmenter says about one picture.

    Attributes:
        path: the file, or None for a picture from memory.
        mask: class (H, W) uint8 of each pixel, at the picture's own size.
        names: of the classes.
        palette: (red, green, blue) of each class.
        picture: a picture from memory; None for a file, which is read again when it is drawn.
    """

    path: Path | None
    mask: np.ndarray = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    palette: tuple[tuple[int, int, int], ...] = field(repr=False)
    picture: Image.Image | None = field(default=None, repr=False, compare=False)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return (self.mask.shape[0], self.mask.shape[1])

    @property
    def shares(self) -> dict[str, float]:
        """Share of the picture that each class has, the largest first; classes without a pixel are left
        out."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.names))
        order = np.argsort(-counts, kind="stable")
        return {self.names[i]: float(counts[i] / self.mask.size) for i in order if counts[i]}

    def polygons(self, *, least: int = 1) -> list[dict[str, Any]]:
        """Outlines of every region as plain JSON types: {"class", "name", "rings"}, the first ring the
        outline and the others its holes, corners [x, y] in pixels of the picture.

        Args:
            least: regions of fewer pixels are left out.
        """
        # scipy, so only when outlines are wanted
        from swinkit.ops.polygons import polygons  # noqa: PLC0415

        found = []
        for index in np.unique(self.mask).tolist():
            for rings in polygons(self.mask == index, least=least):
                corners = [[[x, y] for x, y in ring] for ring in rings]
                found.append({"class": index, "name": self.names[index], "rings": corners})
        return found

    def to_dict(self, *, polygons: bool = False, least: int = 1) -> dict[str, Any]:
        """Plain JSON types: size, shares and, if asked, polygons."""
        body: dict[str, Any] = {
            "path": None if self.path is None else str(self.path),
            "height": self.size[0],
            "width": self.size[1],
            "shares": self.shares,
        }
        return {**body, "polygons": self.polygons(least=least)} if polygons else body

    def draw(self) -> Image.Image:
        """The picture under the colours of its classes, with a legend below it."""
        # matplotlib's colours, so only when something is drawn
        from swinkit.viz.segmentation import overlay  # noqa: PLC0415

        picture = self.picture if self.picture is not None else read_source(self.path or "")[1]
        return overlay(picture, self.mask, self.names, self.palette)

    def save_mask(self, path: str | os.PathLike[str]) -> None:
        """Write the mask as a palette PNG whose values are the classes.

        Raises:
            InputError: the place cannot be written to.
        """
        from swinkit.viz.segmentation import mask_picture  # noqa: PLC0415 (as above)

        if Path(path).suffix.lower() != ".png":
            raise InputError(f"a mask must be written without loss: end {path} in .png.")
        write_picture(mask_picture(self.mask, self.palette), path)


class MaskPredictor(PicturePredictor):
    """Applies a segmenter to pictures, one at a time, in bounded memory."""

    def __init__(
        self,
        model: nn.Module,
        *,
        device: str | torch.device | None = None,
        batch_size: int = 16,
        top_k: int = 5,
        inference: InferenceConfig | None = None,
        on_tile: Callable[[int, int], None] | None = None,
    ) -> None:
        """Args:
        model: what `create_segmenter` or `load` returns; it is moved to the device and set to eval.
        device: None: where the model is.
        batch_size: unused: pictures have their own sizes.
        top_k: unused: a mask has one class a pixel.
        inference: how pictures are read, if not as the model says.
        on_tile: called with (tiles done, tiles in all) where a picture is cut into tiles.
        """
        if not isinstance(model, Segmenter):
            raise InputError(
                f"a segmenter was expected, as swinkit.load returns; got {type(model).__name__}."
            )
        self.device = torch.device(device) if device is not None else next(model.parameters()).device
        self.model = model.to(self.device).eval()
        if inference is not None:
            model.set_inference(inference)
        self.on_tile = on_tile
        count = model.config.num_classes
        self.names = model.spec.class_names or tuple(f"class {index}" for index in range(count))
        self.palette = model.config.palette

    def stream(
        self, sources: Source | Iterable[Source], *, on_bad: OnBad | None = None
    ) -> Iterator[SegmentationResult]:
        """Yield results one by one in order.

        Args:
            sources: as for a call; an iterable is read as it goes.
            on_bad: called with the error of each picture that cannot be read; None: it is logged.
        """
        # torchmetrics comes with it, so only when something is predicted
        from swinkit.evaluate.masks import mask_of_picture  # noqa: PLC0415
        from swinkit.viz.legend import class_colors  # noqa: PLC0415 (matplotlib)

        palette = self.palette or class_colors(len(self.names))
        for source in flatten_sources(sources):
            try:
                path, picture = read_source(source)
            except InputError as error:
                (on_bad or log_bad)(error)
                continue
            mask = mask_of_picture(self.model, picture, on_tile=self.on_tile).numpy()
            yield SegmentationResult(path, mask, self.names, palette, None if path is not None else picture)
