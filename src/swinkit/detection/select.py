"""From class-wise boxes and scores to detections: threshold, suppression, the best few."""

import torch
from torch import Tensor

from swinkit.detection.config import SelectConfig
from swinkit.detection.structures import Detections
from swinkit.ops.boxes import nms, soft_nms


def select_detections(
    boxes_RK4: Tensor, scores_RK: Tensor, select: SelectConfig, *, least: float | None = None
) -> Detections:
    """Choose the detections of one picture.

    Args:
        boxes_RK4: a box for every region and class, (R, K, 4).
        scores_RK: probability of every class.
        select: how.
        least: score to be above; None: `select.score`.

    Returns:
        At most `select.most` detections without masks, best first.
    """
    region, label = torch.nonzero(scores_RK > (select.score if least is None else least), as_tuple=True)
    return suppress(Detections(boxes_RK4[region, label], scores_RK[region, label], label), select)


def suppress(found: Detections, select: SelectConfig) -> Detections:
    """Drop, or lower the scores of, detections that overlap better ones of their class; keep the best few."""
    if select.nms == "none":
        return found.pick(found.scores.topk(min(len(found), select.most)).indices)
    if select.nms in ("soft", "soft_linear"):
        # Many weak boxes cannot reach the result, and the loop over them is slow.
        found = found.pick(found.scores.topk(min(len(found), 10 * select.most)).indices)
        keep, scores = soft_nms(
            found.boxes,
            found.scores,
            found.labels,
            sigma=select.sigma,
            least=select.score,
            linear_from=select.iou if select.nms == "soft_linear" else None,
        )
        keep, scores = keep[: select.most], scores[: select.most]
        found = found.pick(keep)
        found.scores = scores
        return found
    return found.pick(nms(found.boxes, found.scores, found.labels, select.iou)[: select.most])
