"""torchvision's names: one flat list of features in which stages and mergings alternate."""

from swinkit.backbones.config import SwinConfig, stage_windows
from swinkit.ops.windows import relative_position_index
from swinkit.spec import ModelSpec, swin_config
from swinkit.weights.formats.base import Format, State
from swinkit.weights.formats.official import INDEX
from swinkit.weights.formats.rules import Rule

_BLOCK = "features.{2i+1}.{j}"
_OUR_BLOCK = "stages.{i}.blocks.{j}"
_LEAVES = {
    "norm1.{p}": "norm1.{p}",
    "attn.qkv.{p}": "attn.qkv.{p}",
    "attn.proj.{p}": "attn.proj.{p}",
    "attn.relative_position_bias_table": "attn.relative_position_bias_table",
    "norm2.{p}": "norm2.{p}",
    "mlp.0.{p}": "mlp.fc1.{p}",
    "mlp.3.{p}": "mlp.fc2.{p}",
}
"""Their leaf -> ours."""


def _buffers(spec: ModelSpec) -> State:
    """The flattened relative_position_index of every block."""
    config = swin_config(spec)
    assert isinstance(config, SwinConfig)
    windows = stage_windows(config.window_size, len(config.depths))
    return {
        f"features.{2 * stage + 1}.{block}.attn.relative_position_index": relative_position_index(
            window
        ).flatten()
        for stage, window in enumerate(windows)
        for block in range(config.depths[stage])
    }


TORCHVISION = Format(
    name="torchvision",
    title="torchvision",
    part="classifier",
    policy="pad_axis",
    marks=(r"features\.\d+\.\d+\.attn\.qkv\.weight",),
    rules=(
        Rule("features.0.0.{p}", "patch_embed.proj.{p}"),
        Rule("features.0.2.{p}", "patch_embed.norm.{p}"),
        *(Rule(f"{_BLOCK}.{theirs}", f"{_OUR_BLOCK}.{ours}") for theirs, ours in _LEAVES.items()),
        Rule("features.{2i}.norm.{p}", "stages.{i}.downsample.norm.{p}"),
        Rule("features.{2i}.reduction.weight", "stages.{i}.downsample.reduction.weight"),
        Rule("norm.{p}", "norms.{last}.{p}"),
        Rule("head.{p}", "head.{p}"),
    ),
    buffers=(INDEX,),
    make_buffers=_buffers,
)
