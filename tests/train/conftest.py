"""A job small enough to run whole in a test, and the run that all interrupted ones must equal."""

from dataclasses import replace

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
