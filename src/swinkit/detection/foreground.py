"""Foreground verification of RepPoints v2: which points lie in a box of which class.

Legend: B pictures, K classes, H W rows and columns of the finest level.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from swinkit.detection.structures import Targets
from swinkit.ops.boxes import box_areas
from swinkit.ops.windows import Pair

ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss."""
LEAST_AREA = 1.0
"""In square pixels: a box of next to none would outweigh all others."""


def foreground_weights(target: Targets, num_classes: int, size: Pair, stride: int) -> Tensor:
    """Return for every class and point 1 / area of the smallest box of the class over it, else 0 (K, H, W).

    Args:
        target: the objects of a picture.
        num_classes: K.
        size: (rows, columns) of the map.
        stride: pixels between two of its points.
    """
    weights_KHW = target.boxes.new_zeros(num_classes, *size)
    areas = box_areas(target.boxes).clamp(min=LEAST_AREA)
    for at in areas.argsort(descending=True).tolist():
        x1, y1, x2, y2 = (max(0, int(edge / stride)) for edge in target.boxes[at].tolist())
        weights_KHW[target.labels[at], y1 : y2 + 1, x1 : x2 + 1] = 1 / areas[at]
    return weights_KHW


def foreground_loss(logits: list[Tensor], targets: list[Targets], stride: int) -> Tensor:
    """Return the focal loss of all levels, points in small boxes weighing more.

    Args:
        logits: (B, K, H_i, W_i) of each level.
        targets: the objects of each picture.
        stride: of the finest level.
    """
    size, num_classes = (logits[0].shape[2], logits[0].shape[3]), logits[0].shape[1]
    finest_BKHW = torch.stack([foreground_weights(item, num_classes, size, stride) for item in targets])
    weights = torch.cat(
        [F.interpolate(finest_BKHW, size=x.shape[2:], mode="nearest").flatten() for x in logits]
    )
    flat = torch.cat([x.flatten() for x in logits])
    p, inside = flat.sigmoid(), weights > 0
    positive = -F.logsigmoid(flat) * (1 - p) ** GAMMA * ALPHA
    negative = torch.where(inside, 0.0, -F.logsigmoid(-flat) * p**GAMMA * (1 - ALPHA))
    found = (positive * weights).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
    return found + negative.sum() / inside.sum().clamp(min=1)
