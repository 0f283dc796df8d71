"""Adaptive training sample selection (Zhang et al., 2020).

Legend: N boxes of all levels, M objects, C candidates of an object.
"""

import torch
from torch import Tensor

from swinkit.detection.assigners import BACKGROUND
from swinkit.ops.boxes import pairwise_iou

INSIDE = 0.01
"""A box's centre must lie this far inside the object, in pixels."""


class AtssAssigner:
    """An object gets those of the nearest boxes whose overlap is above the mean plus one deviation of theirs.

    Args:
        candidates: boxes a level whose centres are nearest to the object's.
        fill: a level of fewer boxes counts as many as the others: its boxes are repeated in turn. The
            published RepPoints v2 repeats boxes drawn at random instead.
    """

    def __init__(self, candidates: int, *, fill: bool = False) -> None:
        self.candidates, self.fill = candidates, fill

    def __call__(self, boxes_N4: Tensor, counts: list[int], objects_M4: Tensor) -> Tensor:
        """Return for each box the index of its object or `BACKGROUND` (N,).

        Args:
            boxes_N4: of all levels, one level after the other.
            counts: boxes of each level.
            objects_M4: the objects.
        """
        if len(objects_M4) == 0 or len(boxes_N4) == 0:
            return torch.full((len(boxes_N4),), BACKGROUND, device=boxes_N4.device)
        centres_N2 = (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2
        middles_M2 = (objects_M4[:, :2] + objects_M4[:, 2:]) / 2
        distances_NM = (centres_N2[:, None] - middles_M2[None]).square().sum(dim=-1).sqrt()
        nearest_CM = self._nearest(distances_NM, counts)
        overlaps_NM = pairwise_iou(boxes_N4, objects_M4)
        overlaps_CM = overlaps_NM.gather(0, nearest_CM)
        least_M = overlaps_CM.mean(dim=0) + overlaps_CM.std(dim=0)
        candidates_CM2 = centres_N2[nearest_CM]
        room_CM4 = torch.cat([candidates_CM2 - objects_M4[:, :2], objects_M4[:, 2:] - candidates_CM2], dim=-1)
        taken_CM = (overlaps_CM >= least_M) & (room_CM4.amin(dim=-1) > INSIDE)
        claims_NM = torch.full_like(overlaps_NM, -torch.inf)
        candidate, owner = torch.nonzero(taken_CM, as_tuple=True)
        box = nearest_CM[candidate, owner]
        claims_NM[box, owner] = overlaps_NM[box, owner]
        best_N, owner_N = claims_NM.max(dim=1)
        return torch.where(best_N > -torch.inf, owner_N, BACKGROUND)

    def _nearest(self, distances_NM: Tensor, counts: list[int]) -> Tensor:
        """Indices (C, M) of the candidates of each object."""
        found, start = [], 0
        for count in counts:
            index = distances_NM[start : start + count].topk(min(self.candidates, count), 0, largest=False)[1]
            if self.fill and 0 < count < self.candidates:
                turns = torch.arange(self.candidates, device=index.device) % count
                index = index[turns]
            found.append(index + start)
            start += count
        return torch.cat(found)
