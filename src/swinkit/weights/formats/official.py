"""The official repositories' names: classification (attention and MLP) and the dense backbone."""

from functools import partial

import torch
from torch import Tensor

from swinkit.backbones.config import SwinConfig, stage_windows
from swinkit.errors import InputError
from swinkit.ops.windows import fit_shift, fit_window, region_mask, relative_position_index, to_pair
from swinkit.spec import ModelSpec, swin_config
from swinkit.weights.formats.base import Format, State, block_rules, index_of_every_block
from swinkit.weights.formats.rules import Rule

_BLOCK = "layers.{i}.blocks.{j}"
_OUR_BLOCK = "stages.{i}.blocks.{j}"

_STEM = (
    Rule("patch_embed.proj.{p}", "patch_embed.proj.{p}"),
    Rule("patch_embed.norm.{p}", "patch_embed.norm.{p}"),
    Rule("absolute_pos_embed", "absolute_pos_embed"),
)
_MERGING = (  # merging closes a stage there and opens the next one here
    Rule("layers.{i-1}.downsample.norm.{p}", "stages.{i}.downsample.norm.{p}"),
    Rule("layers.{i-1}.downsample.reduction.weight", "stages.{i}.downsample.reduction.weight"),
)
_ATTENTION = (
    *block_rules(_BLOCK),
    Rule(f"{_BLOCK}.attn.relative_position_bias_table", f"{_OUR_BLOCK}.attn.relative_position_bias_table"),
)
_MIXER = block_rules(_BLOCK, ("norm1.{p}", "spatial_mlp.{p}", "norm2.{p}", "mlp.fc1.{p}", "mlp.fc2.{p}"))
_HEAD = (Rule("norm.{p}", "norms.{last}.{p}"), Rule("head.{p}", "head.{p}"))

INDEX = r".*\.relative_position_index"
"""Key of the table-row index that the published code saves with every attention."""
MASK = r"layers\.\d+\.blocks\.\d+\.attn_mask"


def _buffers(spec: ModelSpec) -> State:
    """relative_position_index of every block, attn_mask of every shifted one, as the official code saves."""
    config = swin_config(spec)
    if not isinstance(config, SwinConfig):
        return {}
    patch = to_pair(config.patch_size)
    rows, columns = config.img_size[0] // patch[0], config.img_size[1] // patch[1]
    state: State = {}
    for stage, wanted in enumerate(stage_windows(config.window_size, len(config.depths))):
        window = fit_window((rows, columns), wanted, "clamp")
        if rows % window[0] or columns % window[1]:
            raise InputError(
                f"the official classification code cannot hold this model: its stage {stage} has a "
                f"{rows}x{columns} map, which windows of {window[0]}x{window[1]} do not divide; choose "
                "another img_size or format."
            )
        shift = fit_shift((rows, columns), wanted, "clamp", shifted=config.shift)
        for block in range(config.depths[stage]):
            prefix = f"layers.{stage}.blocks.{block}"
            state[f"{prefix}.attn.relative_position_index"] = relative_position_index(window)
            if block % 2 and any(shift):
                state[f"{prefix}.attn_mask"] = _mask(region_mask((rows, columns), window, shift))
        rows, columns = -(-rows // 2), -(-columns // 2)
    return state


def _mask(allowed: Tensor) -> Tensor:
    return torch.zeros(allowed.shape).masked_fill_(~allowed, -100.0)


def _flatten_positions(state: State) -> State:
    """(1, rows, columns, C) to the official (1, rows * columns, C)."""
    return {
        key: value.flatten(1, 2) if key == "absolute_pos_embed" else value for key, value in state.items()
    }


def _positions_from_map(state: State) -> State:
    """The dense code's (1, C, rows, columns) to (1, rows, columns, C)."""
    return {
        key: value.permute(0, 2, 3, 1) if key == "absolute_pos_embed" and value.ndim == 4 else value
        for key, value in state.items()
    }


def _positions_to_map(state: State) -> State:
    return {
        key: value.permute(0, 3, 1, 2).contiguous() if key == "absolute_pos_embed" else value
        for key, value in state.items()
    }


OFFICIAL = Format(
    name="official",
    title="official classification repository",
    part="classifier",
    policy="clamp",
    marks=(r"layers\.\d+\.blocks\.\d+\.attn\.qkv\.weight",),
    rules=(*_STEM, *_MERGING, *_ATTENTION, *_HEAD),
    buffers=(INDEX, MASK),
    outgoing=_flatten_positions,
    make_buffers=_buffers,
)

OFFICIAL_MLP = Format(
    name="official_mlp",
    title="official classification repository, Swin-MLP",
    part="classifier",
    policy="clamp",
    marks=(r"layers\.\d+\.blocks\.\d+\.spatial_mlp\.weight",),
    rules=(*_STEM, *_MERGING, *_MIXER, *_HEAD),
    outgoing=_flatten_positions,
)

OFFICIAL_DENSE = Format(
    name="official_dense",
    title="backbone of the official detection and segmentation repositories",
    part="backbone",
    policy="pad",
    marks=(r"norm\d+\.(weight|bias)",),
    rules=(*_STEM, *_MERGING, *_ATTENTION, Rule("norm{i}.{p}", "norms.{i}.{p}")),
    buffers=(INDEX,),
    prefix="backbone.",
    incoming=_positions_from_map,
    outgoing=_positions_to_map,
    file_buffers=partial(index_of_every_block, attention=f"{_BLOCK}.attn"),
)
