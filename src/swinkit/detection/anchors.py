"""Anchors: the boxes that a dense head starts from.

Legend: A anchors of a point, H W rows and columns of a level's map.
"""

import torch
from torch import Tensor

from swinkit.ops.windows import Pair


def anchor_shapes(stride: int, scale: float, ratios: tuple[float, ...]) -> Tensor:
    """Return the anchors (A, 4) of one point, around (0, 0), in pixels.

    Args:
        stride: pixels between two points of the level.
        scale: side of a square anchor in strides.
        ratios: height / width of each anchor; all have the square's area.
    """
    roots = torch.tensor(ratios).sqrt()
    widths, heights = stride * scale / roots, stride * scale * roots
    return torch.stack([-widths, -heights, widths, heights], dim=1) / 2


def anchor_grid(shapes_A4: Tensor, size: Pair, stride: int) -> Tensor:
    """Return the anchors (H * W * A, 4) of a map of `size`: row by row, the anchors of a point together.

    The point in row r and column c lies at the pixel (c * stride, r * stride).
    """
    rows = torch.arange(size[0], device=shapes_A4.device) * stride
    columns = torch.arange(size[1], device=shapes_A4.device) * stride
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
    return (shifts + shapes_A4).reshape(-1, 4)


def trainable_anchors(
    anchors: list[Tensor], sizes: list[Pair], strides: list[int], picture: Pair, border: int | None
) -> Tensor:
    """Return which anchors of all levels (N,), bool, may be trained on one picture of a batch.

    Args:
        anchors: of each level.
        sizes: (rows, columns) of each level's map.
        strides: of each level.
        picture: true (height, width) of the picture, which the batch may have padded.
        border: pixels an anchor may reach out of the picture; None: all points over the picture, padded to 32
            pixels, count.
    """
    if border is not None:
        boxes = torch.cat(anchors)
        return (
            (boxes[:, 0] >= -border)
            & (boxes[:, 1] >= -border)
            & (boxes[:, 2] < picture[1] + border)
            & (boxes[:, 3] < picture[0] + border)
        )
    padded = tuple(-(-side // 32) * 32 for side in picture)
    masks = []
    for boxes, (rows, columns), stride in zip(anchors, sizes, strides, strict=True):
        inside = torch.zeros(rows, columns, len(boxes) // (rows * columns), dtype=torch.bool)
        inside[: -(-padded[0] // stride), : -(-padded[1] // stride)] = True
        masks.append(inside.flatten().to(boxes.device))
    return torch.cat(masks)


def flatten_levels(levels: list[Tensor], parts: int) -> Tensor:
    """Turn maps (B, A * parts, H, W) of each level into (B, N, parts), in the order of the anchors."""
    return torch.cat([x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, parts) for x in levels], dim=1)
