"""Your own pictures, and data sets small enough for a laptop."""

from swinkit.data import AugmentConfig, DataConfig
from swinkit.train.config import ModelOptions, OptimizerConfig, ScheduleConfig, TrainConfig, TrainerConfig


def finetune() -> TrainConfig:
    """Any folder of pictures, one sub-folder a class, from published or local weights, 30 epochs.

    Paper: not in the paper. Measured here: not measured. Hardware: one GPU, or a CPU with patience. Layers
    learn more slowly the nearer they are to the picture, which is kind to small data sets. Without network
    give --pretrained FILE, or --pretrained False to start from scratch.
    Command: swinkit train finetune --data ./flowers --out runs/flowers
    """
    return TrainConfig(
        model=ModelOptions(name="swin_tiny_patch4_window7_224", pretrained=True, drop_path_rate=0.1),
        data=DataConfig(batch_size=32),
        augment=AugmentConfig(scale=(0.3, 1.0), erasing=0.1, mix_probability=0.5),
        optimizer=OptimizerConfig(
            lr=5e-4, lr_base_batch=64, layer_decay=0.8, weight_decay=0.05, clip_norm=1.0
        ),
        schedule=ScheduleConfig(epochs=30, warmup_epochs=2, warmup_lr=1e-6, min_lr=1e-6),
    )


def digits() -> TrainConfig:
    """Handwritten digits of scikit-learn, a tiny Swin Transformer from scratch: the job of the quickstart.

    Paper: not in the paper. Measured here: not measured. Hardware: 2 CPU cores.
    Command: swinkit train digits --out runs/digits
    """
    return TrainConfig(
        model=ModelOptions(
            name="custom",
            img_size=(16, 16),
            patch_size=2,
            window_size=4,
            embed_dim=32,
            depths=(2, 2, 1),
            num_heads=(2, 4, 8),
            position="both",
            drop_path_rate=0.0,
            crop_ratio="whole",
            mean=(0.3, 0.3, 0.3),
            std=(0.35, 0.35, 0.35),
        ),
        data=DataConfig(kind="digits", batch_size=32, workers=0),
        augment=AugmentConfig(
            scale=(0.7, 1.0),
            ratio=(0.85, 1.18),
            hflip=0.0,
            rand_magnitude=0.0,
            color_jitter=0.0,
            erasing=0.0,
            mixup=0.0,
            cutmix=0.0,
            label_smoothing=0.0,
        ),
        optimizer=OptimizerConfig(lr=3e-3, weight_decay=0.05, clip_norm=5.0),
        schedule=ScheduleConfig(epochs=40, warmup_epochs=2, warmup_lr=1e-5, min_lr=1e-5),
        trainer=TrainerConfig(log_every=10),
    )


def cifar10() -> TrainConfig:
    """CIFAR-10 at its own 32 pixels, a small Swin Transformer from scratch, sized for a CPU.

    Paper: not in the paper. Measured here: 67.86 test top-1 from 20,000 of the 50,000 training pictures,
    1,000 of them for validation, in a copy that had been saved as JPEG; see benchmarks/results/cifar10.json.
    Hardware: 2 cores of an AMD EPYC CPU shared with other work; 28 min 57 s of training, 23 epochs.
    Command: swinkit train cifar10 --data ./cifar10/train --out runs/cifar10
    Then: swinkit eval runs/cifar10 --data ./cifar10/test
    """
    return TrainConfig(
        model=ModelOptions(
            name="custom",
            img_size=(32, 32),
            patch_size=2,
            window_size=4,
            embed_dim=32,
            depths=(2, 2, 4),
            num_heads=(2, 4, 8),
            position="both",
            init="xavier",
            drop_path_rate=0.0,
            crop_ratio="whole",
            mean=(0.491, 0.482, 0.447),
            std=(0.247, 0.243, 0.262),
        ),
        data=DataConfig(kind="auto", batch_size=32, val_fraction=0.05),
        augment=AugmentConfig(
            scale=(0.6, 1.0),
            rand_magnitude=0.0,
            color_jitter=0.0,
            erasing=0.0,
            mixup=0.0,
            cutmix=0.0,
            label_smoothing=0.1,
        ),
        optimizer=OptimizerConfig(lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05, clip_norm=5.0),
        schedule=ScheduleConfig(epochs=23, warmup_epochs=1, warmup_lr=1e-5, min_lr=1e-5),
    )
