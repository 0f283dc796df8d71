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
_CORNER = {"hem_tl": "top_left", "hem_br": "bottom_right"}
_REPPOINTS = (
    *_conv("neck.bi_fpn.{i}.lateral_convs.{j}", "neck.blocks.{i}.laterals.{j}"),
    Rule("neck.bi_fpn.{i}.lateral_combine.{j}.weights", "neck.blocks.{i}.down.{j}.weights"),
    *_conv("neck.bi_fpn.{i}.lateral_combine_conv.{j}", "neck.blocks.{i}.down_convs.{j}"),
    Rule("neck.bi_fpn.{i}.out_combine.{j}.weights", "neck.blocks.{i}.up.{j}.weights"),
    *_conv("neck.bi_fpn.{i}.out_combine_conv.{j}", "neck.blocks.{i}.up_convs.{j}"),
    *_conv("bbox_head.cls_convs.{i}", "dense.class_convs.{i}"),
    *_conv("bbox_head.reg_convs.{i}", "dense.point_convs.{i}"),
    *_conv("bbox_head.shared_convs.{i}", "dense.shared_convs.{i}"),
    *(
        rule
        for theirs, ours in _CORNER.items()
        for rule in (
            *_conv(f"bbox_head.{theirs}.p1_conv1", f"dense.{ours}.column"),
            *_conv(f"bbox_head.{theirs}.p2_conv1", f"dense.{ours}.row"),
            Rule(f"bbox_head.{theirs}.p_conv1.weight", f"dense.{ours}.pooled.conv.weight"),
            Rule(f"bbox_head.{theirs}.p_gn1.{{p}}", f"dense.{ours}.pooled.norm.{{p}}"),
            Rule(f"bbox_head.{theirs}.conv1.weight", f"dense.{ours}.direct.conv.weight"),
            Rule(f"bbox_head.{theirs}.gn1.{{p}}", f"dense.{ours}.direct.norm.{{p}}"),
            *_conv(f"bbox_head.{theirs}.conv2", f"dense.{ours}.join"),
            Rule(f"bbox_head.reppoints_{theirs}_score_out.{{p}}", f"dense.heat_{ours}.{{p}}"),
            Rule(f"bbox_head.reppoints_{theirs}_offset_out.{{p}}", f"dense.offset_{ours}.{{p}}"),
        )
    ),
    Rule("bbox_head.reppoints_sem_out.{p}", "dense.foreground.{p}"),
    *_conv("bbox_head.reppoints_sem_embedding", "dense.foreground_conv"),
    Rule("bbox_head.reppoints_pts_init_conv.{p}", "dense.first_conv.{p}"),
    Rule("bbox_head.reppoints_pts_init_out.{p}", "dense.first.{p}"),
    Rule("bbox_head.reppoints_pts_refine_conv.weight", "dense.refined_deform.weight"),
    Rule("bbox_head.reppoints_pts_refine_out.{p}", "dense.refined.{p}"),
    Rule("bbox_head.reppoints_cls_conv.weight", "dense.class_deform.weight"),
    Rule("bbox_head.reppoints_cls_out.{p}", "dense.scores.{p}"),
)
OUR_DENSE = tuple(Rule(rule.ours, rule.ours) for rule in (*_ATSS, *_REPPOINTS))
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
_REPPOINTS_MARK = r"bbox_head\.reppoints_hem_tl_score_out\.weight"
_MASKED = r"bbox_head\.mask_head\..*"
"""Keys of the published variant with masks, of which only the backbone can be read."""

OFFICIAL_REPPOINTS = replace(
    OFFICIAL_ATSS,
    name="official_reppoints_v2",
    title="RepPoints v2 of the official detection repository",
    marks=(_REPPOINTS_MARK,),
    lacks=(*OFFICIAL_ATSS.lacks, _MASKED),
    rules=(*OFFICIAL_DENSE.rules, *_REPPOINTS),
)
MMDET3_REPPOINTS = replace(
    MMDET3_ATSS,
    name="mmdet3_reppoints_v2",
    title="RepPoints v2 with the backbone of mmdetection 3.x",
    marks=(_REPPOINTS_MARK,),
    lacks=(*MMDET3_ATSS.lacks, _MASKED),
    rules=(*MMDET3.rules, *_REPPOINTS),
)
