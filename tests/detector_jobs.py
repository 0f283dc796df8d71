"""A small detection job that the tests change."""

import dataclasses
from pathlib import Path

from swinkit.data.object_config import ObjectAugmentConfig, ObjectDataConfig
from swinkit.train.config import OptimizerConfig, ScheduleConfig, TrainerConfig
from swinkit.train.detection_config import DetectConfig, DetectorOptions, SelectOptions

TINY = DetectorOptions(
    name="custom",
    embed_dim=8,
    depths=(1, 1, 1, 1),
    num_heads=(1, 1, 2, 2),
    window_size=4,
    channels=16,
    fc_channels=32,
    samples=32,
    anchor_scale=4.0,
    short_side=64,
    long_side=96,
)
AUGMENT = ObjectAugmentConfig(short_sides=(56, 64, 72), long_side=96, crop_sides=(64,), crop_range=(48, 64))


def job(data: Path, out: Path, **changes) -> DetectConfig:
    """Two epochs of a tiny detector."""
    config = DetectConfig(
        model=TINY,
        data=ObjectDataConfig(path=data, batch_size=2, workers=0),
        augment=AUGMENT,
        select=SelectOptions(score=0.0, most=20, before_nms=100, proposals=50),
        optimizer=OptimizerConfig(lr=2e-3),
        schedule=ScheduleConfig(epochs=2, warmup_epochs=0, kind="drops", drops=(1,)),
        trainer=TrainerConfig(device="cpu", log_every=1),
        out=out,
    )
    return dataclasses.replace(config, **changes)
