"""timm's names since 0.9: merging opens a stage, the head is `head.fc`. Older files are official."""

from swinkit.weights.formats.base import Format, block_rules
from swinkit.weights.formats.official import INDEX, MASK
from swinkit.weights.formats.rules import Rule

TIMM = Format(
    name="timm",
    title="timm",
    part="classifier",
    policy="clamp_axis",
    marks=(r"head\.fc\.weight", r"layers\.[1-9]\d*\.downsample\.reduction\.weight"),
    lacks=(r"layers\.0\.downsample\.reduction\.weight",),
    rules=(
        Rule("patch_embed.proj.{p}", "patch_embed.proj.{p}"),
        Rule("patch_embed.norm.{p}", "patch_embed.norm.{p}"),
        Rule("layers.{i}.downsample.norm.{p}", "stages.{i}.downsample.norm.{p}"),
        Rule("layers.{i}.downsample.reduction.weight", "stages.{i}.downsample.reduction.weight"),
        *block_rules("layers.{i}.blocks.{j}"),
        Rule(
            "layers.{i}.blocks.{j}.attn.relative_position_bias_table",
            "stages.{i}.blocks.{j}.attn.relative_position_bias_table",
        ),
        Rule("norm.{p}", "norms.{last}.{p}"),
        Rule("head.fc.{p}", "head.{p}"),
    ),
    buffers=(INDEX, MASK),
)
