"""Which ATSS or RepPoints v2 a file holds, read off the shapes of its neck and head."""

import math
import re
from dataclasses import replace

from swinkit.backbones.config import BackboneConfig
from swinkit.detection.config import DetectorConfig
from swinkit.detection.config_dense import AtssConfig, RepPointsV2Config
from swinkit.detection.published import ATSS_NECK, REPPOINTS_NECK, published_select
from swinkit.weights.formats import State

GROUPS = 32
"""Of the published group norms, which the tensors do not tell; the most of them that divide the channels."""


def is_dense(ours: State) -> bool:
    """Whether these tensors, by our names, are a detector's that looks at every point."""
    return "dense.scores.weight" in ours


def infer_dense(ours: State, backbone: BackboneConfig) -> DetectorConfig:
    """Return the detector of these tensors; what they do not tell is as in the published configurations."""
    return _reppoints(ours, backbone) if "dense.first.weight" in ours else _atss(ours, backbone)


def dense_name(config: DetectorConfig) -> str:
    """Return how the names of such a detector begin."""
    return "reppoints_v2" if isinstance(config.head, RepPointsV2Config) else "atss"


def _atss(ours: State, backbone: BackboneConfig) -> DetectorConfig:
    scores = ours["dense.scores.weight"]
    laterals, outputs = _count(ours, r"neck\.laterals\.(\d+)\."), _count(ours, r"neck\.outputs\.(\d+)\.")
    levels = _count(ours, r"dense\.factors\.(\d+)")
    neck = replace(
        ATSS_NECK,
        channels=ours["neck.outputs.0.weight"].shape[0],
        levels=levels,
        start=len(backbone.out_indices) - laterals,
        extra="conv" if outputs > laterals else "pool",
    )
    convs = _count(ours, r"dense\.class_convs\.(\d+)\.")
    channels = scores.shape[1] if convs else AtssConfig.channels
    head = AtssConfig(channels=channels, convs=convs, groups=math.gcd(GROUPS, channels))
    return DetectorConfig(
        backbone=backbone, num_classes=scores.shape[0], neck=neck, head=head, select=published_select(head)
    )


def _reppoints(ours: State, backbone: BackboneConfig) -> DetectorConfig:
    width = ours["neck.blocks.0.up_convs.0.conv.weight"].shape[0]
    channels = ours["dense.first_conv.weight"].shape[0]
    corner_channels = ours["dense.top_left.column.conv.weight"].shape[0]
    neck = replace(
        REPPOINTS_NECK,
        start=0,
        channels=width,
        groups=math.gcd(GROUPS, width),
        levels=_count(ours, r"neck\.blocks\.0\.up_convs\.(\d+)\.") + 1,
        repeats=_count(ours, r"neck\.blocks\.(\d+)\."),
    )
    head = RepPointsV2Config(
        channels=channels,
        groups=math.gcd(GROUPS, channels, corner_channels),
        convs=_count(ours, r"dense\.class_convs\.(\d+)\."),
        shared_convs=_count(ours, r"dense\.shared_convs\.(\d+)\."),
        corner_channels=corner_channels,
    )
    return DetectorConfig(
        backbone=backbone,
        num_classes=ours["dense.scores.weight"].shape[0],
        neck=neck,
        head=head,
        select=published_select(head),
    )


def _count(ours: State, pattern: str) -> int:
    return len({found[1] for key in ours if (found := re.match(pattern, key))})
