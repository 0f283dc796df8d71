"""Corners of boxes: pooling towards them, where they are, and what a heat map of them is trained for.

Legend: B pictures, C channels, H W rows and columns, N points of all levels, M objects.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swinkit.detection.config_dense import CORNER_GROUPS, RepPointsV2Config
from swinkit.detection.dense import ConvGroupNorm

Corner = Literal["top_left", "bottom_right"]


def corner_pool(x: Tensor, dim: int, *, towards_start: bool) -> Tensor:
    """Return the largest value on the way from each point to the end of its row or column (Law and Deng,
    2018).

    Args:
        x: map (B, C, H, W).
        dim: 2 for columns, 3 for rows.
        towards_start: a point collects what follows it, so that large values run to the start; else what
            precedes it.
    """
    if towards_start:
        return x.flip(dim).cummax(dim).values.flip(dim)
    return x.cummax(dim).values


class CornerBranch(nn.Module):
    """Brings what is said along two edges of a box to the corner where they meet.

    Args:
        channels: in and out.
        corner: top_left or bottom_right.
        config: the rest.
    """

    def __init__(self, channels: int, corner: Corner, config: RepPointsV2Config) -> None:
        super().__init__()
        self.towards_start = corner == "top_left"
        middle, groups = config.corner_channels, config.groups
        self.column = ConvGroupNorm(channels, middle, groups=groups, std=None)
        self.row = ConvGroupNorm(channels, middle, groups=groups, std=None)
        self.pooled = ConvGroupNorm(middle, channels, groups=CORNER_GROUPS, relu=False, std=None)
        self.direct = ConvGroupNorm(channels, channels, groups=CORNER_GROUPS, kernel=1, relu=False, std=None)
        self.join = ConvGroupNorm(channels, channels, groups=groups, kernel=1, std=None)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        columns = corner_pool(self.column(x), 2, towards_start=self.towards_start)
        rows = corner_pool(self.row(x), 3, towards_start=self.towards_start)
        return self.join(F.relu(self.pooled(columns + rows) + self.direct(x)))


def corner_radius(objects_M4: Tensor, iou: float) -> Tensor:
    """Return how far (M,), in pixels, both corners may move and still leave this overlap with the object.

    The least of three cases is taken: one corner moves in and the other out, both in, or both out.
    """
    sides = objects_M4[:, 2:] - objects_M4[:, :2]
    half_sum, area = sides.sum(dim=1), sides.prod(dim=1)
    shifted = _root(1, -half_sum, area * (1 - iou) / (1 + iou), larger=False)
    inside = _root(4, -2 * half_sum, area * (1 - iou), larger=False)
    outside = _root(4 * iou, 2 * iou * half_sum, area * (iou - 1), larger=True)
    return torch.stack([shifted, inside, outside]).amin(dim=0)


def _root(a: float, b: Tensor, c: Tensor, *, larger: bool) -> Tensor:
    """A root of a x^2 + b x + c."""
    spread = (b.square() - 4 * a * c).sqrt()
    return (-b + (spread if larger else -spread)) / (2 * a)


def corner_targets(
    points: list[Tensor], strides: list[int], corners_M2: Tensor, radius_M: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what one picture's heat map and offsets of one corner are trained for.

    On every level the point nearest to an object's corner has heat 1 and the way to the corner, in strides;
    around it heat falls off as a Gaussian.

    Args:
        points: (N_i, 2) of each level, in pixels.
        strides: of each level.
        corners_M2: of the objects.
        radius_M: pixels from the corner where heat ends.

    Returns:
        Heat (N,) and offsets (N, 2), which are 0 where heat is below 1.
    """
    heats, offsets = [], []
    width_M = (2 * radius_M + 1) / 6
    for points_N2, stride in zip(points, strides, strict=True):
        heat, offset = points_N2.new_zeros(len(points_N2)), torch.zeros_like(points_N2)
        if len(corners_M2) and len(points_N2):
            distances_NM = (points_N2[:, None] - corners_M2[None]).norm(dim=2)
            bumps_NM = torch.exp(-distances_NM.square() / (2 * width_M.square()))
            heat = torch.where(distances_NM < radius_M, bumps_NM, 0.0).amax(dim=1)
            nearest_M = distances_NM.argmin(dim=0)
            heat = heat.index_fill(0, nearest_M, 1.0)
            # The later object wins where two have one nearest point.
            order = torch.arange(len(nearest_M), device=heat.device)
            last_N = torch.full_like(heat, -1, dtype=torch.int64)
            last_N = last_N.scatter_reduce(0, nearest_M, order, "amax")
            owned = last_N >= 0
            offset[owned] = (corners_M2[last_N[owned]] - points_N2[owned]) / stride
        heats.append(heat)
        offsets.append(offset)
    return torch.cat(heats), torch.cat(offsets)


def verify_corners(corners_R2: Tensor, heat_HW: Tensor, offsets_2HW: Tensor, stride: int) -> Tensor:
    """Return the corners moved to the hottest of the four points around each, plus its offset (R, 2).

    Args:
        corners_R2: x and y in pixels.
        heat_HW: logits.
        offsets_2HW: x and y, in strides.
        stride: of the map.
    """
    rows, columns = heat_HW.shape
    if rows < 2 or columns < 2:
        return corners_R2
    _, index = F.max_pool2d(heat_HW.sigmoid()[None, None], 2, stride=1, return_indices=True)
    # What is not a number cannot be looked up; its box stays without a score above the least one.
    corners_R2 = torch.nan_to_num(corners_R2, nan=0.0)
    x = (corners_R2[:, 0] / stride).clamp(0, columns - 2).floor().long()
    y = (corners_R2[:, 1] / stride).clamp(0, rows - 2).floor().long()
    best = index[0, 0, y, x]
    column, row = best % columns, best // columns
    moves = offsets_2HW[:, row, column].t()
    return (torch.stack([column, row], dim=1) + moves) * stride
