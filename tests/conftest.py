"""What all tests share: fixed seeds, one thread a worker, golden outputs and data, small pictures."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent

JOB = """
import os, signal, sys
from pathlib import Path
from lightning.pytorch.callbacks import Callback
from swinkit.train import train
from swinkit.train.jobs import job_from_json

class Kill(Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    train(job_from_json(Path(sys.argv[1]).read_text()), callbacks=[Kill()])
"""


def pytest_configure() -> None:
    """Under xdist every worker has one core: threads inside a worker only take turns."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Every test starts from the same random state, whichever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Outputs of the published code: SWINKIT_GOLDEN, or ../shared/golden beside the checkout."""
    return _folder("SWINKIT_GOLDEN", "golden", "outputs of the published code")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Small data sets: SWINKIT_DATA, or ../shared/data beside the checkout."""
    return _folder("SWINKIT_DATA", "data", "data sets")


@pytest.fixture
def make_picture(tmp_path: Path) -> Callable[..., Path]:
    """Write a picture: `make_picture("a.png", size=(rows, columns), mode="RGB", seed=0)` returns its path."""

    def make(
        name: str = "picture.png", size: tuple[int, int] = (40, 48), mode: str = "RGB", seed: int = 0
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _noise(size, seed).convert(mode).save(path)
        return path

    return make


@pytest.fixture
def picture_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write root/<class>/<number>.jpg whose classes differ in colour; returns the root."""

    def make(
        classes: tuple[str, ...] = ("blue", "red"),
        count: int = 4,
        size: tuple[int, int] = (40, 48),
        root: str = "pictures",
    ) -> Path:
        for index, name in enumerate(classes):
            folder = tmp_path / root / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                picture = np.asarray(_noise(size, 1000 * index + number)) // 3
                picture[..., index % 3] += 150
                Image.fromarray(picture).save(folder / f"{number:03d}.jpg", quality=95)
        return tmp_path / root

    return make


@pytest.fixture
def run_job(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a job in a process of its own: `run_job(config)`, or `run_job(config, kill_at=step)`."""

    def run(config: Any, kill_at: int = -1) -> subprocess.CompletedProcess[str]:
        script, settings = tmp_path / "job.py", tmp_path / "job.json"
        script.write_text(JOB)
        settings.write_text(config.to_json())
        return subprocess.run(
            [sys.executable, script, settings, str(kill_at)],
            capture_output=True,
            text=True,
            timeout=240,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )

    return run


def _folder(variable: str, name: str, what: str) -> Path:
    path = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    if not path.is_dir():
        pytest.skip(f"no {what} at {path.name!r}: set {variable} to their folder")
    return path


def _noise(size: tuple[int, int], seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(values)
