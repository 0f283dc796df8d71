"""The segmentation model: backbone, UperNet head, auxiliary head."""

import dataclasses
from dataclasses import dataclass

from torch import Tensor, nn

from swinkit.backbones import Trunk, build_trunk
from swinkit.errors import InputError
from swinkit.ops.window_attention import Implementation
from swinkit.segmentation.config import InferenceConfig, SegmenterConfig
from swinkit.segmentation.heads import FcnHead, UperHead, resize
from swinkit.spec import ModelSpec


@dataclass(frozen=True)
class HeadLogits:
    """What the heads say, each at its own resolution.

    Attributes:
        decode: (B, K, rows, columns) at the finest map's size.
        auxiliary: the auxiliary head's, at the size of the map it reads; None without such a head.
    """

    decode: Tensor
    auxiliary: Tensor | None


class Segmenter(nn.Module):
    """UperNet on a backbone (section 4.3, A2.3).

    Args:
        backbone: gives a list of maps, fine to coarse.
        config: the heads; its `backbone` must describe the backbone.
        spec: what a checkpoint of this model will say of it; made from `config` when None.

    Attributes:
        spec: the model as plain data.
    """

    def __init__(self, backbone: Trunk, config: SegmenterConfig, *, spec: ModelSpec | None = None) -> None:
        super().__init__()
        if backbone.config != config.backbone or (spec is not None and spec.config != config):
            raise InputError(
                f"backbone, config and spec describe different models: the backbone is {backbone.config}, "
                f"the config's {config.backbone}."
            )
        maps, read = len(backbone.channels), config.auxiliary_index
        if config.auxiliary_channels and not 0 <= read < maps:
            raise InputError(
                f"the auxiliary head reads map {read} (from 0) of a backbone that gives {maps}: take a "
                "backbone of more stages, or leave the head out with auxiliary_channels=0."
            )
        self.spec = ModelSpec(config=config) if spec is None else spec
        self.auxiliary_index = config.auxiliary_index
        self.backbone = backbone
        self.decode_head = UperHead(
            backbone.channels,
            config.num_classes,
            channels=config.channels,
            pool_scales=config.pool_scales,
            dropout=config.dropout,
        )
        self.auxiliary_head = (
            FcnHead(
                backbone.channels[config.auxiliary_index],
                config.num_classes,
                channels=config.auxiliary_channels,
                convs=config.auxiliary_convs,
                dropout=config.dropout,
            )
            if config.auxiliary_channels
            else None
        )

    @property
    def config(self) -> SegmenterConfig:
        """The model's part of `spec`."""
        assert isinstance(self.spec.config, SegmenterConfig)
        return self.spec.config

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Map pictures (B, 3, H, W), normalised by `spec.preprocess`, to logits (B, K, H, W)."""
        return resize(self.coarse(images_BCHW), images_BCHW.shape[2:])

    def coarse(self, images_BCHW: Tensor) -> Tensor:
        """Map pictures (B, 3, H, W) to logits (B, K, ceil(H / s), ceil(W / s)) at the finest map's stride
        s."""
        return self.decode_head(self.backbone(images_BCHW))

    def forward_heads(self, images_BCHW: Tensor) -> HeadLogits:
        """Map pictures (B, 3, H, W) to the logits of both heads, as the losses need them."""
        maps = self.backbone(images_BCHW)
        auxiliary = None
        if self.auxiliary_head is not None:
            auxiliary = self.auxiliary_head(maps[self.auxiliary_index])
        return HeadLogits(self.decode_head(maps), auxiliary)

    def set_inference(self, inference: InferenceConfig) -> None:
        """Choose how pictures are read from now on; the model's spec says so too."""
        config = dataclasses.replace(self.config, inference=inference)
        self.spec = dataclasses.replace(self.spec, config=config)


def build_segmenter(spec: ModelSpec, *, attention_impl: Implementation = "auto") -> Segmenter:
    """Build the segmenter that `spec` describes, with random weights.

    Raises:
        InputError: the spec describes another kind of model.
    """
    if not isinstance(spec.config, SegmenterConfig):
        raise InputError(f"a segmenter was asked for; the spec describes a {type(spec.config).__name__}.")
    backbone = build_trunk(spec.config.backbone, attention_impl=attention_impl)
    return Segmenter(backbone, spec.config, spec=spec)
