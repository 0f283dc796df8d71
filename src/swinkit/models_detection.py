"""The builder of detectors."""

import dataclasses
import os
from collections.abc import Sequence

from swinkit.backbones import DeitPyramidConfig, TimmConfig, TrunkConfig, build_trunk
from swinkit.detection.config import (
    DetectorConfig,
    FpnConfig,
    SelectConfig,
    TwoStageConfig,
    cascade_mask_rcnn,
    mask_rcnn,
)
from swinkit.detection.two_stage import TwoStageDetector
from swinkit.errors import InputError
from swinkit.models_segmentation import dense_trunk
from swinkit.ops.window_attention import Implementation
from swinkit.spec import ModelSpec, Preprocess
from swinkit.weights.load import load_weights
from swinkit.weights.models import read_checkpoint

HEADS: dict[str, TwoStageConfig] = {
    "cascade_mask_rcnn": cascade_mask_rcnn(),
    "cascade_rcnn": cascade_mask_rcnn(masks=False),
    "mask_rcnn": mask_rcnn(),
    "faster_rcnn": mask_rcnn(masks=False),
}
"""How a detector's name begins -> its head."""


def create_detector(
    name: str | TrunkConfig,
    *,
    head: str | TwoStageConfig | None = None,
    masks: bool | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
    pretrained: bool | str | os.PathLike[str] = False,
    window_size: int | None = None,
    drop_path_rate: float | None = None,
    neck_channels: int = 256,
    select: SelectConfig | None = None,
    short_side: int = 800,
    long_side: int = 1333,
    scale: float | None = None,
    grad_checkpointing: bool = False,
    attention_impl: Implementation = "auto",
) -> TwoStageDetector:
    """Build a two-stage detector on a backbone (section 4.2, A2.2).

    Args:
        name: a variant of `swinkit models` with or without "mask_rcnn_", "cascade_mask_rcnn_", "faster_rcnn_"
            or "cascade_rcnn_" before it; "deit_small_patch16_224" for the paper's deconvolution pyramid,
            "timm/NAME" for any timm model, or a configuration of your own.
        head: one of these words or a configuration; None: what the name says, else "mask_rcnn".
        masks: False: boxes only; None: as the head has it.
        num_classes: None for one per name in `class_names`, else COCO's 80.
        class_names: one a class.
        pretrained: False; True for the published classification weights of the backbone; or a checkpoint of a
            classifier, a backbone or a whole detector, whose class layers are kept when the number of classes
            is the same.
        window_size: tokens a window side, of a Swin backbone.
        drop_path_rate: stochastic depth of the last block.
        neck_channels: of the feature pyramid.
        select: how detections are chosen.
        short_side: pictures are resized to this short side in pixels,
        long_side: but their long side is at most this.
        scale: a factor to resize by instead.
        grad_checkpointing: recompute blocks in the backward pass to save memory.
        attention_impl: implementation of window attention.

    Returns:
        A `TwoStageDetector` in training mode; its `spec` describes it.

    Raises:
        InputError: an unknown name, settings that do not fit together, or weights that do not fit.
    """
    named, base = _split(name) if isinstance(name, str) else ("", name)
    if isinstance(head, str) and head not in HEADS:
        raise InputError(f"unknown head {head!r}: it is one of {', '.join(HEADS)}.")
    config = HEADS[head or named or "mask_rcnn"] if head is None or isinstance(head, str) else head
    if masks is not None and masks != (config.mask is not None):
        config = dataclasses.replace(config, mask=mask_rcnn().mask if masks else None)
    trunk = dense_trunk(base, window_size=window_size, drop_path_rate=drop_path_rate)
    ours = not isinstance(trunk, (TimmConfig, DeitPyramidConfig))
    spec = ModelSpec(
        name=name if isinstance(name, str) else "",
        config=DetectorConfig(
            backbone=trunk,
            num_classes=num_classes or len(class_names) or 80,
            neck=FpnConfig(channels=neck_channels),
            head=config,
            select=select or SelectConfig(),
            short_side=short_side,
            long_side=long_side,
            scale=scale,
        ),
        class_names=tuple(class_names),
        preprocess=Preprocess(size=(short_side, long_side), crop_ratio=None, interpolation="bilinear"),
    )
    assert isinstance(spec.config, DetectorConfig)
    backbone = build_trunk(trunk, attention_impl=attention_impl, pretrained=pretrained is True and not ours)
    model = TwoStageDetector(backbone, spec.config, spec=spec)
    if pretrained and (ours or pretrained is not True):
        _fill(model, str(base) if pretrained is True else pretrained)
    backbone.set_grad_checkpointing(grad_checkpointing)
    return model


def _split(name: str) -> tuple[str, str]:
    """The head that a name begins with, and the backbone's name."""
    head = next((head for head in HEADS if name.startswith(f"{head}_")), "")
    return head, name.removeprefix(f"{head}_") if head else name


def _fill(model: TwoStageDetector, source: str | os.PathLike[str]) -> None:
    checkpoint = read_checkpoint(source)
    whole = isinstance(checkpoint.spec.config, DetectorConfig)
    target = model if whole else model.backbone
    load_weights(target, checkpoint.state, replace_head=True, name=checkpoint.path.stem, spec=checkpoint.spec)
