"""Swin-Mixer: the hierarchy and the shifted windows with an MLP for attention (Table 10)."""

from swinkit.backbones.config import SwinMixerConfig, stage_windows
from swinkit.backbones.pyramid import Pyramid, Stage, drop_path_rates, stage_maps
from swinkit.layers import PatchEmbed, PatchMerging, SpatialMlp, SwinMixerBlock
from swinkit.ops.windows import Pair, WindowPolicy, fit_window, to_pair


class SwinMixer(Pyramid):
    """Swin-Mixer backbone; arguments are those of `SwinMixerConfig`. Matches the official swin_mlp code.

    `forward` gives one (B, C_i, H_i, W_i) map per stage of `out_indices`.
    """

    def __init__(
        self,
        *,
        img_size: int | Pair = (256, 256),
        patch_size: int | Pair = 4,
        in_chans: int = 3,
        embed_dim: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        num_heads: tuple[int, ...] = (4, 8, 16, 32),
        window_size: int | Pair | tuple[Pair, ...] = 8,
        mlp_ratio: float = 4.0,
        patch_norm: bool = True,
        shift: bool = True,
        absolute_pos_embed: bool = False,
        window_policy: WindowPolicy = "clamp",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.2,
        out_indices: tuple[int, ...] = (0, 1, 2, 3),
    ) -> None:
        config = SwinMixerConfig(
            img_size=to_pair(img_size),
            patch_size=patch_size,
            in_chans=in_chans,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=num_heads,
            window_size=window_size,
            mlp_ratio=mlp_ratio,
            patch_norm=patch_norm,
            shift=shift,
            absolute_pos_embed=absolute_pos_embed,
            window_policy=window_policy,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            out_indices=out_indices,
        )
        super().__init__(
            patch_embed=PatchEmbed(in_chans, embed_dim, to_pair(patch_size), norm=patch_norm),
            absolute_pos_embed=stage_maps(config)[0] if absolute_pos_embed else None,
            stages=[_stage(config, stage) for stage in range(len(depths))],
            channels=[embed_dim * 2**stage for stage in range(len(depths))],
            out_indices=out_indices,
            drop_rate=drop_rate,
        )
        self.config = config


def _stage(config: SwinMixerConfig, stage: int) -> Stage:
    """Merging, then blocks of which every second one shifts its windows."""
    channels = config.embed_dim * 2**stage
    rates = drop_path_rates(config.drop_path_rate, config.depths)[stage]
    window = fit_window(
        stage_maps(config)[stage],
        stage_windows(config.window_size, len(config.depths))[stage],
        config.window_policy,
    )
    blocks = [
        SwinMixerBlock(
            channels,
            SpatialMlp(config.num_heads[stage], window),
            shifted=config.shift and index % 2 == 1,
            window_policy=config.window_policy,
            mlp_ratio=config.mlp_ratio,
            drop=config.drop_rate,
            drop_path=rates[index],
        )
        for index in range(config.depths[stage])
    ]
    return Stage(PatchMerging(channels // 2) if stage else None, blocks)
