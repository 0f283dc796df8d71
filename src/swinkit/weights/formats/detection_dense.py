"""ATSS and RepPoints v2: their heads and necks in mmdetection's names, which both generations share."""

from dataclasses import replace

from swinkit.weights.formats.detection import NECK
from swinkit.weights.formats.mmdet import MMDET3
from swinkit.weights.formats.official import OFFICIAL_DENSE
from swinkit.weights.formats.rules import Rule


def _conv(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Rules of a convolution with group norm."""
    return (
        Rule(f"{theirs}.conv.weight", f"{ours}.conv.weight"),
        Rule(f"{theirs}.gn.{{p}}", f"{ours}.norm.{{p}}"),
    )


_ATSS = (
    *NECK,
    *_conv("bbox_head.cls_convs.{i}", "dense.class_convs.{i}"),
    *_conv("bbox_head.reg_convs.{i}", "dense.box_convs.{i}"),
    Rule("bbox_head.atss_cls.{p}", "dense.scores.{p}"),
    Rule("bbox_head.atss_reg.{p}", "dense.deltas.{p}"),
    Rule("bbox_head.atss_centerness.{p}", "dense.centerness.{p}"),
    Rule("bbox_head.scales.{i}.scale", "dense.factors.{i}"),
)
OUR_DENSE = tuple(Rule(rule.ours, rule.ours) for rule in _ATSS)
"""The same keys in our own files."""

OFFICIAL_ATSS = replace(
    OFFICIAL_DENSE,
    name="official_atss",
    title="ATSS with the backbone of the official detection repository",
    part="detector",
    marks=(r"bbox_head\.atss_cls\.weight",),
    lacks=(r"stages\..*",),
    rules=(*OFFICIAL_DENSE.rules, *_ATSS),
    writes_prefix=True,
)
MMDET3_ATSS = replace(
    MMDET3,
    name="mmdet3_atss",
    title="ATSS of mmdetection 3.x",
    part="detector",
    marks=OFFICIAL_ATSS.marks,
    lacks=(r"layers\..*",),
    rules=(*MMDET3.rules, *_ATSS),
    writes_prefix=True,
)
