"""Classes of the published checkpoints: ImageNet's names, and where its 1000 classes are among the 21841."""

from functools import cache
from importlib.resources import files

from torchvision.models import Swin_T_Weights
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_V2_Weights

IMAGENET_1K = 1000
IMAGENET_22K = 21841


@cache
def imagenet_names() -> tuple[str, ...]:
    """Names of ImageNet-1K's classes in the order of the published heads."""
    return tuple(Swin_T_Weights.IMAGENET1K_V1.meta["categories"])


@cache
def coco_names() -> tuple[str, ...]:
    """Names of COCO's 80 classes in the order of the published heads."""
    names = FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1.meta["categories"]
    return tuple(name for name in names if name not in ("__background__", "N/A"))


@cache
def rows_of_1k_in_22k() -> tuple[int, ...]:
    """Row of the 22K head for each of the 1000 classes, as the published class map has them."""
    text = files("swinkit.weights").joinpath("rows_22k_to_1k.txt").read_text()
    rows = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(int(number) for line in rows for number in line.split())
