"""Two-stage detectors: of the official detection repository (mmdetection 2.x) and of mmdetection 3.x.

Both name neck and heads alike; the backbone is each one's own. Detectors with one stage do not number it.
"""

from dataclasses import replace

from swinkit.weights.formats.mmdet import MMDET3
from swinkit.weights.formats.official import OFFICIAL_DENSE
from swinkit.weights.formats.rules import Rule

NECK = (
    Rule("neck.lateral_convs.{i}.conv.{p}", "neck.laterals.{i}.{p}"),
    Rule("neck.fpn_convs.{i}.conv.{p}", "neck.outputs.{i}.{p}"),
)
_SHARED = (
    *NECK,
    Rule("rpn_head.rpn_conv.{p}", "rpn.conv.{p}"),
    Rule("rpn_head.rpn_cls.{p}", "rpn.scores.{p}"),
    Rule("rpn_head.rpn_reg.{p}", "rpn.deltas.{p}"),
)
_BOX = {
    "shared_convs.{j}.conv.{p}": "convs.{j}.conv.{p}",
    "shared_convs.{j}.bn.{n}": "convs.{j}.norm.{n}",
    "shared_fcs.{j}.{p}": "fcs.{j}.{p}",
    "fc_cls.{p}": "classes.{p}",
    "fc_reg.{p}": "deltas.{p}",
}
_MASK = {
    "convs.{j}.conv.{p}": "convs.{j}.conv.{p}",
    "upsample.{p}": "upsample.{p}",
    "conv_logits.{p}": "logits.{p}",
}
"""Their leaf of a stage's head -> ours."""


def _stage(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Rules of the heads of a stage; `theirs` follows the head's name, `ours` is the stage's number."""
    return (
        *(Rule(f"roi_head.bbox_head{theirs}.{a}", f"roi.{ours}.box.{b}") for a, b in _BOX.items()),
        *(Rule(f"roi_head.mask_head{theirs}.{a}", f"roi.{ours}.mask.{b}") for a, b in _MASK.items()),
    )


_ONE = (*_SHARED, *_stage("", "0"))
SEVERAL = (*_SHARED, *_stage(".{i}", "{i}"))
OUR_DETECTORS = tuple(Rule(rule.ours, rule.ours) for rule in SEVERAL)
"""The same keys in our own files."""

_ONE_MARK = r"roi_head\.bbox_head\.fc_cls\.weight"
SEVERAL_MARK = r"roi_head\.bbox_head\.\d+\.fc_cls\.weight"
_OTHERS = (r"rpn_head\.init_proposal.*", r".*\.conv_res\..*", r"roi_head\.semantic_head\..*")
"""Keys of Sparse R-CNN and HTC, whose heads have the same names and more."""

OFFICIAL_RCNN = replace(
    OFFICIAL_DENSE,
    name="official_rcnn",
    title="Mask R-CNN of the official detection repository",
    part="detector",
    marks=(_ONE_MARK,),
    lacks=(r"stages\..*", *_OTHERS),
    rules=(*OFFICIAL_DENSE.rules, *_ONE),
    writes_prefix=True,
)
OFFICIAL_CASCADE = replace(
    OFFICIAL_RCNN,
    name="official_cascade",
    title="Cascade Mask R-CNN of the official detection repository",
    marks=(SEVERAL_MARK,),
    rules=(*OFFICIAL_DENSE.rules, *SEVERAL),
)
MMDET3_RCNN = replace(
    MMDET3,
    name="mmdet3_rcnn",
    title="Mask R-CNN of mmdetection 3.x",
    part="detector",
    marks=(_ONE_MARK,),
    lacks=(r"layers\..*", *_OTHERS),
    rules=(*MMDET3.rules, *_ONE),
    writes_prefix=True,
)
MMDET3_CASCADE = replace(
    MMDET3_RCNN,
    name="mmdet3_cascade",
    title="Cascade Mask R-CNN of mmdetection 3.x",
    marks=(SEVERAL_MARK,),
    rules=(*MMDET3.rules, *SEVERAL),
)
