"""Losses of boxes, element by element; the heads weigh and sum them."""

import torch.nn.functional as F
from torch import Tensor

from swinkit.ops.boxes import generalized_iou


def delta_loss(deltas_N4: Tensor, targets_N4: Tensor, beta: float = 0.0) -> Tensor:
    """Return the L1 loss (N,) of box deltas, smooth below `beta` if that is above 0, summed over the four."""
    return F.smooth_l1_loss(deltas_N4, targets_N4, reduction="none", beta=beta).sum(dim=1)


def giou_loss(boxes_N4: Tensor, targets_N4: Tensor) -> Tensor:
    """Return 1 - GIoU (N,) of boxes in pixels (Rezatofighi et al., 2019)."""
    return 1 - generalized_iou(boxes_N4, targets_N4)
