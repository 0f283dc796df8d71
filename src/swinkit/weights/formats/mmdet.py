"""Backbone names of mmdetection 3.x and mmsegmentation 1.x, and their channel order of patch merging."""

import re
from functools import partial

from torch import Tensor

from swinkit.weights.formats.base import Format, State, index_of_every_block
from swinkit.weights.formats.official import INDEX
from swinkit.weights.formats.rules import Rule

_BLOCK = "stages.{i}.blocks.{j}"
_LEAVES = {
    "norm1.{p}": "norm1.{p}",
    "attn.w_msa.qkv.{p}": "attn.qkv.{p}",
    "attn.w_msa.proj.{p}": "attn.proj.{p}",
    "attn.w_msa.relative_position_bias_table": "attn.relative_position_bias_table",
    "norm2.{p}": "norm2.{p}",
    "ffn.layers.0.0.{p}": "mlp.fc1.{p}",
    "ffn.layers.1.{p}": "mlp.fc2.{p}",
}
_MERGING = re.compile(r"stages\.\d+\.downsample\.(norm\.(weight|bias)|reduction\.weight)")
_OUR_NEIGHBOUR = (0, 2, 1, 3)
"""Unfolding visits (row, column) offsets (0,0), (0,1), (1,0), (1,1), all four of a channel together; we go
(0,0), (1,0), (0,1), (1,1), all channels of a neighbour together."""


def _from_unfold(value: Tensor) -> Tensor:
    """Reorder the last axis, 4 C long, from channel-major to neighbour-major."""
    by_channel = value.unflatten(-1, (-1, 4))[..., list(_OUR_NEIGHBOUR)]
    return by_channel.transpose(-1, -2).flatten(-2)


def _to_unfold(value: Tensor) -> Tensor:
    by_neighbour = value.unflatten(-1, (4, -1))[..., list(_OUR_NEIGHBOUR), :]
    return by_neighbour.transpose(-1, -2).flatten(-2)


def _incoming(state: State) -> State:
    return {key: _from_unfold(value) if _MERGING.fullmatch(key) else value for key, value in state.items()}


def _outgoing(state: State) -> State:
    ready = {key: _to_unfold(value) if _MERGING.fullmatch(key) else value for key, value in state.items()}
    return {
        key: value.flatten(1, 2) if key == "absolute_pos_embed" else value for key, value in ready.items()
    }


MMDET3 = Format(
    name="mmdet3",
    title="backbone of mmdetection 3.x and mmsegmentation 1.x",
    part="backbone",
    policy="pad",
    marks=(r"stages\.\d+\.blocks\.\d+\.attn\.w_msa\.qkv\.weight",),
    rules=(
        Rule("patch_embed.projection.{p}", "patch_embed.proj.{p}"),
        Rule("patch_embed.norm.{p}", "patch_embed.norm.{p}"),
        Rule("absolute_pos_embed", "absolute_pos_embed"),
        *(Rule(f"{_BLOCK}.{theirs}", f"{_BLOCK}.{ours}") for theirs, ours in _LEAVES.items()),
        Rule("stages.{i-1}.downsample.norm.{p}", "stages.{i}.downsample.norm.{p}"),
        Rule("stages.{i-1}.downsample.reduction.weight", "stages.{i}.downsample.reduction.weight"),
        Rule("norm{i}.{p}", "norms.{i}.{p}"),
    ),
    buffers=(INDEX,),
    prefix="backbone.",
    incoming=_incoming,
    outgoing=_outgoing,
    file_buffers=partial(index_of_every_block, attention=f"{_BLOCK}.attn.w_msa"),
)
