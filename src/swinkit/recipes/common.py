"""The two settings that most recipes of the paper share."""

from swinkit.backbones.config import Position
from swinkit.data import AugmentConfig, DataConfig
from swinkit.train.config import ModelOptions, OptimizerConfig, ScheduleConfig, TrainConfig


def imagenet1k(
    name: str,
    *,
    drop_path_rate: float,
    batch_size: int = 128,
    position: Position | None = None,
    shift: bool | None = None,
) -> TrainConfig:
    """ImageNet-1K from scratch: 300 epochs, learning rate 1e-3 at 1,024 pictures a step (A2.1).

    As in the published code the numbers below are for 512 pictures, and the ends of the schedule scale as the
    peak does: at 1,024 pictures it runs from 1e-6 to 1e-3 to 1e-5.

    Args:
        name: variant.
        drop_path_rate: of the last block.
        batch_size: pictures a GPU.
        position: of Table 4.
        shift: of Table 4.
    """
    return TrainConfig(
        model=ModelOptions(name=name, drop_path_rate=drop_path_rate, position=position, shift=shift),
        data=DataConfig(batch_size=batch_size),
        augment=AugmentConfig(),
        optimizer=OptimizerConfig(lr=5e-4, lr_base_batch=512, weight_decay=0.05, clip_norm=5.0),
        schedule=ScheduleConfig(epochs=300, warmup_epochs=20, warmup_lr=5e-7, min_lr=5e-6),
    )


def fine_tune(
    name: str,
    pretrained: str,
    *,
    drop_path_rate: float,
    batch_size: int = 128,
    img_size: tuple[int, int] | None = None,
    window_size: int | None = None,
) -> TrainConfig:
    """ImageNet-1K from pre-trained weights: 30 epochs, learning rate 4e-5 at 1,024 pictures a step (A2.1).

    Args:
        name: variant.
        pretrained: published checkpoint to start from, with its tag: a bare name often means 22K weights.
        drop_path_rate: of the last block.
        batch_size: pictures a GPU.
        img_size: (height, width) in pixels, if not the variant's.
        window_size: tokens a side, if not the variant's.
    """
    return TrainConfig(
        model=ModelOptions(
            name=name,
            pretrained=pretrained,
            drop_path_rate=drop_path_rate,
            img_size=img_size,
            window_size=window_size,
        ),
        data=DataConfig(batch_size=batch_size),
        augment=AugmentConfig(),
        optimizer=OptimizerConfig(lr=2e-5, lr_base_batch=512, weight_decay=1e-8),
        schedule=ScheduleConfig(epochs=30, warmup_epochs=5, warmup_lr=2e-8, min_lr=2e-7),
    )
