"""The parts of a training job before it runs."""

from dataclasses import dataclass, field
from typing import Any

from swinkit.train.data import JobData
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
