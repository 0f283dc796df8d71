"""Swin Transformer (section 3)."""

from swinkit.backbones.config import Position, SwinConfig, stage_windows
from swinkit.backbones.pyramid import Pyramid, Stage, drop_path_rates, stage_maps
from swinkit.layers import PatchEmbed, PatchMerging, SwinBlock, WindowAttention
from swinkit.ops.window_attention import Implementation
from swinkit.ops.windows import Pair, WindowPolicy, fit_window, to_pair


class SwinTransformer(Pyramid):
    """Swin Transformer backbone; arguments are those of `SwinConfig`, which documents them.

    `forward` gives one (B, C_i, H_i, W_i) map per stage of `out_indices`; strides are 4, 8, 16, 32 with
    the usual patch. Matches the official classification and dense code, timm, torchvision, mmdetection 3.x
    and Hugging Face, each under its `window_policy`.

    Args:
        attention_impl: implementation of window attention, see `swinkit.ops.window_attention`.
    """

    def __init__(
        self,
        *,
        img_size: int | Pair = (224, 224),
        patch_size: int | Pair = 4,
        in_chans: int = 3,
        embed_dim: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        num_heads: tuple[int, ...] = (3, 6, 12, 24),
        window_size: int | Pair | tuple[Pair, ...] = 7,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        patch_norm: bool = True,
        shift: bool = True,
        position: Position = "relative",
        window_policy: WindowPolicy = "clamp",
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        out_indices: tuple[int, ...] = (0, 1, 2, 3),
        attention_impl: Implementation = "auto",
    ) -> None:
        config = SwinConfig(
            img_size=to_pair(img_size),
            patch_size=patch_size,
            in_chans=in_chans,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=num_heads,
            window_size=window_size,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            patch_norm=patch_norm,
            shift=shift,
            position=position,
            window_policy=window_policy,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
            out_indices=out_indices,
        )
        super().__init__(
            patch_embed=PatchEmbed(in_chans, embed_dim, to_pair(patch_size), norm=patch_norm),
            absolute_pos_embed=stage_maps(config)[0] if position in ("absolute", "both") else None,
            stages=[_stage(config, stage, attention_impl) for stage in range(len(depths))],
            channels=[embed_dim * 2**stage for stage in range(len(depths))],
            out_indices=out_indices,
            drop_rate=drop_rate,
        )
        self.config = config


def _stage(config: SwinConfig, stage: int, attention_impl: Implementation) -> Stage:
    """Merging, then blocks of which every second one shifts its windows."""
    channels = config.embed_dim * 2**stage
    rates = drop_path_rates(config.drop_path_rate, config.depths)[stage]
    window = fit_window(
        stage_maps(config)[stage],
        stage_windows(config.window_size, len(config.depths))[stage],
        config.window_policy,
    )

    def block(index: int) -> SwinBlock:
        attention = WindowAttention(
            channels,
            config.num_heads[stage],
            window,
            qkv_bias=config.qkv_bias,
            position_bias=config.position in ("relative", "both", "relative_without_appearance"),
            appearance=config.position != "relative_without_appearance",
            attn_drop=config.attn_drop_rate,
            proj_drop=config.drop_rate,
            impl=attention_impl,
        )
        return SwinBlock(
            channels,
            attention,
            shifted=config.shift and index % 2 == 1,
            window_policy=config.window_policy,
            mlp_ratio=config.mlp_ratio,
            drop=config.drop_rate,
            drop_path=rates[index],
        )

    merging = PatchMerging(channels // 2) if stage else None
    return Stage(merging, [block(index) for index in range(config.depths[stage])])
