"""The kinds of training jobs, and reading one back from a run folder."""

import json

from swinkit.errors import InputError
from swinkit.train.config import JobConfig, TrainConfig
from swinkit.train.detection_config import DetectConfig
from swinkit.train.segmentation_config import SegmentConfig

JOBS: dict[str, type[JobConfig]] = {job.task: job for job in (TrainConfig, SegmentConfig, DetectConfig)}
"""Task as config.json names it -> its job."""


def job_from_json(text: str) -> JobConfig:
    """Read a config.json of any task.

    Raises:
        InputError: not JSON, an unknown task or key, or a value that the configuration refuses.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise InputError(f"the training configuration is not JSON: {error}.") from error
    task = data.get("task", TrainConfig.task) if isinstance(data, dict) else TrainConfig.task
    if task not in JOBS:
        raise InputError(f"unknown task {task!r}: this version trains {', '.join(JOBS)}.")
    return JOBS[task].from_json(text)
