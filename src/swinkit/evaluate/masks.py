"""The mask of a picture of any size, read as the model's own configuration says."""

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from swinkit.data.mask_transforms import MaskEvalTransform, fit_factor
from swinkit.segmentation.inference import (
    mask_by_tiles,
    mask_of_scores,
    needs_tiles,
    resize_mask,
    scores_of_image,
)
from swinkit.segmentation.segmenter import Segmenter


@torch.inference_mode()
def mask_of_picture(
    model: Segmenter, picture: Image.Image, *, on_tile: Callable[[int, int], None] | None = None
) -> Tensor:
    """Return the class (H, W) uint8 of each pixel of an RGB picture, on the CPU.

    Memory is bounded whatever the size of the picture: what the network sees is at most `tile_from` pixels,
    and scores are resized to the picture in bands.

    Args:
        model: in evaluation mode; its `config.inference` says how.
        picture: upright RGB.
        on_tile: called with (tiles done, tiles in all) where the picture is cut into tiles.
    """
    inference = model.config.inference
    transform = MaskEvalTransform(model.spec.preprocess, inference)
    weight = next(model.parameters())
    size = (picture.height, picture.width)
    factor = fit_factor(size, inference.short_side, inference.long_side)
    seen = (max(1, int(size[0] * factor + 0.5)), max(1, int(size[1] * factor + 0.5)))
    if not needs_tiles(*seen, inference):
        if needs_tiles(*size, inference):  # far larger than it is read: shrink the 8-bit picture, not floats
            image = transform.normalize(picture.resize((seen[1], seen[0]), Image.Resampling.BILINEAR))
        else:
            image = transform.image(picture)
        scores = scores_of_image(model, image[None].to(weight), size, inference)
        return mask_of_scores(scores, size).cpu()
    if factor != 1:
        picture = picture.resize((seen[1], seen[0]), Image.Resampling.BILINEAR)

    def read(rows: slice, columns: slice) -> Tensor:
        tile = picture.crop((columns.start, rows.start, columns.stop, rows.stop))
        return transform.normalize(tile)[None].to(weight)

    return resize_mask(mask_by_tiles(model, read, seen, inference, on_tile=on_tile), size)
