"""Our own names: a classifier's trunk under `backbone.`, a backbone alone without."""

from swinkit.weights.formats.base import BLOCK_LEAVES, Format, block_rules
from swinkit.weights.formats.detection import OUR_DETECTORS
from swinkit.weights.formats.detection_dense import OUR_DENSE
from swinkit.weights.formats.detection_htc import OUR_HTC
from swinkit.weights.formats.detection_query import OUR_SPARSE
from swinkit.weights.formats.rules import Rule
from swinkit.weights.formats.segmentation import OUR_HEADS

_LEAVES = (*BLOCK_LEAVES, "attn.relative_position_bias_table", "spatial_mlp.{p}")
_SAME = (
    "patch_embed.proj.{p}",
    "patch_embed.norm.{p}",
    "absolute_pos_embed",
    "stages.{i}.downsample.norm.{p}",
    "stages.{i}.downsample.reduction.weight",
    "norms.{i}.{p}",
    "head.{p}",
)

SWINKIT = Format(
    name="swinkit",
    title="swinkit",
    part="classifier",
    policy="clamp",
    marks=(
        r"stages\.\d+\.blocks\.\d+\.attn\.qkv\.weight",
        r"stages\.\d+\.blocks\.\d+\.spatial_mlp\.weight",
    ),
    rules=(
        *(Rule(key, key) for key in _SAME),
        *block_rules("stages.{i}.blocks.{j}", _LEAVES),
        *OUR_HEADS,
        *OUR_DETECTORS,
        *OUR_DENSE,
        *OUR_HTC,
        *OUR_SPARSE,
    ),
    prefix="backbone.",
)
