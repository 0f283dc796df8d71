"""What a published checkpoint format is: a table of names, and the few tensors that need more than a name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from swinkit.backbones.config import SwinConfig, stage_windows
from swinkit.ops.windows import WindowPolicy, relative_position_index
from swinkit.spec import ModelSpec
from swinkit.weights.formats.rules import Rule

State = dict[str, Tensor]

HEADS = (
    "head.",
    "decode_head.",
    "auxiliary_head.",
    "neck.",
    "rpn.",
    "roi.",
    "dense.",
    "proposals.",
    "semantic.",
    "global_attention.",
)
"""How our keys outside the trunk start; all others have `backbone.` before them in a whole model."""

BLOCK_LEAVES = ("norm1.{p}", "attn.qkv.{p}", "attn.proj.{p}", "norm2.{p}", "mlp.fc1.{p}", "mlp.fc2.{p}")
"""Parameters of an attention block that most formats name as we do, beside the bias table."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One published way to name the weights of a Swin Transformer.

    Attributes:
        name: what `swinkit info` and `swinkit convert --format` call it.
        title: the same for a person.
        part: "classifier" (trunk, final norm, head), "backbone" (trunk and a norm per output),
            "segmenter" (a backbone and UperNet's heads) or "detector" (a backbone, neck and heads).
        policy: what its code does on maps not larger than a window.
        marks: a key matching one of these regular expressions gives the format away,
        lacks: unless a key matches one of these.
        rules: names. Our side has no `backbone.` prefix.
        buffers: regular expressions of keys that are computed from the configuration, not learnt.
        prefix: optional prefix of all trunk keys in a file.
        writes_prefix: whether a file we write has it too.
        incoming: changes values after the names (for example, glues q, k, v together).
        outgoing: the inverse of `incoming`, before the names.
        make_buffers: the buffers the published code saves, by their name, for a model of this specification.
        file_buffers: likewise, where only a whole file gets them (`to_file`), not every state dict.
    """

    name: str
    title: str
    part: Literal["classifier", "backbone", "segmenter", "detector"]
    policy: WindowPolicy
    marks: tuple[str, ...]
    rules: tuple[Rule, ...]
    buffers: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    prefix: str = ""
    writes_prefix: bool = False
    incoming: Callable[[State], State] | None = None
    outgoing: Callable[[State], State] | None = None
    make_buffers: Callable[[ModelSpec], State] | None = None
    file_buffers: Callable[[ModelSpec], State] | None = None


def index_of_every_block(spec: ModelSpec, attention: str) -> State:
    """relative_position_index of every block, as code that never clamps a window saves it.

    Args:
        spec: the model.
        attention: their name of a block's attention, with `{i}` for the stage and `{j}` for the block.
    """
    config = spec.config.backbone
    if not isinstance(config, SwinConfig) or config.position not in ("relative", "both"):
        return {}
    return {
        attention.format(i=stage, j=block) + ".relative_position_index": relative_position_index(window)
        for stage, window in enumerate(stage_windows(config.window_size, len(config.depths)))
        for block in range(config.depths[stage])
    }


def block_rules(theirs: str, leaves: tuple[str, ...] = BLOCK_LEAVES) -> tuple[Rule, ...]:
    """Rules of leaves that keep their name inside a block whose prefix is `theirs`."""
    return tuple(Rule(f"{theirs}.{leaf}", f"stages.{{i}}.blocks.{{j}}.{leaf}") for leaf in leaves)
