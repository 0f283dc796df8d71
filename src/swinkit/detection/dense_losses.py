"""Losses that look away from what is easy, element by element.

Legend: N points, K classes, P points with an object.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from swinkit.ops.boxes import box_areas

EPS = 1e-12
"""Least probability whose logarithm is taken."""
GIOU_EPS = 1e-6
"""Added to the areas that overlaps are divided by."""


def quality_focal_loss(logits_NK: Tensor, quality_NK: Tensor) -> Tensor:
    """Return the loss (N, K) of logits that say class and overlap at once (Li et al., 2020), with beta 2.

    Args:
        logits_NK: of the classes.
        quality_NK: overlap of the point's box with its object at the object's class, 0 elsewhere.
    """
    losses = F.binary_cross_entropy_with_logits(logits_NK, quality_NK, reduction="none")
    return losses * (logits_NK.sigmoid() - quality_NK).square()


def gaussian_focal_loss(logits_N: Tensor, heat_N: Tensor) -> Tensor:
    """Return the loss (N,) of a heat map (Law and Deng, 2018), with alpha 2 and gamma 4: points of heat 1
    are positive, all others the more negative the colder."""
    p = logits_N.sigmoid()
    positive = -(p + EPS).log() * (1 - p).square()
    negative = -(1 - p + EPS).log() * p.square() * (1 - heat_N) ** 4
    return torch.where(heat_N == 1, positive, negative)


def giou_loss_of_pixels(boxes_P4: Tensor, targets_P4: Tensor) -> Tensor:
    """Return 1 - GIoU (P,) of boxes that end a unit after their last corner, as RepPoints v2 counts."""
    one = boxes_P4.new_tensor([0.0, 0.0, 1.0, 1.0])
    a, b = boxes_P4 + one, targets_P4 + one
    sides = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    common = sides.prod(dim=1)
    union = box_areas(a) + box_areas(b) - common + GIOU_EPS
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).clamp(min=0)
    hull_area = hull.prod(dim=1) + GIOU_EPS
    return 1 - (common / union - (hull_area - union) / hull_area)
