"""Sparse R-CNN of mmdetection 2.x, with the backbone of the official detection repository, and of mmdetection
3.x: the heads have the same names."""

from dataclasses import replace

from swinkit.weights.formats.detection import NECK
from swinkit.weights.formats.mmdet import MMDET3
from swinkit.weights.formats.official import OFFICIAL_DENSE
from swinkit.weights.formats.rules import Rule

_HEAD = {
    "attention.attn.in_proj_{p}": "attention.in_proj_{p}",
    "attention.attn.out_proj.{p}": "attention.out_proj.{p}",
    "attention_norm.{p}": "attention_norm.{p}",
    "instance_interactive_conv.dynamic_layer.{p}": "interaction.weights.{p}",
    "instance_interactive_conv.norm_in.{p}": "interaction.norm_in.{p}",
    "instance_interactive_conv.norm_out.{p}": "interaction.norm_out.{p}",
    "instance_interactive_conv.fc_layer.{p}": "interaction.gather.{p}",
    "instance_interactive_conv.fc_norm.{p}": "interaction.gather_norm.{p}",
    "instance_interactive_conv_norm.{p}": "interaction_norm.{p}",
    "ffn.layers.0.0.{p}": "fc1.{p}",
    "ffn.layers.1.{p}": "fc2.{p}",
    "ffn_norm.{p}": "fc_norm.{p}",
    "cls_fcs.{3j}.weight": "class_fcs.{j}.fc.weight",
    "cls_fcs.{3j+1}.{p}": "class_fcs.{j}.norm.{p}",
    "reg_fcs.{3j}.weight": "box_fcs.{j}.fc.weight",
    "reg_fcs.{3j+1}.{p}": "box_fcs.{j}.norm.{p}",
    "fc_cls.{p}": "classes.{p}",
    "fc_reg.{p}": "deltas.{p}",
}
"""Their leaf of a stage's head -> ours."""

_SPARSE = (
    *NECK,
    Rule("rpn_head.init_proposal_bboxes.weight", "proposals.boxes"),
    Rule("rpn_head.init_proposal_features.weight", "proposals.features"),
    *(Rule(f"roi_head.bbox_head.{{i}}.{theirs}", f"roi.{{i}}.{ours}") for theirs, ours in _HEAD.items()),
)
OUR_SPARSE = tuple(Rule(rule.ours, rule.ours) for rule in _SPARSE)
"""The same keys in our own files."""

_MARKS = (r"rpn_head\.init_proposal_bboxes\.weight",)

OFFICIAL_SPARSE = replace(
    OFFICIAL_DENSE,
    name="official_sparse",
    title="Sparse R-CNN of mmdetection 2.x on the official backbone",
    part="detector",
    marks=_MARKS,
    lacks=(r"stages\..*",),
    rules=(*OFFICIAL_DENSE.rules, *_SPARSE),
    writes_prefix=True,
)
MMDET3_SPARSE = replace(
    MMDET3,
    name="mmdet3_sparse",
    title="Sparse R-CNN of mmdetection 3.x",
    part="detector",
    marks=_MARKS,
    lacks=(r"layers\..*",),
    rules=(*MMDET3.rules, *_SPARSE),
    writes_prefix=True,
)
