"""UperNet checkpoints: of the official segmentation repository and of mmsegmentation 1.x.

Both name the heads alike; the backbone is each repository's own.
"""

from dataclasses import replace

from swinkit.weights.formats.mmdet import MMDET3
from swinkit.weights.formats.official import OFFICIAL_DENSE
from swinkit.weights.formats.rules import Rule

_CONVS = {
    "decode_head.psp_modules.{i}.1": "decode_head.pools.{i}",
    "decode_head.bottleneck": "decode_head.bottleneck",
    "decode_head.lateral_convs.{i}": "decode_head.laterals.{i}",
    "decode_head.fpn_convs.{i}": "decode_head.smooth.{i}",
    "decode_head.fpn_bottleneck": "decode_head.fuse",
    "auxiliary_head.convs.{i}": "auxiliary_head.convs.{i}",
}
"""Their convolution with norm -> ours."""

_HEADS = (
    *(Rule(f"{theirs}.conv.weight", f"{ours}.conv.weight") for theirs, ours in _CONVS.items()),
    *(Rule(f"{theirs}.bn.{{n}}", f"{ours}.norm.{{n}}") for theirs, ours in _CONVS.items()),
    Rule("decode_head.conv_seg.{p}", "decode_head.classify.{p}"),
    Rule("auxiliary_head.conv_seg.{p}", "auxiliary_head.classify.{p}"),
)

OUR_HEADS = tuple(Rule(rule.ours, rule.ours) for rule in _HEADS)
"""The same keys in our own files."""

_MARK = r"decode_head\.psp_modules\..*"

OFFICIAL_UPERNET = replace(
    OFFICIAL_DENSE,
    name="official_upernet",
    title="official segmentation repository",
    part="segmenter",
    marks=(_MARK,),
    lacks=(r"stages\..*",),
    rules=(*OFFICIAL_DENSE.rules, *_HEADS),
    writes_prefix=True,
)

MMSEG = replace(
    MMDET3,
    name="mmseg",
    title="mmsegmentation 1.x",
    part="segmenter",
    marks=(_MARK,),
    lacks=(r"layers\..*",),
    rules=(*MMDET3.rules, *_HEADS),
    writes_prefix=True,
)
