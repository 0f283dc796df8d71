"""Boxes: overlaps, clipping, non-maximum suppression.

A box is (x1, y1, x2, y2) in pixels of its picture, not rounded; its width is x2 - x1. Legend: N, M boxes.
"""

import torch
import torchvision
from torch import Tensor

from swinkit.ops.windows import Pair

EPS = 1e-6
"""Least union, in square pixels, that an overlap is divided by."""


def box_areas(boxes_N4: Tensor) -> Tensor:
    """Return the areas (N,) in square pixels."""
    return (boxes_N4[..., 2] - boxes_N4[..., 0]) * (boxes_N4[..., 3] - boxes_N4[..., 1])


def pairwise_intersection(a_N4: Tensor, b_M4: Tensor) -> Tensor:
    """Return the common area (N, M) of every pair."""
    top_left = torch.maximum(a_N4[:, None, :2], b_M4[None, :, :2])
    bottom_right = torch.minimum(a_N4[:, None, 2:], b_M4[None, :, 2:])
    sides = (bottom_right - top_left).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def pairwise_iou(a_N4: Tensor, b_M4: Tensor) -> Tensor:
    """Return intersection over union (N, M) of every pair."""
    common = pairwise_intersection(a_N4, b_M4)
    union = box_areas(a_N4)[:, None] + box_areas(b_M4)[None] - common
    return common / union.clamp(min=EPS)


def pairwise_ios(a_N4: Tensor, b_M4: Tensor) -> Tensor:
    """Return intersection over the smaller area (N, M) of every pair: 1 where one box holds the other."""
    smaller = torch.minimum(box_areas(a_N4)[:, None], box_areas(b_M4)[None])
    return pairwise_intersection(a_N4, b_M4) / smaller.clamp(min=EPS)


def paired_iou(a_N4: Tensor, b_N4: Tensor) -> Tensor:
    """Return intersection over union (N,) of box i of `a` with box i of `b`."""
    sides = (torch.minimum(a_N4[:, 2:], b_N4[:, 2:]) - torch.maximum(a_N4[:, :2], b_N4[:, :2])).clamp(min=0)
    common = sides[:, 0] * sides[:, 1]
    return common / (box_areas(a_N4) + box_areas(b_N4) - common).clamp(min=EPS)


def generalized_iou(a_N4: Tensor, b_N4: Tensor) -> Tensor:
    """Return GIoU (N,), from -1 to 1, of box i of `a` with box i of `b`."""
    sides = (torch.minimum(a_N4[:, 2:], b_N4[:, 2:]) - torch.maximum(a_N4[:, :2], b_N4[:, :2])).clamp(min=0)
    common = sides[:, 0] * sides[:, 1]
    union = (box_areas(a_N4) + box_areas(b_N4) - common).clamp(min=EPS)
    hull_sides = torch.maximum(a_N4[:, 2:], b_N4[:, 2:]) - torch.minimum(a_N4[:, :2], b_N4[:, :2])
    hull = (hull_sides[:, 0] * hull_sides[:, 1]).clamp(min=EPS)
    return common / union - (hull - union) / hull


def pairwise_giou(a_N4: Tensor, b_M4: Tensor) -> Tensor:
    """Return GIoU (N, M), from -1 to 1, of every pair."""
    common = pairwise_intersection(a_N4, b_M4)
    union = (box_areas(a_N4)[:, None] + box_areas(b_M4)[None] - common).clamp(min=EPS)
    sides = torch.maximum(a_N4[:, None, 2:], b_M4[None, :, 2:]) - torch.minimum(
        a_N4[:, None, :2], b_M4[None, :, :2]
    )
    hull = (sides[..., 0] * sides[..., 1]).clamp(min=EPS)
    return common / union - (hull - union) / hull


def centred_to_corners(boxes: Tensor) -> Tensor:
    """Return boxes (..., 4) given as centre x, centre y, width, height by their corners."""
    centres, sides = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centres - sides * 0.5, centres + sides * 0.5], dim=-1)


def clip_boxes(boxes: Tensor, size: Pair) -> Tensor:
    """Return boxes (..., 4) clipped to a picture of `size` (height, width)."""
    limits = boxes.new_tensor([size[1], size[0], size[1], size[0]])
    return torch.minimum(boxes.clamp(min=0), limits)


def flip_boxes(boxes: Tensor, width: float) -> Tensor:
    """Return boxes (..., 4) mirrored left to right in a picture of this width."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([width - x2, y1, width - x1, y2], dim=-1)


def nms(boxes_N4: Tensor, scores_N: Tensor, groups_N: Tensor, iou: float) -> Tensor:
    """Return the indices kept, best score first; boxes suppress one another only inside their group.

    Args:
        boxes_N4: boxes.
        scores_N: what decides who stays.
        groups_N: class, or level of a pyramid.
        iou: a box that overlaps a better one by more than this goes.
    """
    return torchvision.ops.batched_nms(boxes_N4, scores_N, groups_N, iou)


def soft_nms(
    boxes_N4: Tensor,
    scores_N: Tensor,
    groups_N: Tensor,
    *,
    sigma: float,
    least: float,
    linear_from: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Lower the score of a box by its overlap with better ones, instead of dropping it (Bodla et al., 2017).

    Each box taken multiplies the scores of the rest of its group by exp(-iou^2 / sigma), or, linear, by 1 -
    iou where that overlap is large.

    Args:
        boxes_N4: boxes.
        scores_N: their scores.
        groups_N: class of each; only boxes of one class affect one another.
        sigma: width of the Gaussian; 0.5 is usual.
        least: boxes whose score falls below are dropped.
        linear_from: overlap from which scores are lowered, in the linear kind; None: the Gaussian kind.

    Returns:
        Indices (K,) of the boxes kept and their new scores (K,), best first.
    """
    kept: list[Tensor] = []
    kept_scores: list[Tensor] = []
    for group in groups_N.unique():
        index = torch.nonzero(groups_N == group).flatten()
        boxes, scores = boxes_N4[index], scores_N[index].clone()
        while len(index):
            best = int(scores.argmax())
            if scores[best] < least:
                break
            kept.append(index[best])
            kept_scores.append(scores[best].clone())
            overlap = pairwise_iou(boxes[best : best + 1], boxes)[0]
            if linear_from is None:
                scores = scores * torch.exp(-overlap.square() / sigma)
            else:
                scores = torch.where(overlap >= linear_from, scores * (1 - overlap), scores)
            rest = torch.arange(len(index), device=index.device) != best
            index, boxes, scores = index[rest], boxes[rest], scores[rest]
    if not kept:
        return groups_N.new_zeros(0), scores_N.new_zeros(0)
    order = torch.stack(kept_scores).argsort(descending=True, stable=True)
    return torch.stack(kept)[order], torch.stack(kept_scores)[order]
