"""Which of the assigned boxes a step trains."""

import torch
from torch import Tensor

from swinkit.detection.assigners import BACKGROUND


def sample_boxes(assigned_N: Tensor, count: int | None, positive_fraction: float) -> tuple[Tensor, Tensor]:
    """Draw boxes with objects and boxes of background at random, from torch's global generator.

    Args:
        assigned_N: what an assigner returned.
        count: boxes in all; background fills up what objects leave. None: all.
        positive_fraction: share of objects among them, at most.

    Returns:
        Indices of the boxes with objects and of those of background.
    """
    positive = torch.nonzero(assigned_N >= 0).flatten()
    negative = torch.nonzero(assigned_N == BACKGROUND).flatten()
    if count is None:
        return positive, negative
    positive = _draw(positive, int(count * positive_fraction))
    return positive, _draw(negative, count - len(positive))


def _draw(index: Tensor, count: int) -> Tensor:
    if len(index) <= count:
        return index
    # On the CPU whatever the device, so that a run gives the same samples everywhere.
    return index[torch.randperm(len(index))[:count].to(index.device)]
