"""swinkit: the Swin Transformer paper (arXiv 2103.14030) as one library on current PyTorch.

The public names load on first use, so that `import swinkit` and `swinkit --help` do not pay for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from swinkit.errors import InputError

if TYPE_CHECKING:
    from swinkit.deploy import optimize
    from swinkit.models import create_backbone, create_model
    from swinkit.models_detection import create_detector
    from swinkit.models_segmentation import create_segmenter
    from swinkit.predictor import Predictor
    from swinkit.weights import load

__version__ = "0.1.0"

__all__ = [
    "InputError",
    "Predictor",
    "__version__",
    "create_backbone",
    "create_detector",
    "create_model",
    "create_segmenter",
    "load",
    "optimize",
]

_HOMES = {
    "create_backbone": "swinkit.models",
    "create_detector": "swinkit.models_detection",
    "create_model": "swinkit.models",
    "create_segmenter": "swinkit.models_segmentation",
    "Predictor": "swinkit.predictor",
    "load": "swinkit.weights",
    "optimize": "swinkit.deploy",
}
"""Public name -> module that defines it."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'swinkit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
