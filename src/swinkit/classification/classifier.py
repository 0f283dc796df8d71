"""The classification model of section 3.1: last stage, LayerNorm, average pooling, linear."""

import dataclasses

from torch import Tensor, nn

from swinkit.backbones import SwinMixer, SwinTransformer, build_backbone
from swinkit.errors import InputError
from swinkit.ops.window_attention import Implementation
from swinkit.spec import ClassifierConfig, ModelSpec, swin_config


class Classifier(nn.Module):
    """A backbone with a classification head.

    Args:
        backbone: its last output is pooled.
        num_classes: outputs; 0 for no head, so that pooled features come out.
        spec: what a checkpoint of this model will say of it; made from the backbone when None.

    Attributes:
        spec: the model as plain data.
    """

    def __init__(
        self, backbone: SwinTransformer | SwinMixer, num_classes: int, *, spec: ModelSpec | None = None
    ) -> None:
        super().__init__()
        config = ClassifierConfig(backbone=backbone.config, num_classes=num_classes)
        if spec is not None and spec.config != config:
            raise InputError(f"the spec describes another model: expected {config}; got {spec.config}.")
        self.spec = ModelSpec(config=config) if spec is None else spec
        self.backbone = backbone
        self.head = _head(backbone.channels[-1], num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Map pictures (B, in_chans, H, W), normalised by `spec.preprocess`, to logits (B, num_classes)."""
        return self.head(self.embed(images_BCHW))

    def embed(self, images_BCHW: Tensor) -> Tensor:
        """Map pictures (B, in_chans, H, W) to pooled features (B, C) of the last stage."""
        return self.backbone(images_BCHW)[-1].mean(dim=(2, 3))

    def reset_head(self, num_classes: int, class_names: tuple[str, ...] = ()) -> None:
        """Put a new, randomly initialised head for `num_classes` classes in place of the old one."""
        weight = next(self.backbone.parameters())
        self.head = _head(self.backbone.channels[-1], num_classes).to(weight.device, weight.dtype)
        config = dataclasses.replace(self.spec.config, num_classes=num_classes)
        self.spec = dataclasses.replace(self.spec, config=config, class_names=class_names)


def build_classifier(spec: ModelSpec, *, attention_impl: Implementation = "auto") -> Classifier:
    """Build the classifier that `spec` describes, with random weights."""
    backbone = build_backbone(swin_config(spec), attention_impl=attention_impl)
    return Classifier(backbone, spec.config.num_classes, spec=spec)


def _head(channels: int, num_classes: int) -> nn.Module:
    if num_classes < 0:
        raise InputError(f"num_classes must be 0 or more; got {num_classes}.")
    if num_classes == 0:
        return nn.Identity()
    head = nn.Linear(channels, num_classes)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head
