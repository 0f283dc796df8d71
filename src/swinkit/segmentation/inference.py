"""From a picture to a mask: whole, by sliding crops, at several scales, or by tiles in bounded memory.

Legend: B pictures, K classes, H W rows and columns in pixels.
"""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from swinkit.ops.windows import Pair
from swinkit.segmentation.config import InferenceConfig
from swinkit.segmentation.heads import resize
from swinkit.segmentation.segmenter import Segmenter

Model = Callable[[Tensor], Tensor]
"""Pictures (B, C, H, W) to logits (B, K, H, W)."""


def logits_of(model: Model, images_BCHW: Tensor, config: InferenceConfig) -> Tensor:
    """Return logits (B, K, H, W), in one pass or by sliding crops as `config.mode` says."""
    if config.mode == "slide":
        return slide(model, images_BCHW, config.crop, config.stride)
    return model(images_BCHW)


def probabilities(model: Model, images_BCHW: Tensor, size: Pair, config: InferenceConfig) -> Tensor:
    """Return probabilities (B, K, *size), averaged over `config.scales` and, with `config.flip`, mirrors.

    Args:
        model: logits of pictures.
        images_BCHW: at scale 1.
        size: (height, width) in pixels of the result, that of the original picture.
        config: how.
    """
    height, width = images_BCHW.shape[2:]
    total: Tensor | None = None
    for scale in config.scales:
        # Rounded half up, as the published code rounds.
        scaled = (
            images_BCHW
            if scale == 1
            else resize(images_BCHW, (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))))
        )
        for mirrored in (False, True) if config.flip else (False,):
            seen = scaled.flip(3) if mirrored else scaled
            logits_BKHW = resize(logits_of(model, seen, config), size)
            p_BKHW = logits_BKHW.float().softmax(dim=1)
            p_BKHW = p_BKHW.flip(3) if mirrored else p_BKHW
            total = p_BKHW if total is None else total + p_BKHW
    assert total is not None
    return total / (len(config.scales) * (2 if config.flip else 1))


def slide(model: Model, images_BCHW: Tensor, crop: Pair, stride: Pair) -> Tensor:
    """Return logits (B, K, H, W) averaged over crops of `crop` pixels every `stride`, the last ones flush."""
    total: Tensor | None = None
    height, width = images_BCHW.shape[2:]
    count_HW = images_BCHW.new_zeros(height, width)
    for rows in _spans(height, crop[0], stride[0]):
        for columns in _spans(width, crop[1], stride[1]):
            logits = model(images_BCHW[:, :, rows, columns])
            if total is None:
                total = logits.new_zeros(*logits.shape[:2], height, width)
            total[:, :, rows, columns] += logits
            count_HW[rows, columns] += 1
    assert total is not None
    return total / count_HW


def scores_of_image(model: Segmenter, image_1CHW: Tensor, size: Pair, config: InferenceConfig) -> Tensor:
    """Return scores (K, h, w) of one picture, whose highest, resized to `size`, is its mask: see
    `mask_of_scores`.

    Args:
        model: the segmenter.
        image_1CHW: as the network is to see it.
        size: (height, width) in pixels of the original picture.
        config: mode, scales and flip.
    """
    if config.several:
        return probabilities(model, image_1CHW, size, config)[0]
    if config.mode == "whole" and tuple(image_1CHW.shape[2:]) == tuple(size):
        return model.coarse(image_1CHW)[0].float()  # resized in bands: the same mask in less memory
    return logits_of(model, image_1CHW, config)[0].float()


def needs_tiles(height: int, width: int, config: InferenceConfig) -> bool:
    """Whether a picture that the network would see at this size goes through tiles."""
    return height * width > config.tile_from


