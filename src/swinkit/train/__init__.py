"""Training: a typed configuration in, a run folder out.

What needs Lightning loads on first use, so that recipes can be listed without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from swinkit.train.config import ModelOptions, OptimizerConfig, ScheduleConfig, TrainConfig, TrainerConfig
from swinkit.train.errors import TrainingError

if TYPE_CHECKING:
    from swinkit.train.module import ClassificationModule
    from swinkit.train.run import RunResult, train

__all__ = [
    "ClassificationModule",
    "ModelOptions",
    "OptimizerConfig",
    "RunResult",
    "ScheduleConfig",
    "TrainConfig",
    "TrainerConfig",
    "TrainingError",
    "train",
]

_HOMES = {
    "ClassificationModule": "swinkit.train.module",
    "RunResult": "swinkit.train.run",
    "train": "swinkit.train.run",
}
"""Public name -> module that defines it."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'swinkit.train' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
