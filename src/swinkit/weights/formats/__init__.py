"""Published checkpoint formats: one file each, one line in `FORMATS`."""

from swinkit.weights.formats.base import HEADS, Format, State
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
