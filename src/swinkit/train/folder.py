"""The run folder: what is written down before the first step."""

import json
import os
import platform
import shlex
import sys
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from swinkit.errors import InputError
from swinkit.files import atomic_path
from swinkit.machine import commit, cpu_facts
from swinkit.spec import ModelSpec, from_dict, to_dict
from swinkit.train.config import JobConfig
from swinkit.train.jobs import job_from_json

SPEC = "model_spec.json"
_MAY_CHANGE = ("grad_checkpointing", "attention_impl")
"""Settings of a model that change how it computes, but not what."""
_PACKAGES = ("swinkit", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "pillow", "timm")


def check_folder(folder: Path, *, resume: bool) -> None:
    """Check that a run can begin in the folder, or go on.

    Raises:
        InputError: it is a file; without `resume`, it has something in it; with it, it has no checkpoint.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the run folder {folder} is a file: choose another name with --out.")
    last = folder / "checkpoints" / "last.ckpt"
    if resume and not last.is_file():
        raise InputError(
            f"nothing to resume in {folder}: it has no checkpoints/last.ckpt; start the run without --resume."
        )
    if not resume and folder.is_dir() and any(folder.iterdir()):
        how = f"go on with it: swinkit train --resume {folder}, or " if last.is_file() else ""
        raise InputError(f"the run folder {folder} is not empty: {how}choose another one with --out.")


def prepare_folder(folder: Path, config: JobConfig, spec: ModelSpec) -> None:
    """Make the run folder, or take it up again, and write model_spec.json, config.json, environment.json."""
    try:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make the run folder {folder}: {error.strerror}; give another --out."
        ) from error
    write_text(folder / SPEC, json.dumps(to_dict(spec), indent=2) + "\n")
    write_text(folder / "config.json", config.to_json())
    write_text(folder / "environment.json", json.dumps(environment(), indent=2) + "\n")


def read_spec(folder: Path, options: Any) -> ModelSpec:
    """Read what model the run in `folder` was started with.

    Args:
        folder: the run folder.
        options: the model's settings now; only how it computes may differ from what they were.

    Raises:
        InputError: the run folder lacks model_spec.json or config.json, or other settings are asked for.
    """
    try:
        spec, config = ((folder / name).read_text(encoding="utf-8") for name in (SPEC, "config.json"))
        model = from_dict(json.loads(spec))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"nothing to resume in {folder}: its {SPEC} or config.json is missing or damaged; start anew."
        ) from error
    before = getattr(job_from_json(config), "model", None)
    for item in fields(options):
        old, new = getattr(before, item.name, None), getattr(options, item.name)
        if old != new and item.name not in _MAY_CHANGE:
            raise InputError(
                f"a resumed run keeps its model: model.{item.name} was {old} and cannot become {new}; leave "
                "it as it was, or start another run."
            )
    return model


def environment() -> dict[str, Any]:
    """Return what another person needs to know to repeat a run: versions, machine, commit, command."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "commit": commit(),
    }


def cpu_name() -> str:
    """Return the processor's name as the system tells it."""
    return next(iter(cpu_facts("model name")), platform.processor())


def is_main_process() -> bool:
    """Whether this is the first process of the job: under torchrun, SLURM and Lightning's own launcher."""
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return os.environ[name] == "0"
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
