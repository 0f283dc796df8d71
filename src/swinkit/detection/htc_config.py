"""Hybrid Task Cascade as plain data (Chen et al., 2019), and the paper's HTC++ (A2.2)."""

from dataclasses import dataclass, field, replace
from typing import Literal

from swinkit.detection.config import BoxHeadConfig, MaskHeadConfig, RpnConfig, StageConfig, TwoStageConfig
from swinkit.errors import InputError

STUFF_CLASSES = 183
"""Of the published semantic branch, for COCO's stuff maps."""


@dataclass(frozen=True, kw_only=True)
class SemanticConfig:
    """The semantic branch: the class of every pixel from the whole pyramid, and features for the other heads.

    Attributes:
        classes: of the stuff maps.
        convs: number of 3 x 3 convolutions.
        channels: their channels.
        level: of the pyramid at whose size the maps are joined, from 0, the finest.
        pool: cells a side that RoIAlign cuts for the other heads.
        loss_weight: of its loss.
    """

    classes: int = STUFF_CLASSES
    convs: int = 4
    channels: int = 256
    level: int = 1
    pool: int = 14
    loss_weight: float = 0.2

    def __post_init__(self) -> None:
        if self.classes < 2 or self.convs < 1:
            raise InputError(
                f"a semantic branch needs two classes and a convolution; got {self.classes} and {self.convs}."
            )


@dataclass(frozen=True, kw_only=True)
class HtcConfig(TwoStageConfig):
    """A cascade whose boxes and masks take turns.

    Attributes:
        interleaved: a stage's masks are trained on the boxes that the stage has just moved.
        flow: a stage's mask head is given the features of the one before.
        semantic: the semantic branch; None without.
        masks: last: a detection's mask is the last stage's, as mmdetection 3.x has it; mean: the mean of all
            stages', as mmdetection 2.x and the authors have it.
        global_attention: a transformer block over all of the backbone's coarsest map (A2.2).
    """

    interleaved: bool = True
    flow: bool = True
    semantic: SemanticConfig | None = field(default_factory=SemanticConfig)
    masks: Literal["last", "mean"] = "last"
    global_attention: bool = False


def htc() -> HtcConfig:
    """Head of the published Hybrid Task Cascade."""
    return HtcConfig(
        rpn=RpnConfig(border=0, smooth_beta=1 / 9, train_proposals=2000),
        stages=(
            StageConfig(iou=0.5, deviations=(0.1, 0.1, 0.2, 0.2), loss_weight=1.0),
            StageConfig(iou=0.6, deviations=(0.05, 0.05, 0.1, 0.1), loss_weight=0.5),
            StageConfig(iou=0.7, deviations=(0.033, 0.033, 0.067, 0.067), loss_weight=0.25),
        ),
        box=BoxHeadConfig(fcs=2, class_agnostic=True, smooth_beta=1.0),
        mask=MaskHeadConfig(),
    )


def htc_plus() -> HtcConfig:
    """The paper's HTC++ as far as it is known: its code was never published.

    A2.2 names a global self-attention layer after the last stage. The box heads are those of the paper's
    Cascade Mask R-CNN (4 convolutions with batch norm, 1 linear layer, GIoU): with them, and with a whole
    transformer block as the layer, the model has the parameters of Table 2, 160M and 284M.
    """
    box = BoxHeadConfig(
        convs=4, conv_norm=True, fcs=1, loss="giou", loss_weight=10.0, class_agnostic=True, smooth_beta=1.0
    )
    return replace(htc(), box=box, global_attention=True)