def mask_by_tiles(
    model: Model,
    read: Callable[[slice, slice], Tensor],
    size: Pair,
    config: InferenceConfig,
    *,
    on_tile: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Return the mask (H, W) uint8 of a picture of any size, with one tile's logits in memory at a time.

    Tiles of `config.crop` pixels overlap as `config.stride` says; each pixel is decided by the tile in which
    it lies farthest from the edge, so no seam falls where a tile saw half of its surroundings.

    Args:
        model: logits of pictures.
        read: (rows, columns) slices to that part of the picture, normalised, as (1, C, h, w).
        size: (height, width) in pixels of the picture.
        config: crop, stride, scales and flip.
        on_tile: called with (tiles done, tiles in all), for a progress bar.
    """
    mask_HW = torch.empty(size, dtype=torch.uint8)
    vertical = list(_shares(size[0], config.crop[0], config.stride[0]))
    horizontal = list(_shares(size[1], config.crop[1], config.stride[1]))
    done = 0
    for rows, kept_rows in vertical:
        for columns, kept_columns in horizontal:
            tile = read(rows, columns)
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            scores = probabilities(model, tile, shape, _once(config)) if config.several else model(tile)
            inner = scores[
                0,
                :,
                kept_rows.start - rows.start : kept_rows.stop - rows.start,
                kept_columns.start - columns.start : kept_columns.stop - columns.start,
            ]
            mask_HW[kept_rows, kept_columns] = inner.argmax(dim=0).to("cpu", torch.uint8)
            done += 1
            if on_tile is not None:
                on_tile(done, len(vertical) * len(horizontal))
    return mask_HW


def mask_of_scores(scores_Khw: Tensor, size: Pair, *, band_pixels: int = 1 << 20) -> Tensor:
    """Return the class (H, W) uint8 with the highest of scores resized to `size`, a band of rows at a time.

    The result is that of resizing everything and taking the highest; memory is that of a band.
    """
    rows, columns = scores_Khw.shape[1:]
    if (rows, columns) == tuple(size):
        return scores_Khw.argmax(dim=0).to(torch.uint8)
    height, width = size
    band = max(1, band_pixels // width)
    mask_HW = torch.empty(size, dtype=torch.uint8, device=scores_Khw.device)
    for start in range(0, height, band):
        at = torch.arange(start, min(start + band, height), device=scores_Khw.device)
        source = ((at + 0.5) * (rows / height) - 0.5).clamp(min=0)
        upper = source.floor().long().clamp(max=rows - 1)
        lower = (upper + 1).clamp(max=rows - 1)
        share = (source - upper).to(scores_Khw.dtype)[:, None]
        band_KhW = scores_Khw[:, upper] * (1 - share) + scores_Khw[:, lower] * share
        wide = F.interpolate(band_KhW[None], size=(len(at), width), mode="bilinear", align_corners=False)[0]
        mask_HW[start : start + len(at)] = wide.argmax(dim=0).to(torch.uint8)
    return mask_HW


def resize_mask(mask_hw: Tensor, size: Pair) -> Tensor:
    """Return the mask at `size`, each pixel the class of the nearest one."""
    if tuple(mask_hw.shape) == tuple(size):
        return mask_hw
    return F.interpolate(mask_hw[None, None], size=tuple(size), mode="nearest-exact")[0, 0]


def _once(config: InferenceConfig) -> InferenceConfig:
    return InferenceConfig(scales=config.scales, flip=config.flip)


def _spans(length: int, crop: int, stride: int) -> Iterator[slice]:
    """Crops of at most `crop` every `stride` that cover `length`; the last one ends with it."""
    count = max(length - crop + stride - 1, 0) // stride + 1
    for index in range(count):
        stop = min(index * stride + crop, length)
        yield slice(max(stop - crop, 0), stop)


def _shares(length: int, crop: int, stride: int) -> Iterator[tuple[slice, slice]]:
    """Each crop with the part of it that is its own: neighbours meet in the middle of their overlap."""
    spans = list(_spans(length, crop, stride))
    edges = [0] + [(a.stop + b.start) // 2 for a, b in itertools.pairwise(spans)] + [length]
    for span, start, stop in zip(spans, edges[:-1], edges[1:], strict=True):
        yield span, slice(start, stop)
