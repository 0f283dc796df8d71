"""Swin-Mixer: the hierarchy and the shifted windows with an MLP for attention (Table 10)."""

from swinkit.backbones.config import SwinMixerConfig, stage_windows
from swinkit.backbones.pyramid import Pyramid, Stage, drop_path_rates, map_sizes
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
        patch = to_pair(patch_size)
        sizes = map_sizes(to_pair(img_size), patch, len(depths))
        windows = stage_windows(window_size, len(depths))
        rates = drop_path_rates(drop_path_rate, depths)
        channels = [embed_dim * 2**index for index in range(len(depths))]

        def block(stage: int, index: int) -> SwinMixerBlock:
            window = fit_window(sizes[stage], windows[stage], window_policy)
            return SwinMixerBlock(
                channels[stage],
                SpatialMlp(num_heads[stage], window),
                shifted=shift and index % 2 == 1,
                window_policy=window_policy,
                mlp_ratio=mlp_ratio,
                drop=drop_rate,
                drop_path=rates[stage][index],
            )

        super().__init__(
            patch_embed=PatchEmbed(in_chans, embed_dim, patch, norm=patch_norm),
            absolute_pos_embed=sizes[0] if absolute_pos_embed else None,
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
