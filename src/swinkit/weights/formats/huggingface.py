"""Hugging Face's names: the layout of its published files, and the one its library saves since version 5."""

import re

import torch

from swinkit.weights.formats.base import Format, State
from swinkit.weights.formats.official import INDEX
from swinkit.weights.formats.rules import Rule

_BLOCK = "encoder.layers.{i}.blocks.{j}"
_OUR_BLOCK = "stages.{i}.blocks.{j}"
_PARTS = ("query", "key", "value")
_PUBLISHED = {
    "layernorm_before.{p}": "norm1.{p}",
    "attention.self.query.{p}": "attn.query.{p}",
    "attention.self.key.{p}": "attn.key.{p}",
    "attention.self.value.{p}": "attn.value.{p}",
    "attention.self.relative_position_bias_table": "attn.relative_position_bias_table",
    "attention.output.dense.{p}": "attn.proj.{p}",
    "layernorm_after.{p}": "norm2.{p}",
    "intermediate.dense.{p}": "mlp.fc1.{p}",
    "output.dense.{p}": "mlp.fc2.{p}",
}
_SINCE_5 = {
    "attention.q_proj.{p}": "attn.query.{p}",
    "attention.k_proj.{p}": "attn.key.{p}",
    "attention.v_proj.{p}": "attn.value.{p}",
    "attention.relative_position_bias.relative_position_bias_table": "attn.relative_position_bias_table",
    "attention.o_proj.{p}": "attn.proj.{p}",
    "mlp.fc1.{p}": "mlp.fc1.{p}",
    "mlp.fc2.{p}": "mlp.fc2.{p}",
}
"""Their leaf -> ours; our qkv is still in three here."""


def _join_qkv(state: State) -> State:
    """Put query, key and value together into one qkv projection."""
    joined: State = {}
    for key, value in state.items():
        found = re.fullmatch(r"(.*\.attn\.)(query|key|value)\.(weight|bias)", key)
        if found is None:
            joined[key] = value
            continue
        prefix, part, kind = found.groups()
        parts = [state.get(f"{prefix}{name}.{kind}") for name in _PARTS]
        present = [tensor for tensor in parts if tensor is not None]
        if len(present) < len(parts):  # left apart, so that the strict check names what is missing
            joined[key] = value
        elif part == "query":
            joined[f"{prefix}qkv.{kind}"] = torch.cat(present)
    return joined


def _split_qkv(state: State) -> State:
    split: State = {}
    for key, value in state.items():
        found = re.fullmatch(r"(.*\.attn\.)qkv\.(weight|bias)", key)
        if found is None:
            split[key] = value.flatten(1, 2) if key == "absolute_pos_embed" else value
            continue
        for name, part in zip(_PARTS, value.chunk(3), strict=True):
            split[f"{found[1]}{name}.{found[2]}"] = part.clone()
    return split


HUGGINGFACE = Format(
    name="huggingface",
    title="Hugging Face transformers",
    part="classifier",
    policy="clamp",
    marks=(
        r"encoder\.layers\.\d+\.blocks\.\d+\.attention\.self\.query\.weight",
        r"encoder\.layers\.\d+\.blocks\.\d+\.attention\.q_proj\.weight",
    ),
    rules=(
        Rule("embeddings.patch_embeddings.projection.{p}", "patch_embed.proj.{p}"),
        Rule("embeddings.norm.{p}", "patch_embed.norm.{p}"),
        Rule("embeddings.position_embeddings", "absolute_pos_embed"),
        *(
            Rule(f"{_BLOCK}.{theirs}", f"{_OUR_BLOCK}.{ours}")
            for theirs, ours in (_PUBLISHED | _SINCE_5).items()
        ),
        Rule("encoder.layers.{i-1}.downsample.norm.{p}", "stages.{i}.downsample.norm.{p}"),
        Rule("encoder.layers.{i-1}.downsample.reduction.weight", "stages.{i}.downsample.reduction.weight"),
        Rule("layernorm.{p}", "norms.{last}.{p}"),
        Rule("classifier.{p}", "head.{p}"),
    ),
    buffers=(INDEX,),
    prefix="swin.",
    writes_prefix=True,
    incoming=_join_qkv,
    outgoing=_split_qkv,
)
