"""Detectors as plain data.

A `DetectorConfig` is a backbone, a pyramid neck, a head of one kind of detector, and how detections are
chosen. Every kind of head has its own dataclass.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from swinkit.backbones.config import SwinConfig, TrunkConfig
from swinkit.detection.config_dense import AtssConfig, BiFpnConfig, RepPointsV2Config
from swinkit.detection.sparse_config import SparseConfig
from swinkit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class FpnConfig:
    """Feature pyramid (Lin et al., 2017).

    Attributes:
        channels: of every level.
        levels: maps that come out.
        start: the first of the backbone's maps that is read.
        extra: what makes the levels beyond the backbone's: every second point of the one before (pool), or a
            3 x 3 convolution of stride 2 (conv).
    """

    channels: int = 256
    levels: int = 5
    start: int = 0
    extra: Literal["pool", "conv"] = "pool"


@dataclass(frozen=True, kw_only=True)
class RpnConfig:
    """Region proposals (Ren et al., 2015).

    Attributes:
        channels: of the shared convolution.
        scale: side of a square anchor, in strides of its level.
        ratios: height / width of the anchors.
        border: pixels an anchor may reach out of the picture to be trained; None: any anchor is.
        positive_iou: an anchor with this overlap is an object.
        negative_iou: an anchor below it is background.
        samples: anchors a picture that are trained; None: all.
        positive_fraction: share of objects among the samples, at most.
        smooth_beta: 0 for the L1 loss, else where the smooth L1 loss turns linear.
        train_before_nms: proposals a level that enter suppression in training.
        train_proposals: proposals a picture after it.
    """

    channels: int = 256
    scale: float = 8.0
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    border: int | None = None
    positive_iou: float = 0.7
    negative_iou: float = 0.3
    samples: int | None = 256
    positive_fraction: float = 0.5
    smooth_beta: float = 0.0
    train_before_nms: int = 2000
    train_proposals: int = 1000


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One stage of a two-stage detector's cascade.

    Attributes:
        iou: overlap from which a proposal is an object.
        deviations: standard deviations of the box deltas (x, y, width, height).
        loss_weight: of all the stage's losses.
    """

    iou: float = 0.5
    deviations: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    loss_weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class BoxHeadConfig:
    """What looks at one proposal: convolutions, then linear layers, then classes and boxes.

    Attributes:
        pool: cells a side that RoIAlign samples.
        convs: number of 3 x 3 convolutions.
        conv_channels: their channels.
        conv_norm: batch norm after each of them, synchronised when training on several devices.
        fcs: number of linear layers.
        fc_channels: their width.
        class_agnostic: one box for all classes instead of one each.
        loss: deltas: L1 between box deltas; giou: GIoU between boxes.
        smooth_beta: of deltas: 0 for the L1 loss, else where the smooth L1 loss turns linear.
        loss_weight: of the box loss.
    """

    pool: int = 7
    convs: int = 0
    conv_channels: int = 256
    conv_norm: bool = False
    fcs: int = 2
    fc_channels: int = 1024
    class_agnostic: bool = False
    loss: Literal["deltas", "giou"] = "deltas"
    smooth_beta: float = 0.0
    loss_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.fcs < 1:
            raise InputError(f"a box head needs at least one linear layer; got fcs {self.fcs}.")


@dataclass(frozen=True, kw_only=True)
class MaskHeadConfig:
    """The mask branch (He et al., 2017): convolutions, a doubling of the size, one mask a class.

    Attributes:
        pool: cells a side that RoIAlign samples; masks have twice as many.
        convs: number of 3 x 3 convolutions.
        channels: their channels.
    """

    pool: int = 14
    convs: int = 4
    channels: int = 256


@dataclass(frozen=True, kw_only=True)
class TwoStageConfig:
    """Region proposals, then one stage (Mask R-CNN) or several (Cascade Mask R-CNN).

    Attributes:
        rpn: the proposals.
        stages: the cascade.
        box: head of every stage.
        mask: mask branch of every stage; None for boxes only (Faster R-CNN, Cascade R-CNN).
        samples: proposals a picture that are trained; None: all.
        positive_fraction: share of objects among the samples, at most.
        match_low_quality: an object whose best proposal is below every threshold still gets it.
    """

    rpn: RpnConfig = field(default_factory=RpnConfig)
    stages: tuple[StageConfig, ...] = (StageConfig(),)
    box: BoxHeadConfig = field(default_factory=BoxHeadConfig)
    mask: MaskHeadConfig | None = field(default_factory=MaskHeadConfig)
    samples: int | None = 512
    positive_fraction: float = 0.25
    match_low_quality: bool = True

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError("a two-stage detector needs at least one stage; got none.")


