"""Typed descriptions of a backbone: what a checkpoint stores and what `create_backbone` builds from.

Modules take plain arguments; these dataclasses live at the edge (files, command line), checked here once.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from swinkit.errors import InputError
from swinkit.ops.windows import Pair, WindowPolicy, to_pair

Position = Literal["relative", "absolute", "both", "none", "relative_without_appearance"]
"""Table 4's rows. "relative_without_appearance": attention is the softmax of the bias alone."""


@dataclass(frozen=True, kw_only=True)
class SwinConfig:
    """A Swin Transformer backbone (section 3). Defaults are Swin-T at 224 pixels.

    Attributes:
        img_size: (height, width) in pixels the windows and the absolute embedding are laid out for. Any other
            size runs too.
        patch_size: pixels a patch, an int or (height, width).
        in_chans: channels of the input picture.
        embed_dim: channels C of stage 1; stage i has C * 2**i.
        depths: blocks of each stage.
        num_heads: attention heads of each stage; must divide the stage's channels.
        window_size: tokens a window: an int, (height, width), or one (height, width) per stage.
        mlp_ratio: hidden over input channels of the MLP.
        qkv_bias: whether the qkv projection has a bias.
        patch_norm: LayerNorm after the patch embedding.
        shift: shift the windows in every second block (off: Table 4, first row).
        position: which position information attention gets (Table 4).
        window_policy: what happens on maps not larger than a window, see `swinkit.ops.windows.WindowPolicy`.
        drop_rate: dropout on tokens, on projections and in the MLP.
        attn_drop_rate: dropout on attention weights.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0.
        out_indices: stages (0-based) whose normed maps come out.
    """

    img_size: Pair = (224, 224)
    patch_size: int | Pair = 4
    in_chans: int = 3
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int | Pair | tuple[Pair, ...] = 7
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    patch_norm: bool = True
    shift: bool = True
    position: Position = "relative"
    window_policy: WindowPolicy = "clamp"
    drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    drop_path_rate: float = 0.1
    out_indices: tuple[int, ...] = (0, 1, 2, 3)

    def __post_init__(self) -> None:
        check_stages(self.embed_dim, self.depths, self.num_heads, self.out_indices)
        check_sizes(self.img_size, self.patch_size, self.in_chans, self.mlp_ratio)
        check_rates(
            drop_rate=self.drop_rate, attn_drop_rate=self.attn_drop_rate, drop_path_rate=self.drop_path_rate
        )
        if self.position not in get_args(Position):
            raise InputError(
                f"position must be one of {', '.join(get_args(Position))}; got {self.position!r}."
            )
        if self.window_policy not in get_args(WindowPolicy):
            names = ", ".join(get_args(WindowPolicy))
            raise InputError(f"window_policy must be one of {names}; got {self.window_policy!r}.")
        stage_windows(self.window_size, len(self.depths))


@dataclass(frozen=True, kw_only=True)
class SwinMixerConfig:
    """A Swin-Mixer backbone (Table 10): attention replaced by an MLP over the tokens of a window.

    Fields mean what they mean in `SwinConfig`. Defaults are Swin-Mixer-T/D24 at 256 pixels.
    """

    img_size: Pair = (256, 256)
    patch_size: int | Pair = 4
    in_chans: int = 3
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (4, 8, 16, 32)
    window_size: int | Pair | tuple[Pair, ...] = 8
    mlp_ratio: float = 4.0
    patch_norm: bool = True
    shift: bool = True
    absolute_pos_embed: bool = False
    window_policy: WindowPolicy = "clamp"
    drop_rate: float = 0.0
    drop_path_rate: float = 0.2
    out_indices: tuple[int, ...] = (0, 1, 2, 3)

    def __post_init__(self) -> None:
        check_stages(self.embed_dim, self.depths, self.num_heads, self.out_indices)
        check_sizes(self.img_size, self.patch_size, self.in_chans, self.mlp_ratio)
        check_rates(drop_rate=self.drop_rate, drop_path_rate=self.drop_path_rate)
        if self.window_policy not in get_args(WindowPolicy):
            names = ", ".join(get_args(WindowPolicy))
            raise InputError(f"window_policy must be one of {names}; got {self.window_policy!r}.")
        stage_windows(self.window_size, len(self.depths))


