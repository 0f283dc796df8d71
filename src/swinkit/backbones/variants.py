"""The paper's variants by name.

They are from section 3.3 and Tables 7 and 10; S3 is from the search of AutoFormerV2, as timm names it.

Names are timm's where timm has them, otherwise the official repository's file names. Stochastic depth is
that of ImageNet-1K training (A2.1).
"""

from swinkit.backbones.config import BackboneConfig, SwinConfig, SwinMixerConfig

_T = SwinConfig(drop_path_rate=0.2)
_S = SwinConfig(depths=(2, 2, 18, 2), drop_path_rate=0.3)
_B = SwinConfig(embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), drop_path_rate=0.5)
_B384 = SwinConfig(
    img_size=(384, 384),
    window_size=12,
    embed_dim=128,
    depths=(2, 2, 18, 2),
    num_heads=(4, 8, 16, 32),
    drop_path_rate=0.5,
)
_L = SwinConfig(embed_dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48), drop_path_rate=0.2)
_L384 = SwinConfig(
    img_size=(384, 384),
    window_size=12,
    embed_dim=192,
    depths=(2, 2, 18, 2),
    num_heads=(6, 12, 24, 48),
    drop_path_rate=0.2,
)
_S3_WINDOWS = ((7, 7), (7, 7), (14, 14), (7, 7))

VARIANTS: dict[str, BackboneConfig] = {
    "swin_tiny_patch4_window7_224": _T,
    "swin_small_patch4_window7_224": _S,
    "swin_base_patch4_window7_224": _B,
    "swin_base_patch4_window12_384": _B384,
    "swin_large_patch4_window7_224": _L,
    "swin_large_patch4_window12_384": _L384,
    "swin_tiny_c24_patch4_window8_256": SwinConfig(
        img_size=(256, 256), window_size=8, num_heads=(4, 8, 16, 32), drop_path_rate=0.2
    ),
    "swin_s3_tiny_224": SwinConfig(window_size=_S3_WINDOWS, window_policy="clamp_axis", drop_path_rate=0.2),
    "swin_s3_small_224": SwinConfig(
        depths=(2, 2, 18, 2),
        window_size=((14, 14), (14, 14), (14, 14), (7, 7)),
        window_policy="clamp_axis",
        drop_path_rate=0.3,
    ),
    "swin_s3_base_224": SwinConfig(
        depths=(2, 2, 30, 2), window_size=_S3_WINDOWS, window_policy="clamp_axis", drop_path_rate=0.5
    ),
    "swin_mlp_tiny_c24_patch4_window8_256": SwinMixerConfig(),
    "swin_mlp_tiny_c12_patch4_window8_256": SwinMixerConfig(num_heads=(8, 16, 32, 64)),
    "swin_mlp_tiny_c6_patch4_window8_256": SwinMixerConfig(num_heads=(16, 32, 64, 128)),
    "swin_mlp_base_patch4_window7_224": SwinMixerConfig(
        img_size=(224, 224), window_size=7, embed_dim=128, depths=(2, 2, 18, 2), drop_path_rate=0.5
    ),
}
