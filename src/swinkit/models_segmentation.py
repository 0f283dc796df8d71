"""The builder of segmentation models."""

import dataclasses
import os
from collections.abc import Sequence

from swinkit.backbones import DeitPyramidConfig, TimmConfig, TrunkConfig, build_trunk
from swinkit.models import resolve_backbone
from swinkit.ops.window_attention import Implementation
from swinkit.ops.windows import Pair, to_pair
from swinkit.segmentation.config import InferenceConfig, SegmenterConfig
from swinkit.segmentation.segmenter import Segmenter
from swinkit.spec import ModelSpec, Preprocess
from swinkit.weights.load import load_weights
from swinkit.weights.models import read_checkpoint

PREFIX = "upernet_"
TIMM = "timm/"


def create_segmenter(
    name: str | TrunkConfig,
    *,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
    pretrained: bool | str | os.PathLike[str] = False,
    crop: int | Pair = (512, 512),
    window_size: int | None = None,
    drop_path_rate: float | None = None,
    channels: int = 512,
    auxiliary_channels: int = 256,
    palette: Sequence[tuple[int, int, int]] = (),
    inference: InferenceConfig | None = None,
    grad_checkpointing: bool = False,
    attention_impl: Implementation = "auto",
) -> Segmenter:
    """Build UperNet on a backbone (section 4.3, A2.3).

    Args:
        name: a variant of `swinkit models` with or without "upernet_" before it, "deit_small_patch16_224" for
            the paper's deconvolution pyramid, "timm/NAME" for any timm model, or a configuration of your own.
        num_classes: classes of the masks; None for one per name in `class_names`, else 150.
        class_names: one a class.
        pretrained: False; True for the published classification weights of the backbone; or a checkpoint: of
            a classifier or a backbone, or a whole segmenter, whose classifiers are kept when the number of
            classes is the same.
        crop: (height, width) in pixels that training crops and tiles have.
        window_size: tokens a window side, of a Swin backbone.
        drop_path_rate: stochastic depth of the last block.
        channels: of the decode head.
        auxiliary_channels: of the auxiliary head; 0 for none.
        palette: (red, green, blue) of each class.
        inference: how pictures are read; None: whole, at their own size.
        grad_checkpointing: recompute blocks in the backward pass to save memory.
        attention_impl: implementation of window attention.

    Returns:
        A `Segmenter` in training mode; its `spec` describes it.

    Raises:
        InputError: an unknown name, settings that do not fit together, or weights that do not fit.
    """
    crop = to_pair(crop)
    trunk = dense_trunk(name, window_size=window_size, drop_path_rate=drop_path_rate)
    ours = not isinstance(trunk, (TimmConfig, DeitPyramidConfig))
    if inference is None:
        inference = InferenceConfig(crop=crop, stride=(crop[0] * 2 // 3, crop[1] * 2 // 3))
    spec = ModelSpec(
        name=name if isinstance(name, str) else "",
        config=SegmenterConfig(
            backbone=trunk,
            num_classes=num_classes or len(class_names) or 150,
            channels=channels,
            auxiliary_channels=auxiliary_channels,
            palette=tuple(palette),
            inference=inference,
        ),
        class_names=tuple(class_names),
        preprocess=Preprocess(size=crop, crop_ratio=None, interpolation="bilinear"),
    )
    assert isinstance(spec.config, SegmenterConfig)
    backbone = build_trunk(trunk, attention_impl=attention_impl, pretrained=pretrained is True and not ours)
    model = Segmenter(backbone, spec.config, spec=spec)
    if pretrained and (ours or pretrained is not True):
        source = str(name).removeprefix(PREFIX) if pretrained is True else pretrained
        _fill(model, source)
    backbone.set_grad_checkpointing(grad_checkpointing)
    return model


def dense_trunk(
    name: str | TrunkConfig, *, window_size: int | None, drop_path_rate: float | None
) -> TrunkConfig:
    """Return the configuration of a dense task's backbone from its name, see `create_segmenter`."""
    if isinstance(name, (TimmConfig, DeitPyramidConfig)):
        return name
    if isinstance(name, str) and name.removeprefix(PREFIX).startswith(TIMM):
        return TimmConfig(name=name.removeprefix(PREFIX).removeprefix(TIMM))
    if isinstance(name, str) and name.removeprefix(PREFIX).startswith("deit_"):
        rate = 0.1 if drop_path_rate is None else drop_path_rate
        return DeitPyramidConfig(name=name.removeprefix(PREFIX), drop_path_rate=rate)
    config = resolve_backbone(name.removeprefix(PREFIX) if isinstance(name, str) else name, False)
    return dataclasses.replace(
        config,
        window_policy="pad",
        out_indices=tuple(range(len(config.depths))),
        window_size=config.window_size if window_size is None else window_size,
        drop_path_rate=config.drop_path_rate if drop_path_rate is None else drop_path_rate,
    )


def _fill(model: Segmenter, source: str | os.PathLike[str]) -> None:
    checkpoint = read_checkpoint(source)
    whole = isinstance(checkpoint.spec.config, SegmenterConfig)
    target = model if whole else model.backbone
    load_weights(target, checkpoint.state, replace_head=True, name=checkpoint.path.stem, spec=checkpoint.spec)
