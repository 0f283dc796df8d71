"""A signal to every process of a job, as Ctrl-C, `timeout` and SLURM send it, loses nothing."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from swinkit.data.workers import leave_signals_to_parent
from swinkit.train.history import read_metrics

ARGS = ["train", "digits", "--data.workers", "2", "--schedule.epochs", "3", "--trainer.device", "cpu"]
ARGS += [
    "--trainer.log-every",
    "1",
    "--model.embed-dim",
    "8",
    "--model.depths",
    "1",
    "1",
    "--model.num-heads",
]
ARGS += ["1", "2", "--trainer.checkpoint-minutes", "1000"]


def wait_for(happened: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_a_signal_to_the_whole_group_saves_and_stops(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "swinkit.cli.main", *ARGS, "--out", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wait_for(lambda: process.poll() is not None or "1" in steps_of(folder / "metrics.csv"))
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "stopped by SIGTERM and saved; go on with: swinkit train --resume" in said
    assert "defect" not in said
    wait_for(lambda: not alive(process.pid))
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert 0 < saved["global_step"] < 120


def steps_of(path: Path) -> list[str]:
    return [row["step"] for row in read_metrics(path)] if path.exists() else []


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def worker(ready: Any) -> None:
    leave_signals_to_parent(0)
    ready.set()
    time.sleep(120)


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not tell who sent a signal")
def test_loading_processes_listen_to_their_parent_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # one thread, as a forked loading process has
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=worker, args=(ready,), daemon=True)
    process.start()
    assert ready.wait(120)
    for name in ("TERM", "INT", "USR1"):
        subprocess.run(["kill", f"-{name}", str(process.pid)], check=True)
    process.join(0.5)
    assert process.is_alive()
    process.terminate()
    process.join(60)
    assert process.exitcode == 0
