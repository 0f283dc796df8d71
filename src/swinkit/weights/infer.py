"""Which model a file holds, read off its key names and shapes."""

import math
import re
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from swinkit.backbones import VARIANTS
from swinkit.backbones.config import BackboneConfig, Position, SwinConfig, SwinMixerConfig, stage_windows
from swinkit.errors import InputError
from swinkit.ops.windows import Pair, fit_window, to_pair
from swinkit.segmentation.config import InferenceConfig, SegmenterConfig
from swinkit.spec import ClassifierConfig, ModelSpec, Preprocess, evaluation_crop, swin_config
from swinkit.weights.formats import FORMATS, Format, State
from swinkit.weights.naming import detect_format, rename

_POSITION: dict[tuple[bool, bool], Position] = {
    (True, True): "both",
    (True, False): "relative",
    (False, True): "absolute",
    (False, False): "none",
}
"""(a bias table, an absolute embedding) -> which position information the model has."""


def infer_spec(state: State, name: str = "", *, like: BackboneConfig | None = None) -> ModelSpec:
    """Return the specification of the model whose weights these are.

    Args:
        state: tensors (or meta tensors) by published or own key.
        name: file or catalog name; its size in pixels is believed where the tensors do not tell.
        like: a configuration to believe where several windows give tables of the same shape.

    Raises:
        InputError: the keys are of no known format, or a table's shape allows several windows.
    """
    form = FORMATS[detect_format(state)]
    ours, origin = rename(state, form)
    if "patch_embed.proj.weight" not in ours:
        raise InputError(
            f"no patch embedding among the {len(state)} keys: the file does not hold a whole model."
        )
    windows = _windows(ours, lambda key: state.get(origin[key].removesuffix("bias_table") + "index"), like)
    backbone = _backbone(ours, form, windows)
    size = _image_size(state, ours, backbone, windows, name=name, like=like)
    backbone = _simplest_window(replace(backbone, img_size=size), windows)
    if "decode_head.classify.weight" in ours:
        return _segmenter(ours, backbone, name)
    head = ours.get("head.weight")
    ratio = evaluation_crop(size)
    return ModelSpec(
        name=variant_name(backbone),
        config=ClassifierConfig(backbone=backbone, num_classes=0 if head is None else head.shape[0]),
        preprocess=Preprocess(size=size, crop_ratio=ratio),
    )


def variant_name(config: BackboneConfig) -> str:
    """Return the name of the published variant with these sizes, or ""."""
    for name, variant in VARIANTS.items():
        if type(variant) is type(config) and _sizes(variant) == _sizes(config):
            return name
    return ""


def describe(spec: ModelSpec) -> str:
    """Say in a few words which model this is."""
    config = swin_config(spec)
    window = stage_windows(config.window_size, len(config.depths))[0]
    sizes = f"embed_dim {config.embed_dim}, depths {config.depths}, window {window[0]}x{window[1]}"
    name = (
        variant_name(config)
        or f"{'Swin-Mixer' if isinstance(config, SwinMixerConfig) else 'Swin'} with {sizes}"
    )
    return f"{name}, {spec.config.num_classes} classes" if spec.config.num_classes else f"{name}, no head"


