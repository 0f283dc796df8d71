"""The two builders a user meets: `create_model` and `create_backbone`."""

import dataclasses
import difflib
import os
from collections.abc import Sequence

from swinkit.backbones import VARIANTS, BackboneConfig, SwinConfig, SwinMixer, SwinTransformer, build_backbone
from swinkit.backbones.config import Position
from swinkit.classification import Classifier, build_classifier
from swinkit.errors import InputError
from swinkit.ops.window_attention import Implementation
from swinkit.ops.windows import Pair, WindowPolicy, to_pair
from swinkit.spec import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ClassifierConfig,
    ModelSpec,
    Preprocess,
    evaluation_crop,
    swin_config,
)
from swinkit.weights import catalog
from swinkit.weights.load import load_weights
from swinkit.weights.models import Checkpoint, read_checkpoint

Name = str | BackboneConfig
Window = int | Pair | tuple[Pair, ...]


def create_model(
    name: Name,
    *,
    pretrained: bool | str | os.PathLike[str] = False,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
    img_size: int | Pair | None = None,
    window_size: Window | None = None,
    in_chans: int | None = None,
    drop_rate: float | None = None,
    attn_drop_rate: float | None = None,
    drop_path_rate: float | None = None,
    shift: bool | None = None,
    position: Position | None = None,
    window_policy: WindowPolicy | None = None,
    grad_checkpointing: bool = False,
    attention_impl: Implementation = "auto",
) -> Classifier:
    """Build an image classifier.

    Args:
        name: a variant ("swin_tiny_patch4_window7_224", see `swinkit models`), one with a published tag
            ("swin_tiny_patch4_window7_224.ms_in22k"), or a configuration of your own.
        pretrained: False for random weights; True for the published ones, downloaded once; or the path of any
            published or own checkpoint. Weights of another picture size or window are interpolated (section
            3.2), a head of other classes is replaced.
        num_classes: outputs; None for those of the published model, 1000 without one. 0 for no head.
        class_names: one a class; kept in checkpoints and shown in predictions.
        img_size: (height, width) in pixels the model is laid out for.
        window_size: tokens a window side.
        in_chans: channels of the picture.
        drop_rate: dropout on tokens and projections.
        attn_drop_rate: dropout on attention weights.
        drop_path_rate: stochastic depth of the last block.
        shift: shift windows in every second block.
        position: position information (Table 4).
        window_policy: what happens on small maps, see `swinkit.ops.windows.WindowPolicy`.
        grad_checkpointing: recompute blocks in the backward pass to save memory.
        attention_impl: implementation of window attention.

    Returns:
        A `Classifier` in training mode; its `spec` describes it.

    Raises:
        InputError: an unknown name, settings that do not fit together, or weights that do not fit.
    """
    config = resolve_backbone(name, pretrained)
    checkpoint = _read(name, pretrained)
    published = checkpoint.spec if checkpoint is not None else None
    if window_policy is None and published is not None:
        window_policy = swin_config(published).window_policy
    config = _override(
        config,
        img_size=img_size,
        window_size=window_size,
        in_chans=in_chans,
        drop_rate=drop_rate,
        attn_drop_rate=attn_drop_rate,
        drop_path_rate=drop_path_rate,
        shift=shift,
        position=position,
        window_policy=window_policy,
    )
    config = dataclasses.replace(config, out_indices=(len(config.depths) - 1,))
    if num_classes is None:
        num_classes = len(class_names) or (published.config.num_classes if published is not None else 1000)
    if not class_names and published is not None and len(published.class_names) == num_classes:
        class_names = published.class_names
    spec = ModelSpec(
        name=name if isinstance(name, str) else "",
        config=ClassifierConfig(backbone=config, num_classes=num_classes),
        class_names=tuple(class_names),
        preprocess=_preprocess(config, published),
    )
    model = build_classifier(spec, attention_impl=attention_impl)
    if checkpoint is not None:
        load_weights(model, checkpoint.state, replace_head=True, name=checkpoint.path.stem, spec=published)
        if checkpoint.spec.class_names and tuple(class_names) != checkpoint.spec.class_names:
            model.reset_head(num_classes, tuple(class_names))
    model.backbone.set_grad_checkpointing(grad_checkpointing)
    return model


