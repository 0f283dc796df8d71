"""Which object, if any, a box is trained to find."""

import torch
from torch import Tensor

from swinkit.ops.boxes import pairwise_iou

BACKGROUND = -1
IGNORED = -2
"""Values that stand in an assignment beside the objects' indices."""


class IouAssigner:
    """The object a box overlaps most, from a threshold on (Ren et al., 2015).

    Args:
        positive: a box with at least this overlap gets the object.
        negative: a box below it is background; between the two it is ignored.
        least: with `match_low_quality`, every object also gets the boxes that overlap it most, if by this
            much.
        match_low_quality: see `least`.
    """

    def __init__(self, *, positive: float, negative: float, least: float, match_low_quality: bool) -> None:
        self.positive, self.negative, self.least = positive, negative, least
        self.match_low_quality = match_low_quality

    def __call__(self, boxes_N4: Tensor, objects_M4: Tensor) -> Tensor:
        """Return for each box the index of its object, `BACKGROUND` or `IGNORED` (N,)."""
        assigned = boxes_N4.new_full((len(boxes_N4),), IGNORED, dtype=torch.int64)
        if len(objects_M4) == 0 or len(boxes_N4) == 0:
            return assigned.fill_(BACKGROUND)
        overlaps_MN = pairwise_iou(objects_M4, boxes_N4)
        best_N, object_N = overlaps_MN.max(dim=0)
        assigned[best_N < self.negative] = BACKGROUND
        assigned = torch.where(best_N >= self.positive, object_N, assigned)
        if self.match_low_quality:
            most_M = overlaps_MN.max(dim=1).values
            claims_MN = (overlaps_MN == most_M[:, None]) & (most_M >= self.least)[:, None]
            object_K, box_K = torch.nonzero(claims_MN, as_tuple=True)
            # The later object wins where two claim one box, as in the published code.
            assigned = assigned.scatter_reduce(0, box_K, object_K, "amax", include_self=False)
        return assigned
