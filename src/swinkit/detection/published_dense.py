"""What stands around the published heads of ATSS and RepPoints v2: necks, and how detections are chosen."""

from swinkit.detection.config import FpnConfig, SelectConfig
from swinkit.detection.config_dense import BiFpnConfig

ATSS_NECK = FpnConfig(start=1, extra="conv")
"""Strides 8 to 128; the two coarsest levels are convolutions of the last one."""

REPPOINTS_NECK = BiFpnConfig(start=1)
"""Strides 8 to 128; the backbone's finest map is not read."""

DENSE_SELECT = SelectConfig(iou=0.6)
"""Of both."""
