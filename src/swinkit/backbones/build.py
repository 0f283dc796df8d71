"""From a configuration to a backbone."""

from typing import overload

from swinkit.backbones.config import (
    BackboneConfig,
    DeitPyramidConfig,
    SwinConfig,
    SwinMixerConfig,
    TimmConfig,
    TrunkConfig,
)
from swinkit.backbones.deit_pyramid import DeitPyramid
from swinkit.backbones.swin import SwinTransformer
from swinkit.backbones.swin_mixer import SwinMixer
from swinkit.backbones.timm_adapter import TimmBackbone
from swinkit.errors import InputError
from swinkit.ops.window_attention import Implementation


@overload
def build_backbone(config: SwinConfig, *, attention_impl: Implementation = "auto") -> SwinTransformer: ...
@overload
def build_backbone(config: SwinMixerConfig, *, attention_impl: Implementation = "auto") -> SwinMixer: ...
def build_backbone(
    config: BackboneConfig, *, attention_impl: Implementation = "auto"
) -> SwinTransformer | SwinMixer:
    """Build the backbone that `config` describes, with random weights."""
    if isinstance(config, SwinMixerConfig):
        return SwinMixer(
            img_size=config.img_size,
            patch_size=config.patch_size,
            in_chans=config.in_chans,
            embed_dim=config.embed_dim,
            depths=config.depths,
            num_heads=config.num_heads,
            window_size=config.window_size,
            mlp_ratio=config.mlp_ratio,
            patch_norm=config.patch_norm,
            shift=config.shift,
            absolute_pos_embed=config.absolute_pos_embed,
            window_policy=config.window_policy,
            drop_rate=config.drop_rate,
            drop_path_rate=config.drop_path_rate,
            out_indices=config.out_indices,
        )
    return SwinTransformer(
        img_size=config.img_size,
        patch_size=config.patch_size,
        in_chans=config.in_chans,
        embed_dim=config.embed_dim,
        depths=config.depths,
        num_heads=config.num_heads,
        window_size=config.window_size,
        mlp_ratio=config.mlp_ratio,
        qkv_bias=config.qkv_bias,
        patch_norm=config.patch_norm,
        shift=config.shift,
        position=config.position,
        window_policy=config.window_policy,
        drop_rate=config.drop_rate,
        attn_drop_rate=config.attn_drop_rate,
        drop_path_rate=config.drop_path_rate,
        out_indices=config.out_indices,
        attention_impl=attention_impl,
    )


Trunk = SwinTransformer | SwinMixer | TimmBackbone | DeitPyramid
"""Whatever gives a list of (B, C_i, H_i, W_i) maps, fine to coarse; `channels` and `strides` say which."""


def build_trunk(
    config: TrunkConfig, *, attention_impl: Implementation = "auto", pretrained: bool = False
) -> Trunk:
    """Build the pyramid that a dense task stands on.

    Args:
        config: of our backbones, a timm model or the DeiT pyramid.
        attention_impl: implementation of window attention, for ours.
        pretrained: start a timm model from timm's weights; ours are filled by `swinkit.weights`.
    """
    if isinstance(config, TimmConfig):
        return TimmBackbone(config.name, config.out_indices, in_chans=config.in_chans, pretrained=pretrained)
    if isinstance(config, DeitPyramidConfig):
        return DeitPyramid(
            config.name,
            img_size=config.img_size,
            drop_path_rate=config.drop_path_rate,
            pretrained=pretrained,
        )
    return build_backbone(config, attention_impl=attention_impl)


def fix_parts(backbone: Trunk, *, frozen_stages: int = 0, norm_eval: bool = False) -> None:
    """Let some of a backbone be as it is while the rest is trained.

    Args:
        backbone: whatever a dense task stands on.
        frozen_stages: 1 fixes the patch embedding or stem, n the first n - 1 stages as well; 0 nothing.
        norm_eval: batch norms of a timm model keep their statistics.

    Raises:
        InputError: the backbone has no such stages, or no batch norms that came with its weights.
    """
    if norm_eval:
        if not isinstance(backbone, TimmBackbone):
            raise InputError(
                "norm_eval is for the batch norms of a timm model such as timm/resnet50: set it to False "
                "(--model.no-norm-eval in the ResNet recipes, with --model.freeze-stages 0)."
            )
        backbone.keep_norm_statistics()
    if frozen_stages:
        backbone.freeze_stages(frozen_stages)
