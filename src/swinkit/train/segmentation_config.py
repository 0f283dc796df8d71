"""A training job of semantic segmentation as plain data."""

from dataclasses import dataclass, field
from typing import ClassVar

from swinkit.data.mask_config import MaskAugmentConfig, MaskDataConfig
from swinkit.layers import Init
from swinkit.ops.window_attention import Implementation
from swinkit.segmentation.config import InferenceConfig, LossConfig
from swinkit.train.config import JobConfig


@dataclass(frozen=True, kw_only=True)
class SegmenterOptions:
    """UperNet on which backbone. None means: as the variant has it.

    Attributes:
        name: a variant of `swinkit models`, deit_small_patch16_224, timm/NAME for any timm model, or
            custom for a Swin Transformer described by the numbers below.
        pretrained: True for the published weights of the backbone; the path of a checkpoint of a classifier,
            a backbone or a segmenter; False to start from scratch.
        window_size: tokens a side of a window.
        drop_path_rate: stochastic depth of the last block.
        patch_size: pixels a side of a patch, for a model of your own size.
        embed_dim: channels of the first stage, for a model of your own size.
        depths: blocks of each stage, for a model of your own size.
        num_heads: attention heads of each stage, for a model of your own size.
        channels: of the decode head.
        auxiliary_channels: of the auxiliary head; 0 for none.
        init: how the weights of a backbone from scratch start: paper, or xavier for one far narrower than the
            published ones.
        grad_checkpointing: recompute blocks in the backward pass: less memory, about a third slower.
        freeze_stages: 1 fixes the patch embedding or a ResNet's stem, n the first n - 1 stages as well; 0
            nothing.
        attention_impl: implementation of window attention: auto, chunked, native, reference, sdpa or triton.
    """

    name: str = "swin_tiny_patch4_window7_224"
    pretrained: bool | str = False
    window_size: int | None = None
    drop_path_rate: float | None = None
    patch_size: int | None = None
    embed_dim: int | None = None
    depths: tuple[int, ...] | None = None
    num_heads: tuple[int, ...] | None = None
    channels: int = 512
    auxiliary_channels: int = 256
    init: Init = "paper"
    grad_checkpointing: bool = False
    freeze_stages: int = 0
    attention_impl: Implementation = "auto"


@dataclass(frozen=True, kw_only=True)
class SegmentConfig(JobConfig):
    """A whole training job of semantic segmentation.

    Attributes:
        model: which model.
        data: which pictures and masks.
        augment: what is done to training pictures and masks.
        loss: what is minimised.
        inference: how the model reads pictures, in validation and afterwards.
        optimizer: how a step is made.
        schedule: how long, and the learning rate over time.
        trainer: where and how it runs.
        out: run folder; None for runs/<recipe>.
    """

    task: ClassVar[str] = "segmentation"

    model: SegmenterOptions = field(default_factory=SegmenterOptions)
    data: MaskDataConfig = field(default_factory=MaskDataConfig)
    augment: MaskAugmentConfig = field(default_factory=MaskAugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
