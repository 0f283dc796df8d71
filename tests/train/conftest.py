"""A job small enough to run whole in a test, and the run that all interrupted ones must equal."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from swinkit.data import AugmentConfig, DataConfig
from swinkit.train import (
    ModelOptions,
    OptimizerConfig,
    RunResult,
    ScheduleConfig,
    TrainConfig,
    TrainerConfig,
    train,
)

EPOCHS = 2
BATCHES = 13
"""Full training batches of an epoch; with two a step the last one is left out."""

JOB = """
import os, signal, sys
from pathlib import Path
from lightning.pytorch.callbacks import Callback
from swinkit.train import TrainConfig, train

class Kill(Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    train(TrainConfig.from_json(Path(sys.argv[1]).read_text()), callbacks=[Kill()])
"""


@pytest.fixture(scope="session")
def small_job() -> TrainConfig:
    """Digits, a two-block model, everything random switched on, two batches a step."""
    return TrainConfig(
        model=ModelOptions(
            name="custom",
            img_size=(8, 8),
            patch_size=1,
            window_size=4,
            embed_dim=8,
            depths=(1, 1),
            num_heads=(1, 2),
            drop_path_rate=0.3,
            drop_rate=0.1,
        ),
        data=DataConfig(kind="digits", batch_size=1295 // BATCHES, workers=0),
        augment=AugmentConfig(hflip=0.5, rand_magnitude=0, mixup=0.8, cutmix=1.0),
        optimizer=OptimizerConfig(lr=3e-3, layer_decay=0.9),
        schedule=ScheduleConfig(epochs=EPOCHS, warmup_epochs=0.5),
        trainer=TrainerConfig(device="cpu", accumulate=2, log_every=1, checkpoint_minutes=1e6, seed=3),
    )


@pytest.fixture(scope="session")
def whole_run(small_job: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The small job, never interrupted."""
    return train(replace(small_job, out=tmp_path_factory.mktemp("whole") / "run"))


@pytest.fixture
def run_job(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a job in a process of its own: `run_job(config)`, or `run_job(config, kill_at=step)`."""

    def run(config: TrainConfig, kill_at: int = -1) -> subprocess.CompletedProcess[str]:
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
