"""The parts of a training job before it runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swinkit.errors import InputError
from swinkit.spec import ModelSpec
from swinkit.train.data import JobData
from swinkit.train.folder import read_spec
from swinkit.train.task_module import TaskModule


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The parts of a job.

    Attributes:
        model: with its `spec`.
        data: loaders.
        module: the model with its loss and scores.
        remarks: what the user should know about the data.
        facts: further files for the run folder, name -> JSON content.
    """

    model: Any
    data: JobData
    module: TaskModule
    remarks: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def spec_of_run(folder: Path, options: Any, classes: Sequence[str]) -> ModelSpec:
    """What model the run in `folder` was started with.

    Raises:
        InputError: the folder does not say, other settings are asked for, or the data has other classes.
    """
    spec = read_spec(folder, options)
    if spec.class_names != tuple(classes):
        raise InputError(
            f"the run in {folder} was started with other classes than the data now has "
            f"({len(spec.class_names)} then, {len(classes)} now): give it the same data."
        )
    return spec