def create_backbone(
    name: Name,
    *,
    pretrained: bool | str | os.PathLike[str] = False,
    img_size: int | Pair | None = None,
    window_size: Window | None = None,
    in_chans: int | None = None,
    drop_rate: float | None = None,
    attn_drop_rate: float | None = None,
    drop_path_rate: float | None = None,
    shift: bool | None = None,
    position: Position | None = None,
    window_policy: WindowPolicy = "pad",
    out_indices: tuple[int, ...] | None = None,
    frozen_stages: int = 0,
    grad_checkpointing: bool = False,
    attention_impl: Implementation = "auto",
) -> SwinTransformer | SwinMixer:
    """Build a feature pyramid for dense prediction.

    It gives a list of (B, C_i, H / s_i, W / s_i) maps with s = 4, 8, 16, 32 for pictures of any size, and
    says so in `.channels` and `.strides`. Arguments are those of `create_model`, and:

    Args:
        window_policy: "pad" is what the published detection and segmentation code does.
        out_indices: stages (0-based) whose maps come out; None for those of the configuration (all four).
        frozen_stages: how much to freeze, see `Pyramid.freeze_stages`.

    Returns:
        The backbone in training mode. With `pretrained` from a classifier, the norms of the stages that a
        classifier does not have start fresh.

    Raises:
        InputError: an unknown name, settings that do not fit together, or weights that do not fit.
    """
    config = resolve_backbone(name, pretrained)
    checkpoint = _read(name, pretrained)
    config = _override(
        config,
        img_size=img_size,
        window_size=window_size,
        in_chans=in_chans,
        drop_rate=drop_rate,
        attn_drop_rate=attn_drop_rate,
        drop_path_rate=drop_path_rate,
        shift=shift,
        position=position,
        window_policy=window_policy,
    )
    config = config if out_indices is None else dataclasses.replace(config, out_indices=out_indices)
    model = build_backbone(config, attention_impl=attention_impl)
    if checkpoint is not None:
        spec = checkpoint.spec
        load_weights(model, checkpoint.state, replace_head=True, name=checkpoint.path.stem, spec=spec)
    model.set_grad_checkpointing(grad_checkpointing)
    model.freeze_stages(frozen_stages)
    return model


def resolve_backbone(name: Name, pretrained: bool | str | os.PathLike[str]) -> BackboneConfig:
    """Configuration of a variant, or of the variant that a published name is of."""
    if isinstance(name, BackboneConfig):
        if pretrained is True:
            raise InputError(
                "pretrained=True needs a published name; for a configuration give a checkpoint's path."
            )
        return name
    entry = catalog.find(name)
    variant = entry.variant if entry is not None else name
    if variant not in VARIANTS:
        close = difflib.get_close_matches(name, [*VARIANTS, *catalog.CATALOG], n=1)
        hint = f"did you mean {close[0]!r}?" if close else "`swinkit models` lists the names."
        raise InputError(f"unknown model {name!r}: {hint}")
    if pretrained is True and entry is None:
        raise InputError(f"no published weights for {name!r}: `swinkit models` lists those there are.")
    return VARIANTS[variant]


def _read(name: Name, pretrained: bool | str | os.PathLike[str]) -> Checkpoint | None:
    """The checkpoint that `pretrained` means, or None."""
    if not pretrained:
        return None
    return read_checkpoint(str(name) if pretrained is True else pretrained)


def _override(
    config: BackboneConfig,
    *,
    img_size: int | Pair | None,
    window_size: Window | None,
    in_chans: int | None,
    drop_rate: float | None,
    attn_drop_rate: float | None,
    drop_path_rate: float | None,
    shift: bool | None,
    position: Position | None,
    window_policy: WindowPolicy | None,
) -> BackboneConfig:
    """`config` with the settings that are not None."""
    shared = {
        "img_size": None if img_size is None else to_pair(img_size),
        "window_size": window_size,
        "in_chans": in_chans,
        "drop_rate": drop_rate,
        "drop_path_rate": drop_path_rate,
        "shift": shift,
        "window_policy": window_policy,
    }
    attention = {"attn_drop_rate": attn_drop_rate, "position": position}
    given = {key: value for key, value in {**shared, **attention}.items() if value is not None}
    misplaced = sorted(set(given) & set(attention))
    if misplaced and not isinstance(config, SwinConfig):
        raise InputError(f"a Swin-Mixer has no {misplaced[0]}: it has no attention; leave it out.")
    return dataclasses.replace(config, **given)


def _preprocess(config: BackboneConfig, published: ModelSpec | None) -> Preprocess:
    """Evaluation input: the checkpoint's own where there is one and it fits, the paper's otherwise."""
    known = published.preprocess if published is not None else Preprocess(size=(0, 0))
    if published is None or swin_config(published).in_chans != config.in_chans:
        rgb = config.in_chans == 3
        mean = IMAGENET_MEAN if rgb else (sum(IMAGENET_MEAN) / 3,) * config.in_chans
        std = IMAGENET_STD if rgb else (sum(IMAGENET_STD) / 3,) * config.in_chans
        known = dataclasses.replace(known, mean=mean, std=std)
    if known.size == config.img_size:
        return known
    return dataclasses.replace(known, size=config.img_size, crop_ratio=evaluation_crop(config.img_size))
