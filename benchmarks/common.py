"""Where the scripts here write their results; `swinkit.bench.environment` says what stands beside them."""

from pathlib import Path
from typing import Any

import torch

from swinkit.bench.environment import commit, device_name, environment, write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"

__all__ = ["RESULTS", "ROOT", "commit", "device_name", "environment", "write_results"]


def write_results(
    name: str, results: Any, device: str | torch.device = "cpu", folder: Path = RESULTS
) -> Path:
    """Write {"environment": ..., "results": ...} to `folder`/`name`.json, atomically; return the path."""
    path = folder / f"{name}.json"
    write_json(path, results, device)
    return path
