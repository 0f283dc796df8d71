"""Which detector a file holds, read off the shapes of its neck and heads."""

import re
from dataclasses import replace

from swinkit.backbones.config import BackboneConfig
from swinkit.detection.config import (
    BoxHeadConfig,
    DetectorConfig,
    FpnConfig,
    MaskHeadConfig,
    RpnConfig,
    TwoStageConfig,
    cascade_mask_rcnn,
    mask_rcnn,
)
from swinkit.detection.htc_config import HtcConfig, SemanticConfig, htc, htc_plus
from swinkit.detection.published import published_select
from swinkit.detection.sparse_config import SparseConfig
from swinkit.errors import InputError
from swinkit.weights.formats import State
from swinkit.weights.infer_dense import dense_name, infer_dense, is_dense
from swinkit.weights.infer_query import infer_sparse_rcnn, is_sparse_rcnn

NAMES = {
    (False, True): "mask_rcnn",
    (False, False): "faster_rcnn",
    (True, True): "cascade_mask_rcnn",
    (True, False): "cascade_rcnn",
}
"""(several stages, masks) -> what the detector is called."""


def is_detector(ours: State) -> bool:
    """Whether these tensors, by our names, are a detector's."""
    return "roi.0.box.classes.weight" in ours or is_dense(ours) or is_sparse_rcnn(ours)


def infer_detector(ours: State, backbone: BackboneConfig) -> DetectorConfig:
    """Return the detector of these tensors; what they do not tell is as in the published configurations.

    Raises:
        InputError: it is neither of one stage nor of three, whose thresholds the tensors do not tell.
    """
    if is_dense(ours):
        return infer_dense(ours, backbone)
    if is_sparse_rcnn(ours):
        return infer_sparse_rcnn(ours, backbone)
    base = _published(ours)
    mask = ours.get("roi.0.mask.upsample.weight")
    classes, width = ours["roi.0.box.classes.weight"].shape[0] - 1, ours["neck.outputs.0.weight"].shape[0]
    head = replace(
        base,
        rpn=_rpn(ours, base.rpn),
        box=_box(ours, base.box, width),
        mask=None
        if mask is None
        else MaskHeadConfig(convs=_count(ours, r"roi\.0\.mask\.convs\.(\d+)\."), channels=mask.shape[1]),
    )
    return DetectorConfig(
        backbone=backbone,
        num_classes=classes,
        neck=FpnConfig(channels=width),
        head=head,
        select=published_select(head),
    )


def detector_name(config: DetectorConfig, backbone: str) -> str:
    """Return what the detector on a backbone of this name is called, or "" when it has none."""
    if isinstance(config.head, SparseConfig):
        kind = "sparse_rcnn"
    elif isinstance(config.head, HtcConfig):
        kind = "htc_plus" if config.head.global_attention else "htc"
    elif isinstance(config.head, TwoStageConfig):
        kind = NAMES[len(config.head.stages) > 1, config.head.mask is not None]
    else:
        kind = dense_name(config)
    return f"{kind}_{backbone}" if backbone else ""


def _published(ours: State) -> TwoStageConfig:
    """The published head of this kind, by its stages and branches."""
    stages = _count(ours, r"roi\.(\d+)\.")
    semantic, flow = ours.get("semantic.logits.weight"), "roi.1.mask.relay.weight" in ours
    if stages == 3 and (semantic is not None or flow):
        convs = _count(ours, r"roi\.0\.box\.convs\.(\d+)\.")
        return replace(
            htc_plus() if convs else htc(),
            flow=flow,
            semantic=None
            if semantic is None
            else SemanticConfig(
                classes=semantic.shape[0],
                channels=semantic.shape[1],
                convs=_count(ours, r"semantic\.convs\.(\d+)\."),
            ),
            global_attention="global_attention.qkv.weight" in ours,
        )
    published = {1: mask_rcnn, 3: cascade_mask_rcnn}
    if stages not in published:
        raise InputError(f"a two-stage detector of {stages} stages is not a published one: 1 or 3 are.")
    return published[stages]()


def _rpn(ours: State, base: RpnConfig) -> RpnConfig:
    anchors = ours["rpn.scores.weight"].shape[0]
    if anchors != len(base.ratios):
        raise InputError(f"the file has {anchors} anchors a point; published are {len(base.ratios)}.")
    return replace(base, channels=ours["rpn.conv.weight"].shape[0])


def _box(ours: State, base: BoxHeadConfig, width: int) -> BoxHeadConfig:
    first, second = ours["roi.0.box.fcs.0.weight"].shape
    convs = _count(ours, r"roi\.0\.box\.convs\.(\d+)\.")
    channels = ours["roi.0.box.convs.0.conv.weight"].shape[0] if convs else base.conv_channels
    cells = second // (channels if convs else width)
    return replace(
        base,
        pool=round(cells**0.5),
        convs=convs,
        conv_channels=channels,
        conv_norm="roi.0.box.convs.0.norm.weight" in ours,
        fcs=_count(ours, r"roi\.0\.box\.fcs\.(\d+)\."),
        fc_channels=first,
        class_agnostic=_one_box(ours, base),
    )


def _one_box(ours: State, base: BoxHeadConfig) -> bool:
    """Whether there is one box for all classes; with one class the published head is believed."""
    boxes = ours["roi.0.box.deltas.weight"].shape[0] // 4
    one_class = ours["roi.0.box.classes.weight"].shape[0] == 2
    return base.class_agnostic if one_class else boxes == 1


def _count(ours: State, pattern: str) -> int:
    return len({found[1] for key in ours if (found := re.match(pattern, key))})
