"""One prediction for every object: the cheapest assignment (Carion et al., 2020; Sun et al., 2021).

Legend: N predictions, M objects, K classes.
"""

import torch
from torch import Tensor

from swinkit.detection.assigners import BACKGROUND
from swinkit.ops.boxes import pairwise_giou
from swinkit.ops.windows import Pair

ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss (Lin et al., 2017)."""
_LEAST = 1e-12
"""Added to a probability before its logarithm."""


class SetMatcher:
    """The assignment of predictions to objects with the least sum of costs.

    A cost is the weighted sum of three: what the focal loss would rise by, were this the object's class; the
    L1 distance of the boxes in shares of the picture; and minus their GIoU.

    Args:
        class_weight: of the first,
        box_weight: of the second,
        giou_weight: of the third.
    """

    def __init__(self, *, class_weight: float, box_weight: float, giou_weight: float) -> None:
        self.class_weight, self.box_weight, self.giou_weight = class_weight, box_weight, giou_weight

    @torch.no_grad()
    def __call__(
        self, logits_NK: Tensor, boxes_N4: Tensor, objects_M4: Tensor, labels_M: Tensor, size: Pair
    ) -> Tensor:
        """Return for each prediction the index of its object, or `BACKGROUND` (N,).

        Args:
            logits_NK: of the classes.
            boxes_N4: predicted boxes in pixels.
            objects_M4: the objects' boxes.
            labels_M: the objects' classes.
            size: (height, width) of the picture.

        Raises:
            ValueError: a cost is not a finite number, so training has diverged.
        """
        from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 (slow to import, for training only)

        assigned = labels_M.new_full((len(boxes_N4),), BACKGROUND)
        if len(objects_M4) == 0:
            return assigned
        costs_NM = self.costs(logits_NK, boxes_N4, objects_M4, labels_M, size)
        if not torch.isfinite(costs_NM).all():
            raise ValueError("a matching cost is not finite: the training has diverged.")
        rows, columns = linear_sum_assignment(costs_NM.cpu().numpy())
        index = torch.as_tensor(rows, device=assigned.device)
        assigned[index] = torch.as_tensor(columns, device=assigned.device)
        return assigned

    def costs(
        self, logits_NK: Tensor, boxes_N4: Tensor, objects_M4: Tensor, labels_M: Tensor, size: Pair
    ) -> Tensor:
        """Return what it would cost to give each prediction each object (N, M)."""
        probability_NM = logits_NK.sigmoid()[:, labels_M]
        as_object = -(probability_NM + _LEAST).log() * ALPHA * (1 - probability_NM) ** GAMMA
        as_nothing = -(1 - probability_NM + _LEAST).log() * (1 - ALPHA) * probability_NM**GAMMA
        whole = boxes_N4.new_tensor([size[1], size[0], size[1], size[0]])
        distance_NM = torch.cdist(boxes_N4 / whole, objects_M4 / whole, p=1)
        return (
            self.class_weight * (as_object - as_nothing)
            + self.box_weight * distance_NM
            - self.giou_weight * pairwise_giou(boxes_N4, objects_M4)
        )
