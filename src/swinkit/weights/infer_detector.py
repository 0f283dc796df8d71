"""Which two-stage detector a file holds, read off the shapes of its neck and heads."""

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
from swinkit.detection.sparse_config import SparseConfig
from swinkit.errors import InputError
from swinkit.weights.formats import State
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
    return "roi.0.box.classes.weight" in ours or is_sparse_rcnn(ours)


def infer_detector(ours: State, backbone: BackboneConfig) -> DetectorConfig:
    """Return the detector of these tensors; what they do not tell is as in the published configurations.

    Raises:
        InputError: it is neither of one stage nor of three, whose thresholds the tensors do not tell.
    """
    if is_sparse_rcnn(ours):
        return infer_sparse_rcnn(ours, backbone)
    stages = _count(ours, r"roi\.(\d+)\.")
    published = {1: mask_rcnn, 3: cascade_mask_rcnn}
    if stages not in published:
        raise InputError(f"a two-stage detector of {stages} stages is not a published one: 1 or 3 are.")
    base = published[stages]()
    deltas = ours["roi.0.box.deltas.weight"]
    mask = ours.get("roi.0.mask.upsample.weight")
    width = ours["neck.outputs.0.weight"].shape[0]
    return DetectorConfig(
        backbone=backbone,
        num_classes=deltas.shape[0] // 4,
        neck=FpnConfig(channels=width),
        head=TwoStageConfig(
            rpn=_rpn(ours, base.rpn),
            stages=base.stages,
            box=_box(ours, base.box, width),
            mask=None
            if mask is None
            else MaskHeadConfig(convs=_count(ours, r"roi\.0\.mask\.convs\.(\d+)\."), channels=mask.shape[1]),
            match_low_quality=base.match_low_quality,
        ),
    )


def detector_name(config: DetectorConfig, backbone: str) -> str:
    """Return what the detector on a backbone of this name is called, or "" when it has none."""
    if isinstance(config.head, SparseConfig):
        kind = "sparse_rcnn"
    else:
        kind = NAMES[len(config.head.stages) > 1, config.head.mask is not None]
    return f"{kind}_{backbone}" if backbone else ""


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
    )


def _count(ours: State, pattern: str) -> int:
    return len({found[1] for key in ours if (found := re.match(pattern, key))})