BackboneConfig = SwinConfig | SwinMixerConfig


@dataclass(frozen=True, kw_only=True)
class TimmConfig:
    """Any timm model that gives a feature pyramid: the paper's ResNet and ResNeXt comparisons.

    Attributes:
        name: timm's name, such as "resnet101".
        out_indices: which of the model's feature maps come out, as timm numbers them; the usual four strides
            4, 8, 16, 32 are 1 to 4 of a ResNet.
        in_chans: channels of the input picture.
    """

    name: str = "resnet50"
    out_indices: tuple[int, ...] = (1, 2, 3, 4)
    in_chans: int = 3


@dataclass(frozen=True, kw_only=True)
class DeitPyramidConfig:
    """A plain vision transformer with a pyramid made by deconvolution (section 4.2, Table 3).

    Attributes:
        name: timm's name of the transformer.
        img_size: (height, width) in pixels its position embedding is laid out for.
        drop_path_rate: stochastic depth of the last block.
    """

    name: str = "deit_small_patch16_224"
    img_size: Pair = (224, 224)
    drop_path_rate: float = 0.1


TrunkConfig = SwinConfig | SwinMixerConfig | TimmConfig | DeitPyramidConfig
"""Whatever a dense task can stand on."""


def check_stages(
    embed_dim: int, depths: tuple[int, ...], num_heads: tuple[int, ...], out_indices: tuple[int, ...]
) -> None:
    """Raise InputError unless the per-stage numbers fit together."""
    if embed_dim < 1 or any(depth < 1 for depth in depths):
        raise InputError(f"embed_dim and depths must be positive; got {embed_dim} and {depths}.")
    if len(depths) != len(num_heads) or not depths:
        raise InputError(
            f"depths and num_heads need one number a stage each; got {len(depths)} depths {depths} "
            f"and {len(num_heads)} heads {num_heads}."
        )
    for stage, heads in enumerate(num_heads):
        channels = embed_dim * 2**stage
        if heads < 1 or channels % heads:
            raise InputError(f"stage {stage} has {channels} channels, which {heads} heads do not divide.")
    if not out_indices or any(not 0 <= index < len(depths) for index in out_indices):
        raise InputError(f"out_indices must be stages from 0 to {len(depths) - 1}; got {out_indices}.")


def check_sizes(img_size: Pair, patch_size: int | Pair, in_chans: int, mlp_ratio: float) -> None:
    """Raise InputError unless every size is positive."""
    for name, value in (("img_size", to_pair(img_size)), ("patch_size", to_pair(patch_size))):
        if min(value) < 1:
            raise InputError(f"{name} must be at least 1 pixel a side; got {value}.")
    if in_chans < 1 or mlp_ratio <= 0:
        raise InputError(f"in_chans and mlp_ratio must be positive; got {in_chans} and {mlp_ratio}.")


def check_rates(**rates: float) -> None:
    """Raise InputError unless every rate is a probability below 1."""
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise InputError(f"{name} must be at least 0 and less than 1; got {rate}.")


def stage_windows(window_size: int | Pair | tuple[Pair, ...], stages: int) -> tuple[Pair, ...]:
    """Return one (height, width) window per stage, from an int, one pair or one pair per stage."""
    if isinstance(window_size, tuple) and window_size and isinstance(window_size[0], tuple):
        windows = tuple(to_pair(window) for window in window_size)
        if len(windows) != stages:
            raise InputError(f"window_size has {len(windows)} entries for {stages} stages: give one a stage.")
    else:
        windows = (to_pair(window_size),) * stages  # type: ignore[arg-type]
    if any(side < 1 for window in windows for side in window):
        raise InputError(f"a window needs at least one token a side; got {window_size}.")
    return windows
