"""What stands around the published heads: their necks, and how their detections are chosen."""

from dataclasses import replace

from swinkit.detection.config import FpnConfig, HeadConfig, NeckConfig, SelectConfig, TwoStageConfig
from swinkit.detection.config_dense import AtssConfig, BiFpnConfig, RepPointsV2Config
from swinkit.detection.htc_config import HtcConfig
from swinkit.detection.sparse_config import SparseConfig

ATSS_NECK = FpnConfig(start=1, extra="conv")
"""Strides 8 to 128; the two coarsest levels are convolutions of the last one."""

REPPOINTS_NECK = BiFpnConfig(start=1)
"""Strides 8 to 128; the backbone's finest map is not read."""

NECKS: dict[type, NeckConfig] = {
    TwoStageConfig: FpnConfig(),
    AtssConfig: ATSS_NECK,
    RepPointsV2Config: REPPOINTS_NECK,
    HtcConfig: FpnConfig(),
    SparseConfig: FpnConfig(levels=4),
}
"""Kind of head -> its neck."""

SELECTS: dict[type, SelectConfig] = {
    TwoStageConfig: SelectConfig(),
    AtssConfig: SelectConfig(iou=0.6),
    RepPointsV2Config: SelectConfig(iou=0.6),
    HtcConfig: SelectConfig(score=0.001),
    SparseConfig: SelectConfig(score=0.0),
}
"""Kind of head -> how its detections are chosen."""


def published_select(head: HeadConfig) -> SelectConfig:
    """Return how the published configuration of a head chooses; HTC++ has soft-NMS (A2.2)."""
    select = SELECTS[type(head)]
    soft = isinstance(head, HtcConfig) and head.global_attention
    return replace(select, nms="soft") if soft else select
