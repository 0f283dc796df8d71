"""What every benchmark writes beside its numbers: device, versions, commit, date. And how it writes them."""

import datetime
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from swinkit import machine
from swinkit.files import atomic_path
from swinkit.machine import cpu_facts

PACKAGES = ("swinkit", "torch", "torchvision", "lightning", "numpy")
PEERS = ("timm", "transformers", "triton", "onnxruntime", "openvino")
"""Optional packages whose version matters to a comparison."""


def environment(device: str | torch.device = "cpu") -> dict[str, Any]:
    """Where and with what a number was measured.

    Args:
        device: the device the benchmark ran on.

    Returns:
        Plain JSON types: device, threads, versions (None for what is not installed), commit ("+" behind it
        when files differ), date in UTC.
    """
    return {
        "device": device_name(torch.device(device)),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            **{name: installed_version(name) for name in (*PACKAGES, *PEERS)},
        },
        "cuda": torch.version.cuda if torch.device(device).type == "cuda" else None,
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def device_name(device: torch.device) -> str:
    """Name of the chip, as its maker calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "meta":
        return "none (shapes only)"
    name = next(iter(cpu_facts("model name")), platform.processor() or platform.machine())
    return f"{name}, {os.cpu_count()} threads"


def installed_version(name: str) -> str | None:
    """Version of a package, or None when it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def commit() -> str:
    """Short hash of the checkout's commit, "+" behind it when tracked files differ, "" outside a checkout."""
    head, plus, _ = (machine.commit() or "").partition("+")
    return head[:12] + plus


def write_json(path: Path, results: Any, device: str | torch.device = "cpu") -> None:
    """Write {"environment": ..., "results": ...} to `path`, atomically."""
    text = json.dumps({"environment": environment(device), "results": results}, indent=1)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n")