NeckConfig = FpnConfig | BiFpnConfig
"""Whatever makes a pyramid; every one has `channels`, `levels` and `start`."""
HeadConfig = TwoStageConfig | AtssConfig | RepPointsV2Config | SparseConfig
"""One a kind of detector."""


Nms = Literal["auto", "hard", "soft", "soft_linear", "none"]


@dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """How detections are chosen from what the network says.

    Attributes:
        before_nms: proposals a level that enter suppression.
        proposals: proposals a picture after it.
        proposal_iou: overlap from which a worse proposal goes.
        score: least score of a detection.
        nms: hard: worse boxes that overlap go; soft: their score is lowered (Gaussian); soft_linear: lowered
            linearly, from `iou` on, which is what mmdetection's soft_nms means; none: all stay; auto: none
            where the detector is made for that and looks once, else hard.
        iou: overlap from which a worse box of the same class goes (hard), or its score falls (soft_linear).
        sigma: width of the Gaussian (soft).
        most: detections a picture.
        mask: least probability of a pixel of a mask.
    """

    before_nms: int = 1000
    proposals: int = 1000
    proposal_iou: float = 0.7
    score: float = 0.05
    nms: Nms = "auto"
    iou: float = 0.5
    sigma: float = 0.5
    most: int = 100
    mask: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise InputError(f"the least score is a number from 0 to 1; got {self.score}.")
        if self.most < 1:
            raise InputError(f"at least one detection a picture must be allowed; got {self.most}.")
        for name in ("before_nms", "proposals"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or more; got {getattr(self, name)}.")
        for name in ("proposal_iou", "iou", "mask"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} is a number above 0, at most 1; got {getattr(self, name)}.")
        if self.sigma <= 0:
            raise InputError(f"sigma, the width of soft suppression, must be above 0; got {self.sigma}.")


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """How a picture is looked at when objects are searched in it.

    Attributes:
        scales: the picture is seen at these sizes, relative to the model's own, and the findings are merged.
        flip: and mirrored as well.
        tile: side in pixels of square tiles that a larger picture is searched in; None: whole.
        overlap: share of a tile that the next one covers too; more than the largest object needs.
        classes: only these are searched; none: all.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    tile: int | None = None
    overlap: float = 0.2
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.tile is not None and self.tile < 32:
            raise InputError(f"a tile needs at least 32 pixels a side; got {self.tile}.")
        if not 0 <= self.overlap < 0.9:
            raise InputError(f"overlap is a share of a tile, from 0 to below 0.9; got {self.overlap}.")
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise InputError(f"scales must be one or more numbers above 0; got {self.scales}.")


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """A detector.

    Attributes:
        backbone: the trunk; all of its outputs are read.
        num_classes: kinds of objects.
        neck: the pyramid.
        head: what finds objects on it.
        select: how detections are chosen.
        short_side: pictures are enlarged or reduced to this short side, in pixels.
        long_side: but their long side stays at most this.
        scale: a factor to resize by instead of the two; for pictures whose pixels have a size in the world.
    """

    backbone: TrunkConfig = field(default_factory=lambda: SwinConfig(window_policy="pad"))
    num_classes: int = 80
    neck: NeckConfig = field(default_factory=FpnConfig)
    head: HeadConfig = field(default_factory=TwoStageConfig)
    select: SelectConfig = field(default_factory=SelectConfig)
    short_side: int = 800
    long_side: int = 1333
    scale: float | None = None

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise InputError(f"a detector needs at least one class; got num_classes {self.num_classes}.")


def mask_rcnn(*, masks: bool = True) -> TwoStageConfig:
    """Head of the published Mask R-CNN; without masks Faster R-CNN."""
    return TwoStageConfig(mask=MaskHeadConfig() if masks else None)


def cascade_mask_rcnn(*, masks: bool = True) -> TwoStageConfig:
    """Head of the published Cascade Mask R-CNN: three stages, 4 convolutions and one linear layer, GIoU on
    boxes (A2.2); without masks Cascade R-CNN."""
    return TwoStageConfig(
        rpn=RpnConfig(border=0, smooth_beta=1 / 9, train_proposals=2000),
        stages=(
            StageConfig(iou=0.5, deviations=(0.1, 0.1, 0.2, 0.2), loss_weight=1.0),
            StageConfig(iou=0.6, deviations=(0.05, 0.05, 0.1, 0.1), loss_weight=0.5),
            StageConfig(iou=0.7, deviations=(0.033, 0.033, 0.067, 0.067), loss_weight=0.25),
        ),
        box=BoxHeadConfig(convs=4, conv_norm=True, fcs=1, loss="giou", loss_weight=10.0),
        mask=MaskHeadConfig() if masks else None,
        match_low_quality=False,
    )
