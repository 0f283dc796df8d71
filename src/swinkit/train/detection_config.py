"""A training job of object detection as plain data."""

from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar, Literal

from swinkit.data.object_config import ObjectAugmentConfig, ObjectDataConfig
from swinkit.detection.config import Nms, SelectConfig
from swinkit.detection.htc_config import STUFF_CLASSES
from swinkit.errors import InputError
from swinkit.layers import Init
from swinkit.ops.window_attention import Implementation
from swinkit.train.config import JobConfig

Head = Literal["mask_rcnn", "cascade_mask_rcnn", "htc", "htc_plus", "atss", "reppoints_v2", "sparse_rcnn"]
"""Detectors by name, see `swinkit.models_detection.HEADS`."""


@dataclass(frozen=True, kw_only=True)
class DetectorOptions:
    """A detector on which backbone. None means: as the variant or the published head has it.

    Attributes:
        name: a variant of `swinkit models`, deit_small_patch16_224, timm/NAME for any timm model, or custom
            for a Swin Transformer described by the numbers below.
        head: mask_rcnn, cascade_mask_rcnn, htc, htc_plus (the paper's HTC++), or one that finds boxes only:
            atss, reppoints_v2 or sparse_rcnn.
        masks: whether objects are outlined: auto (if the data have outlines), True or False.
        semantic: of htc: whether the stuff around objects is learnt too: auto (if the data have stuff maps),
            True or False.
        stuff_classes: of htc: classes of the stuff maps.
        proposals: of sparse_rcnn: boxes that are learnt, and detections that can be made.
        pretrained: True for the published weights of the backbone; the path of a checkpoint of a classifier,
            a backbone or a detector; False to start from scratch.
        window_size: tokens a side of a window.
        drop_path_rate: stochastic depth of the last block.
        patch_size: pixels a side of a patch, for a model of your own size.
        embed_dim: channels of the first stage, for a model of your own size.
        depths: blocks of each stage, for a model of your own size.
        num_heads: attention heads of each stage, for a model of your own size.
        channels: of the pyramid and of the heads' convolutions.
        fc_channels: of the box head's linear layers.
        anchor_scale: side of a square anchor in strides of its level; 8 means 32 pixels on the finest.
        samples: regions a picture that the heads are trained on.
        short_side: pictures are resized to this short side in pixels when the model is used,
        long_side: but their long side is at most this.
        scale: a factor to resize by instead.
        init: how the weights of a backbone from scratch start: paper, or xavier for one far narrower than the
            published ones.
        grad_checkpointing: recompute blocks in the backward pass: less memory, about a third slower.
        freeze_stages: 1 fixes the patch embedding or a ResNet's stem, n the first n - 1 stages as well; 0
            nothing. One more than mmdetection's frozen_stages.
        norm_eval: of timm/NAME: the backbone's batch norms keep the statistics they came with.
        attention_impl: implementation of window attention: auto, chunked, native, reference, sdpa or triton.
    """

    name: str = "swin_tiny_patch4_window7_224"
    head: Head = "mask_rcnn"
    masks: bool | Literal["auto"] = "auto"
    semantic: bool | Literal["auto"] = "auto"
    stuff_classes: int = STUFF_CLASSES
    proposals: int = 300
    pretrained: bool | str = False
    window_size: int | None = None
    drop_path_rate: float | None = None
    patch_size: int | None = None
    embed_dim: int | None = None
    depths: tuple[int, ...] | None = None
    num_heads: tuple[int, ...] | None = None
    channels: int = 256
    fc_channels: int = 1024
    anchor_scale: float = 8.0
    samples: int = 512
    short_side: int = 800
    long_side: int = 1333
    scale: float | None = None
    init: Init = "paper"
    grad_checkpointing: bool = False
    freeze_stages: int = 0
    norm_eval: bool = False
    attention_impl: Implementation = "auto"

    def __post_init__(self) -> None:
        for name in ("channels", "fc_channels", "samples", "short_side", "long_side"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name} must be 1 or more; got {getattr(self, name)}.")
        for name, value in (("anchor_scale", self.anchor_scale), ("scale", self.scale)):
            if value is not None and value <= 0:
                raise InputError(f"model.{name} must be above 0; got {value}.")


@dataclass(frozen=True, kw_only=True)
class SelectOptions:
    """How detections are chosen. None means: as published with the head.

    Attributes:
        before_nms: proposals a level that enter suppression.
        proposals: proposals a picture after it.
        proposal_iou: overlap from which a worse proposal goes.
        score: least score of a detection.
        nms: hard: worse boxes that overlap go; soft: their score is lowered (Gaussian); soft_linear: lowered
            linearly, from `iou` on; none: all stay; auto: none where the detector is made for that and looks
            once, else hard.
        iou: overlap from which a worse box of the same class goes (hard), or its score falls (soft_linear).
        sigma: width of the Gaussian (soft).
        most: detections a picture.
        mask: least probability of a pixel of a mask.
    """

    before_nms: int | None = None
    proposals: int | None = None
    proposal_iou: float | None = None
    score: float | None = None
    nms: Nms | None = None
    iou: float | None = None
    sigma: float | None = None
    most: int | None = None
    mask: float | None = None

    def __post_init__(self) -> None:
        self.over(SelectConfig())  # which checks the numbers

    def over(self, select: SelectConfig) -> SelectConfig:
        """Return `select` with what is set here in its place."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(select, **given)


@dataclass(frozen=True, kw_only=True)
class DetectConfig(JobConfig):
    """A whole training job of object detection.

    Attributes:
        model: which model.
        data: which pictures and objects.
        augment: what is done to training pictures.
        select: how detections are chosen, in validation and afterwards, where not as published.
        optimizer: how a step is made.
        schedule: how long, and the learning rate over time.
        trainer: where and how it runs.
        out: run folder; None for runs/<recipe>.
    """

    task: ClassVar[str] = "detection"

    model: DetectorOptions = field(default_factory=DetectorOptions)
    data: ObjectDataConfig = field(default_factory=ObjectDataConfig)
    augment: ObjectAugmentConfig = field(default_factory=ObjectAugmentConfig)
    select: SelectOptions = field(default_factory=SelectOptions)
