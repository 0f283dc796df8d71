"""The builder of detectors."""

import dataclasses
import os
from collections.abc import Sequence

from swinkit.backbones import DeitPyramidConfig, TimmConfig, TrunkConfig, build_trunk, fix_parts
from swinkit.detection.build import detector_on
from swinkit.detection.config import (
    DetectorConfig,
    HeadConfig,
    NeckConfig,
    SelectConfig,
    TwoStageConfig,
    cascade_mask_rcnn,
    mask_rcnn,
)
from swinkit.detection.config_dense import AtssConfig, RepPointsV2Config
from swinkit.detection.detector import Detector
from swinkit.detection.htc_config import htc, htc_plus
from swinkit.detection.published import NECKS, published_select
from swinkit.detection.sparse_config import sparse_rcnn
from swinkit.errors import InputError
from swinkit.models_segmentation import dense_trunk
from swinkit.ops.window_attention import Implementation
from swinkit.spec import ModelSpec, Preprocess
from swinkit.weights.load import load_weights
from swinkit.weights.models import read_checkpoint

HEADS: dict[str, HeadConfig] = {
    "cascade_mask_rcnn": cascade_mask_rcnn(),
    "cascade_rcnn": cascade_mask_rcnn(masks=False),
    "mask_rcnn": mask_rcnn(),
    "faster_rcnn": mask_rcnn(masks=False),
    "atss": AtssConfig(),
    "reppoints_v2": RepPointsV2Config(),
    "htc_plus": htc_plus(),
    "htc": htc(),
    "sparse_rcnn": sparse_rcnn(),
}
"""How a detector's name begins -> its head."""


def create_detector(
    name: str | TrunkConfig,
    *,
    head: str | HeadConfig | None = None,
    masks: bool | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
    pretrained: bool | str | os.PathLike[str] = False,
    window_size: int | None = None,
    drop_path_rate: float | None = None,
    neck_channels: int = 256,
    neck: NeckConfig | None = None,
    select: SelectConfig | None = None,
    short_side: int = 800,
    long_side: int = 1333,
    scale: float | None = None,
    frozen_stages: int = 0,
    norm_eval: bool = False,
    grad_checkpointing: bool = False,
    attention_impl: Implementation = "auto",
) -> Detector:
    """Build a detector on a backbone (section 4.2, A2.2).

    Args:
        name: a variant of `swinkit models` with or without a word of `HEADS` and "_" before it;
            "deit_small_patch16_224" for the paper's deconvolution pyramid, "timm/NAME" for any timm model, or
            a configuration of your own.
        head: one of those words or a configuration; None: what the name says, else "mask_rcnn".
        masks: False: boxes only; None: as the head has it.
        num_classes: None for one per name in `class_names`, else COCO's 80.
        class_names: one a class.
        pretrained: False; True for the published classification weights of the backbone; or a checkpoint of a
            classifier, a backbone or a whole detector, whose class layers are kept when the number of classes
            is the same.
        window_size: tokens a window side, of a Swin backbone.
        drop_path_rate: stochastic depth of the last block.
        neck_channels: of the feature pyramid.
        neck: the pyramid; None: the head's published one with these channels.
        select: how detections are chosen; None: as published with the head.
        short_side: pictures are resized to this short side in pixels,
        long_side: but their long side is at most this.
        scale: a factor to resize by instead.
        frozen_stages: 1 fixes the patch embedding or stem, n the first n - 1 stages as well; one more than
            mmdetection's.
        norm_eval: batch norms of a timm backbone keep their statistics.
        grad_checkpointing: recompute blocks in the backward pass to save memory.
        attention_impl: implementation of window attention.

    Returns:
        A `Detector` in training mode; its `spec` describes it.

    Raises:
        InputError: an unknown name, settings that do not fit together, or weights that do not fit.
    """
    named, base = _split(name) if isinstance(name, str) else ("", name)
    if isinstance(head, str) and head not in HEADS:
        raise InputError(f"unknown head {head!r}: it is one of {', '.join(HEADS)}.")
    config = HEADS[head or named or "mask_rcnn"] if head is None or isinstance(head, str) else head
    if masks is not None:
        config = _with_masks(config, masks=masks)
    trunk = dense_trunk(base, window_size=window_size, drop_path_rate=drop_path_rate)
    neck = neck or dataclasses.replace(NECKS[type(config)], channels=neck_channels)
    trunk, neck = _only_read(trunk, neck)
    ours = not isinstance(trunk, (TimmConfig, DeitPyramidConfig))
    spec = ModelSpec(
        name=name if isinstance(name, str) else "",
        config=DetectorConfig(
            backbone=trunk,
            num_classes=num_classes or len(class_names) or 80,
            neck=neck,
            head=config,
            select=select or published_select(config),
            short_side=short_side,
            long_side=long_side,
            scale=scale,
        ),
        class_names=tuple(class_names),
        preprocess=Preprocess(size=(short_side, long_side), crop_ratio=None, interpolation="bilinear"),
    )
    assert isinstance(spec.config, DetectorConfig)
    backbone = build_trunk(trunk, attention_impl=attention_impl, pretrained=pretrained is True and not ours)
    model = detector_on(backbone, spec.config, spec)
    if pretrained and (ours or pretrained is not True):
        _fill(model, str(base) if pretrained is True else pretrained)
    fix_parts(backbone, frozen_stages=frozen_stages, norm_eval=norm_eval)
    backbone.set_grad_checkpointing(grad_checkpointing)
    return model


def _with_masks(config: HeadConfig, *, masks: bool) -> HeadConfig:
    """The head with or without its mask branch."""
    if not isinstance(config, TwoStageConfig):
        if masks:
            raise InputError("this detector finds boxes only: leave masks out, or take Mask R-CNN.")
        return config
    if masks == (config.mask is not None):
        return config
    return dataclasses.replace(config, mask=mask_rcnn().mask if masks else None)


def _only_read(trunk: TrunkConfig, neck: NeckConfig) -> tuple[TrunkConfig, NeckConfig]:
    """Let the backbone give only the maps that the neck reads, so that every parameter is trained."""
    if isinstance(trunk, DeitPyramidConfig) or not neck.start:
        return trunk, neck
    indices = trunk.out_indices[neck.start :]
    return dataclasses.replace(trunk, out_indices=indices), dataclasses.replace(neck, start=0)


def _split(name: str) -> tuple[str, str]:
    """The head that a name begins with, and the backbone's name."""
    head = next((head for head in HEADS if name.startswith(f"{head}_")), "")
    return head, name.removeprefix(f"{head}_") if head else name


def _fill(model: Detector, source: str | os.PathLike[str]) -> None:
    checkpoint = read_checkpoint(source)
    whole = isinstance(checkpoint.spec.config, DetectorConfig)
    target = model if whole else model.backbone
    load_weights(target, checkpoint.state, replace_head=True, name=checkpoint.path.stem, spec=checkpoint.spec)
