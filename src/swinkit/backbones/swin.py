"""Swin Transformer (section 3)."""

from swinkit.backbones.config import Position, SwinConfig, stage_windows
from swinkit.backbones.pyramid import Pyramid, Stage, drop_path_rates, map_sizes
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
        patch = to_pair(patch_size)
        sizes = map_sizes(to_pair(img_size), patch, len(depths))
        windows = stage_windows(window_size, len(depths))
        rates = drop_path_rates(drop_path_rate, depths)
        channels = [embed_dim * 2**index for index in range(len(depths))]

        def block(stage: int, index: int) -> SwinBlock:
            attention = WindowAttention(
                channels[stage],
                num_heads[stage],
                fit_window(sizes[stage], windows[stage], window_policy),
                qkv_bias=qkv_bias,
                position_bias=position in ("relative", "both", "relative_without_appearance"),
                appearance=position != "relative_without_appearance",
                attn_drop=attn_drop_rate,
                proj_drop=drop_rate,
                impl=attention_impl,
            )
            return SwinBlock(
                channels[stage],
                attention,
                shifted=shift and index % 2 == 1,
                window_policy=window_policy,
                mlp_ratio=mlp_ratio,
                drop=drop_rate,
                drop_path=rates[stage][index],
            )

        super().__init__(
            patch_embed=PatchEmbed(in_chans, embed_dim, patch, norm=patch_norm),
            absolute_pos_embed=sizes[0] if position in ("absolute", "both") else None,
            stages=[
                Stage(
                    PatchMerging(channels[stage - 1]) if stage else None,
                    [block(stage, index) for index in range(depth)],
                )
                for stage, depth in enumerate(depths)
            ],
            channels=channels,
            out_indices=out_indices,
            drop_rate=drop_rate,
        )
        self.config = config
