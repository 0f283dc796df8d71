"""Boxes as deltas from other boxes."""

import math

import torch
from torch import Tensor

from swinkit.ops.boxes import clip_boxes
from swinkit.ops.windows import Pair

MAX_LOG_RATIO = abs(math.log(16 / 1000))
"""A side changes by at most this factor, as a logarithm."""


class DeltaCoder:
    """Centre shifts in widths and heights of the start box, and logarithms of the sides' ratios (Girshick et
    al., 2014).

    Args:
        deviations: of the four deltas, which are divided by them.
    """

    def __init__(self, deviations: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)) -> None:
        self.deviations = deviations

    def encode(self, starts_N4: Tensor, boxes_N4: Tensor) -> Tensor:
        """Return the deltas (N, 4) that lead from each start to its box."""
        start_sides = starts_N4[:, 2:] - starts_N4[:, :2]
        start_centres = (starts_N4[:, 2:] + starts_N4[:, :2]) * 0.5
        sides = boxes_N4[:, 2:] - boxes_N4[:, :2]
        centres = (boxes_N4[:, 2:] + boxes_N4[:, :2]) * 0.5
        deltas = torch.cat([(centres - start_centres) / start_sides, torch.log(sides / start_sides)], dim=1)
        return deltas / deltas.new_tensor(self.deviations)

    def decode(self, starts: Tensor, deltas: Tensor, size: Pair | None = None) -> Tensor:
        """Return the boxes that `deltas` lead to from `starts`; both (..., 4) and broadcast.

        Args:
            starts: boxes.
            deltas: the network's output.
            size: (height, width) to clip to; None for no clipping.
        """
        deltas = deltas * deltas.new_tensor(self.deviations)
        sides = starts[..., 2:] - starts[..., :2]
        centres = (starts[..., 2:] + starts[..., :2]) * 0.5
        centres = centres + deltas[..., :2] * sides
        half = sides * deltas[..., 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() * 0.5
        boxes = torch.cat([centres - half, centres + half], dim=-1)
        return boxes if size is None else clip_boxes(boxes, size)
