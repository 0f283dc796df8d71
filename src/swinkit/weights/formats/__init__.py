"""Published checkpoint formats: one file each, one line in `FORMATS`."""

from swinkit.weights.formats.base import HEADS, Format, State
from swinkit.weights.formats.detection import MMDET3_CASCADE, MMDET3_RCNN, OFFICIAL_CASCADE, OFFICIAL_RCNN
from swinkit.weights.formats.detection_dense import (
    MMDET3_ATSS,
    MMDET3_REPPOINTS,
    OFFICIAL_ATSS,
    OFFICIAL_REPPOINTS,
)
from swinkit.weights.formats.detection_htc import MMDET3_HTC, OFFICIAL_HTC
from swinkit.weights.formats.detection_query import MMDET3_SPARSE, OFFICIAL_SPARSE
from swinkit.weights.formats.huggingface import HUGGINGFACE
from swinkit.weights.formats.mmdet import MMDET3
from swinkit.weights.formats.official import OFFICIAL, OFFICIAL_DENSE, OFFICIAL_MLP
from swinkit.weights.formats.segmentation import MMSEG, OFFICIAL_UPERNET
from swinkit.weights.formats.swinkit import SWINKIT
from swinkit.weights.formats.timm import TIMM
from swinkit.weights.formats.torchvision import TORCHVISION

FORMATS: dict[str, Format] = {
    "swinkit": SWINKIT,
    "official_upernet": OFFICIAL_UPERNET,
    "mmseg": MMSEG,
    "official_rcnn": OFFICIAL_RCNN,
    "official_cascade": OFFICIAL_CASCADE,
    "official_htc": OFFICIAL_HTC,
    "mmdet3_htc": MMDET3_HTC,
    "official_sparse": OFFICIAL_SPARSE,
    "mmdet3_sparse": MMDET3_SPARSE,
    "mmdet3_rcnn": MMDET3_RCNN,
    "mmdet3_cascade": MMDET3_CASCADE,
    "official_atss": OFFICIAL_ATSS,
    "mmdet3_atss": MMDET3_ATSS,
    "official_reppoints_v2": OFFICIAL_REPPOINTS,
    "mmdet3_reppoints_v2": MMDET3_REPPOINTS,
    "mmdet3": MMDET3,
    "huggingface": HUGGINGFACE,
    "torchvision": TORCHVISION,
    "official_mlp": OFFICIAL_MLP,
    "official_dense": OFFICIAL_DENSE,
    "timm": TIMM,
    "official": OFFICIAL,
}
"""Name -> format, the most telling first: `detect_format` takes the first one whose keys it finds."""

__all__ = ["FORMATS", "HEADS", "Format", "State"]
