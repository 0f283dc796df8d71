"""The choices of `optimize`, remembered per machine, threads, versions, model and shape."""

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from swinkit.deploy.report import Candidate, Report
from swinkit.errors import InputError
from swinkit.files import atomic_path, cache_folder
from swinkit.machine import cpu_facts
from swinkit.spec import to_dict

PACKAGES = ("swinkit", "torch", "onnxruntime", "openvino")
"""Another version of any of these is measured anew."""


def key(model: nn.Module, example: Tensor, candidates: Sequence[str], max_error: float) -> str:
    """Everything that a choice depends on, as one short word."""
    spec = getattr(model, "spec", None)
    config = spec.config if spec is not None else getattr(model, "config", None)
    facts = {
        "device": device_name(example.device),
        "threads": torch.get_num_threads(),
        "versions": {name: _version(name) for name in PACKAGES},
        "model": type(model).__name__,
        "config": to_dict(config),
        "parameters": sum(item.numel() for item in model.parameters()),
        "shape": list(example.shape),
        "dtype": str(example.dtype),
        "candidates": list(candidates),
        "max_error": max_error,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def recall(name: str) -> Report | None:
    """Return the choice kept under a key; None when there is none, or the file does not read."""
    try:
        data: dict[str, Any] = json.loads(_path(name).read_text())
        candidates = tuple(
            Candidate(**{**item, **{field: _number(item[field]) for field in ("milliseconds", "error")}})
            for item in data.pop("candidates")
        )
        return Report(**{**data, "shape": tuple(data["shape"]), "candidates": candidates})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError):
        return None  # a missing or foreign file, or no home for it, only costs a measurement


def keep(name: str, report: Report) -> None:
    """Keep a choice. A cache that cannot be written to only costs the next call a measurement."""
    try:
        with atomic_path(_path(name)) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(report), indent=1))
    except (InputError, RuntimeError):  # the latter: no home folder
        return


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def device_name(device: torch.device) -> str:
    """Name of the chip."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    names = {*cpu_facts("model name"), *cpu_facts("flags")}
    return f"{platform.processor() or platform.machine()} {sorted(names)} x{os.cpu_count()}"


def _path(name: str) -> Path:
    return cache_folder() / "optimize" / f"{name}.json"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
