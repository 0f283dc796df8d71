"""Parameters and FLOPs of a backbone by formula (equations 1 and 2).

A FLOP is one multiply-add, as the paper counts.

Counted: convolutions, linear layers and the two products of attention. Norms, softmax and GELU are not.
"""

import math

from swinkit.backbones.config import BackboneConfig, SwinConfig, stage_windows
from swinkit.backbones.pyramid import map_sizes
from swinkit.ops.windows import Pair, fit_shift, fit_window, padded_size, to_pair


def count_flops(
    config: BackboneConfig, *, img_size: int | Pair | None = None, num_classes: int = 1000
) -> int:
    """Multiply-adds of one forward pass of a classifier over one picture of `img_size` (height, width)."""
    size = config.img_size if img_size is None else to_pair(img_size)
    patch = to_pair(config.patch_size)
    maps = map_sizes(size, patch, len(config.depths))
    built_for = map_sizes(config.img_size, patch, len(config.depths))
    windows = stage_windows(config.window_size, len(config.depths))
    total = maps[0][0] * maps[0][1] * config.embed_dim * config.in_chans * patch[0] * patch[1]
    for stage, depth in enumerate(config.depths):
        channels = config.embed_dim * 2**stage
        tokens = maps[stage][0] * maps[stage][1]
        if stage:
            total += tokens * 2 * channels * channels  # 4 (C / 2) -> C on a quarter of the tokens
        window = fit_window(built_for[stage], windows[stage], config.window_policy)
        for index in range(depth):
            total += 2 * tokens * channels * int(channels * config.mlp_ratio)
            shifted = config.shift and index % 2 == 1
            shift = fit_shift(maps[stage], window, config.window_policy, shifted=shifted)
            total += _mixing(config, maps[stage], window, shift, channels)
    return total + num_classes * channels_out(config)


def count_parameters(config: BackboneConfig, *, num_classes: int = 1000) -> int:
    """Learned numbers of a classifier on this backbone: trunk, last norm and head (0 classes: no head)."""
    patch = to_pair(config.patch_size)
    maps = map_sizes(config.img_size, patch, len(config.depths))
    windows = stage_windows(config.window_size, len(config.depths))
    total = config.embed_dim * (config.in_chans * patch[0] * patch[1] + 1)
    total += 2 * config.embed_dim * config.patch_norm
    absolute = (
        config.position in ("absolute", "both")
        if isinstance(config, SwinConfig)
        else config.absolute_pos_embed
    )
    total += maps[0][0] * maps[0][1] * config.embed_dim * absolute
    for stage, (depth, heads) in enumerate(zip(config.depths, config.num_heads, strict=True)):
        channels = config.embed_dim * 2**stage
        hidden = int(channels * config.mlp_ratio)
        window = fit_window(maps[stage], windows[stage], config.window_policy)
        tokens = window[0] * window[1]
        if isinstance(config, SwinConfig):
            mixing = 4 * channels * channels + channels + 3 * channels * config.qkv_bias
            if config.position not in ("none", "absolute"):
                mixing += (2 * window[0] - 1) * (2 * window[1] - 1) * heads
        else:
            mixing = heads * tokens * (tokens + 1)
        total += depth * (4 * channels + mixing + 2 * channels * hidden + hidden + channels)
        # Merging: norm of 2 C, linear 2 C -> C.
        total += (2 * channels * channels + 4 * channels) if stage else 0
    channels = channels_out(config)
    return total + 2 * channels + num_classes * (channels + 1)


def channels_out(config: BackboneConfig) -> int:
    """Channels of the last stage."""
    return config.embed_dim * 2 ** (len(config.depths) - 1)


def global_attention_flops(size: Pair, channels: int) -> int:
    """Equation (1): multi-head self-attention over all h * w tokens of a map."""
    tokens = math.prod(size)
    return 4 * tokens * channels**2 + 2 * tokens**2 * channels


def window_attention_flops(size: Pair, channels: int, window: Pair) -> int:
    """Equation (2): the same inside windows of `window` (rows, columns) tokens; `size` is not padded here."""
    tokens = math.prod(size)
    return 4 * tokens * channels**2 + 2 * math.prod(window) * tokens * channels


def _mixing(config: BackboneConfig, size: Pair, window: Pair, shift: Pair, channels: int) -> int:
    """Token mixing of one block. Projections run on the map's own tokens, attention on the padded map's."""
    in_window = math.prod(window)
    if isinstance(config, SwinConfig):
        padded = math.prod(padded_size(size, window))
        products = 1 if config.position == "relative_without_appearance" else 2
        return 4 * math.prod(size) * channels**2 + products * in_window * padded * channels
    top, left = ((side - offset) if offset else 0 for side, offset in zip(window, shift, strict=True))
    padded = math.prod(padded_size((size[0] + top, size[1] + left), window))
    return padded * in_window * channels
