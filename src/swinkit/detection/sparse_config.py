"""Sparse R-CNN as plain data (Sun et al., 2021)."""

from dataclasses import dataclass
from typing import ClassVar

from swinkit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SparseConfig:
    """A few learnt proposals, refined by several dynamic heads; each object is matched with one of them.

    Attributes:
        proposals: boxes and feature vectors that are learnt, and detections that can be made.
        stages: dynamic heads, one after the other.
        pool: cells a side that RoIAlign samples.
        samples: points a side of a cell that it reads.
        heads: of the attention between the proposals.
        hidden: width of the feed-forward network.
        dynamic: channels between the two layers whose weights come from a proposal's features.
        class_fcs: linear layers before the classifier.
        box_fcs: linear layers before the box deltas.
        dropout: of attention, interaction and feed-forward network.
        deviations: standard deviations of the box deltas (x, y, width, height).
        class_weight: of the focal loss, and of its part in matching,
        box_weight: of the L1 loss of boxes in shares of the picture, likewise,
        giou_weight: of the GIoU loss, likewise.
    """

    mask: ClassVar[None] = None
    """Boxes only."""

    proposals: int = 300
    stages: int = 6
    pool: int = 7
    samples: int = 2
    heads: int = 8
    hidden: int = 2048
    dynamic: int = 64
    class_fcs: int = 1
    box_fcs: int = 3
    dropout: float = 0.0
    deviations: tuple[float, float, float, float] = (0.5, 0.5, 1.0, 1.0)
    class_weight: float = 2.0
    box_weight: float = 5.0
    giou_weight: float = 2.0

    def __post_init__(self) -> None:
        for name in ("proposals", "stages", "pool", "samples", "heads", "hidden", "dynamic"):
            if getattr(self, name) < 1:
                raise InputError(f"Sparse R-CNN needs {name} of 1 or more; got {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be from 0 to below 1; got {self.dropout}.")


def sparse_rcnn() -> SparseConfig:
    """Head of the published Sparse R-CNN with 300 proposals, as the paper compares it (Table 2)."""
    return SparseConfig()