def window_of_table(table: Tensor, index: Tensor | None = None, like: Pair | None = None) -> Pair | None:
    """Return the window of a bias table ((2M-1)(2M'-1), heads), or None when its shape does not tell.

    Args:
        table: the bias table.
        index: the relative_position_index saved beside it, (N, N) or flattened.
        like: a window to believe when it fits.
    """
    rows = table.shape[0]
    if like is not None and (2 * like[0] - 1) * (2 * like[1] - 1) == rows:
        return like
    root = math.isqrt(rows)
    square = (root + 1) // 2 if root * root == rows and root % 2 else None
    if index is None:
        return (square, square) if square else None
    tokens = math.isqrt(index.numel())
    if square and square * square == tokens:
        return (square, square)
    if index.is_meta:
        return None
    first = index.flatten()[:tokens]  # token 0 against its row, one less each, then a jump to the next row
    steps = torch.nonzero(first[:-1] - first[1:] != 1).flatten()
    columns = int(steps[0]) + 1 if len(steps) else tokens
    window = (tokens // columns, columns)
    return window if (2 * window[0] - 1) * (2 * window[1] - 1) == rows else None


def positions_grid(spec: ModelSpec, tokens: int) -> Pair:
    """Return the (rows, columns) of an absolute embedding of `tokens` tokens at the model's image size."""
    patch = to_pair(swin_config(spec).patch_size)
    height, width = swin_config(spec).img_size
    grid = (height // patch[0], width // patch[1])
    side = math.isqrt(tokens)
    if grid[0] * grid[1] != tokens:
        grid = (side, side)
    if grid[0] * grid[1] != tokens:
        raise InputError(
            f"absolute_pos_embed has {tokens} tokens, which is not the map of a square picture: build the "
            "model with its img_size and load the weights into it."
        )
    return grid


def _segmenter(ours: State, backbone: BackboneConfig, name: str) -> ModelSpec:
    """The UperNet of these tensors. Published ones were tested with the shorter side at the crop's size."""
    fuse = ours["decode_head.fuse.conv.weight"]
    pools = _count(ours, r"decode_head\.pools\.(\d+)\.")
    scales = SegmenterConfig().pool_scales
    if pools != len(scales):
        raise InputError(
            f"the file has {pools} pooling scales and does not say which: published are {scales}."
        )
    auxiliary = ours.get("auxiliary_head.convs.0.conv.weight")
    widths = [backbone.embed_dim * 2**stage for stage in backbone.out_indices]
    sized = re.search(r"(\d{3})x(\d{3})", name)
    crop = (int(sized[1]), int(sized[2])) if sized else (512, 512)
    return ModelSpec(
        name=f"upernet_{variant_name(backbone)}" if variant_name(backbone) else "",
        config=SegmenterConfig(
            backbone=backbone,
            num_classes=ours["decode_head.classify.weight"].shape[0],
            channels=fuse.shape[0],
            auxiliary_channels=0 if auxiliary is None else auxiliary.shape[0],
            auxiliary_convs=max(1, _count(ours, r"auxiliary_head\.convs\.(\d+)\.")),
            auxiliary_index=2 if auxiliary is None else widths.index(auxiliary.shape[1]),
            inference=InferenceConfig(
                crop=crop,
                stride=(crop[0] * 2 // 3, crop[1] * 2 // 3),
                short_side=min(crop),
                long_side=4 * min(crop),
            ),
        ),
        preprocess=Preprocess(size=crop, crop_ratio=None),
    )


def _sizes(config: BackboneConfig) -> tuple[object, ...]:
    windows = stage_windows(config.window_size, len(config.depths))
    return (config.embed_dim, config.depths, config.num_heads, windows, config.img_size, config.mlp_ratio)


def _windows(
    ours: State, index_of: Callable[[str], Tensor | None], like: BackboneConfig | None
) -> list[Pair]:
    """Window of each stage as its tensors show it; the published code clamps it on small maps."""
    believed = stage_windows(like.window_size, len(like.depths)) if like is not None else ()
    patch = to_pair(like.patch_size) if like is not None else (1, 1)
    windows: list[Pair] = []
    for stage in range(_count(ours, r"stages\.(\d+)\.")):
        table = ours.get(f"stages.{stage}.blocks.0.attn.relative_position_bias_table")
        spatial = ours.get(f"stages.{stage}.blocks.0.spatial_mlp.weight")
        hint = None
        if like is not None and stage < len(believed):
            scale = 2**stage
            fitted = (-(-like.img_size[0] // (patch[0] * scale)), -(-like.img_size[1] // (patch[1] * scale)))
            hint = fit_window(fitted, believed[stage], like.window_policy)
        if spatial is not None:
            side = math.isqrt(spatial.shape[1])
            window = hint if hint and hint[0] * hint[1] == spatial.shape[1] else (side, side)
            window = window if window[0] * window[1] == spatial.shape[1] else None
        elif table is not None:
            window = window_of_table(
                table, index_of(f"stages.{stage}.blocks.0.attn.relative_position_bias_table"), hint
            )
        else:
            window = hint or (7, 7)
        if window is None:
            raise InputError(
                f"stage {stage} has windows that are not square and the file does not say of which shape; "
                "build the model with its window_size and load the weights into it."
            )
        windows.append(window)
    return windows


def _backbone(ours: State, form: Format, windows: list[Pair]) -> BackboneConfig:
    """Everything but the image size, and with one window per stage."""
    stem = ours["patch_embed.proj.weight"]
    channels, in_chans, rows, columns = stem.shape
    depths = tuple(_count(ours, rf"stages\.{stage}\.blocks\.(\d+)\.") for stage in range(len(windows)))
    positions = "absolute_pos_embed" in ours
    normed = tuple(sorted({int(key.split(".")[1]) for key in ours if key.startswith("norms.")}))
    trunk = SwinConfig(
        patch_size=rows if rows == columns else (rows, columns),
        in_chans=in_chans,
        embed_dim=channels,
        depths=depths,
        num_heads=tuple(_heads(ours, stage, window) for stage, window in enumerate(windows)),
        mlp_ratio=ours["stages.0.blocks.0.mlp.fc1.weight"].shape[0] / channels,
        patch_norm="patch_embed.norm.weight" in ours,
        window_size=tuple(windows),
        window_policy=form.policy,
        qkv_bias="stages.0.blocks.0.attn.qkv.bias" in ours,
        position=_POSITION["stages.0.blocks.0.attn.relative_position_bias_table" in ours, positions],
        out_indices=normed or (len(windows) - 1,),
    )
    if "stages.0.blocks.0.spatial_mlp.weight" not in ours:
        return trunk
    return SwinMixerConfig(
        patch_size=trunk.patch_size,
        in_chans=trunk.in_chans,
        embed_dim=trunk.embed_dim,
        depths=trunk.depths,
        num_heads=trunk.num_heads,
        mlp_ratio=trunk.mlp_ratio,
        patch_norm=trunk.patch_norm,
        window_size=trunk.window_size,
        window_policy=trunk.window_policy,
        absolute_pos_embed=positions,
        out_indices=trunk.out_indices,
    )


def _heads(ours: State, stage: int, window: Pair) -> int:
    """Heads of a stage: columns of the bias table, groups of the spatial MLP, or else one per 32 channels."""
    table = ours.get(f"stages.{stage}.blocks.0.attn.relative_position_bias_table")
    spatial = ours.get(f"stages.{stage}.blocks.0.spatial_mlp.weight")
    if table is not None:
        return table.shape[1]
    if spatial is not None:
        return spatial.shape[0] // (window[0] * window[1])
    return max(1, ours["patch_embed.proj.weight"].shape[0] * 2**stage // 32)


def _image_size(
    state: State,
    ours: State,
    config: BackboneConfig,
    windows: list[Pair],
    *,
    name: str,
    like: BackboneConfig | None,
) -> Pair:
    """Pixels the model was laid out for, from whatever tells: positions, masks, the name, the last window."""
    patch = to_pair(config.patch_size)
    positions = ours.get("absolute_pos_embed")
    grid: Pair | None = None
    if positions is not None and positions.ndim == 4:
        grid = (positions.shape[1], positions.shape[2])
    elif positions is not None and like is not None:
        believed = (like.img_size[0] // patch[0], like.img_size[1] // patch[1])
        grid = believed if believed[0] * believed[1] == positions.shape[1] else None
    for stage, window in enumerate(windows):
        mask = state.get(f"layers.{stage}.blocks.1.attn_mask")
        if grid is None and mask is not None:
            rows, columns = _grid_of_mask(mask, window) or (0, 0)
            grid = (rows * 2**stage, columns * 2**stage) if rows else None
    if grid is None and positions is not None and math.isqrt(positions.shape[1]) ** 2 == positions.shape[1]:
        grid = (math.isqrt(positions.shape[1]), math.isqrt(positions.shape[1]))
    if grid is not None:
        return (grid[0] * patch[0], grid[1] * patch[1])
    named = [int(size) for size in re.findall(r"(?:^|[_-])(\d{3})(?=$|[._-])", name)]
    if named and named[-1] % patch[0] == 0:
        return (named[-1], named[-1])
    scale = 2 ** (len(windows) - 1)
    return (windows[-1][0] * scale * patch[0], windows[-1][1] * scale * patch[1])


def _grid_of_mask(mask: Tensor, window: Pair) -> Pair | None:
    """Return (rows, columns) in tokens of the map a (windows, N, N) attention mask was made for."""
    count = mask.shape[0]
    columns = math.isqrt(count)
    if not mask.is_meta:  # the first masked window is the last one of the first row
        masked = torch.nonzero(mask.flatten(1).any(1)).flatten()
        columns = int(masked[0]) + 1 if len(masked) else columns
    if columns == 0 or count % columns:
        return None
    return (count // columns * window[0], columns * window[1])


def _simplest_window(config: BackboneConfig, windows: list[Pair]) -> BackboneConfig:
    """Write the windows as one number or pair when the policy gives back every stage's own from it."""
    base = max(windows, key=lambda window: window[0] * window[1])
    patch = to_pair(config.patch_size)
    rows, columns = -(-config.img_size[0] // patch[0]), -(-config.img_size[1] // patch[1])
    for window in windows:
        if fit_window((rows, columns), base, config.window_policy) != window:
            return config
        rows, columns = -(-rows // 2), -(-columns // 2)
    return replace(config, window_size=base[0] if base[0] == base[1] else base)


def _count(ours: State, pattern: str) -> int:
    numbers = {int(found[1]) for key in ours if (found := re.match(pattern, key))}
    return max(numbers) + 1 if numbers else 0
