"""Hybrid Task Cascade of mmdetection 2.x, with the backbone of the official detection repository, and of
mmdetection 3.x: the heads have the same names."""

from dataclasses import replace

from swinkit.weights.formats.detection import SEVERAL
from swinkit.weights.formats.mmdet import MMDET3
from swinkit.weights.formats.official import OFFICIAL_DENSE
from swinkit.weights.formats.rules import Rule

_SEMANTIC = "roi_head.semantic_head"
_MORE = (
    Rule("roi_head.mask_head.{i}.conv_res.conv.{p}", "roi.{i}.mask.relay.{p}"),
    Rule(f"{_SEMANTIC}.lateral_convs.{{i}}.conv.{{p}}", "semantic.laterals.{i}.{p}"),
    Rule(f"{_SEMANTIC}.convs.{{i}}.conv.{{p}}", "semantic.convs.{i}.{p}"),
    Rule(f"{_SEMANTIC}.conv_embedding.conv.{{p}}", "semantic.embedding.{p}"),
    Rule(f"{_SEMANTIC}.conv_logits.{{p}}", "semantic.logits.{p}"),
)
"""What it has beside the keys of a cascade."""
_GLOBAL = ("norm1", "qkv", "proj", "norm2", "fc1", "fc2")
OUR_HTC = (
    *(Rule(rule.ours, rule.ours) for rule in _MORE),
    *(Rule(f"global_attention.{name}.{{p}}", f"global_attention.{name}.{{p}}") for name in _GLOBAL),
)
"""The same keys in our own files, and the layer of HTC++, which has no published name."""

_MARKS = (
    r"roi_head\.mask_head\.\d+\.conv_res\.conv\.weight",
    r"roi_head\.semantic_head\.conv_logits\.weight",
)

OFFICIAL_HTC = replace(
    OFFICIAL_DENSE,
    name="official_htc",
    title="Hybrid Task Cascade of mmdetection 2.x on the official backbone",
    part="detector",
    marks=_MARKS,
    lacks=(r"stages\..*",),
    rules=(*OFFICIAL_DENSE.rules, *SEVERAL, *_MORE),
    writes_prefix=True,
)
MMDET3_HTC = replace(
    MMDET3,
    name="mmdet3_htc",
    title="Hybrid Task Cascade of mmdetection 3.x",
    part="detector",
    marks=_MARKS,
    lacks=(r"layers\..*",),
    rules=(*MMDET3.rules, *SEVERAL, *_MORE),
    writes_prefix=True,
)
