"""ImageNet: from scratch, pre-training on ImageNet-22K, and fine-tuning (section 4.1, A2.1).

Where the paper and the published code differ, these follow the published code, which the published
checkpoints come from; the cards say what the paper has. Learning rates, those of warm-up and end included,
scale with the batch, so any number of GPUs will do.
"""

from swinkit.data import AugmentConfig, DataConfig
from swinkit.recipes.common import fine_tune, imagenet1k
from swinkit.train.config import ModelOptions, OptimizerConfig, ScheduleConfig, TrainConfig


def swin_tiny_imagenet1k() -> TrainConfig:
    """Swin-T on ImageNet-1K from scratch, 300 epochs.

    Paper: Table 1a, 81.3 top-1 (published checkpoint 81.2). Measured here: not measured.
    Hardware: 8 GPUs x 128 pictures; hours not measured.
    Learning rate: at 1,024 pictures a step 1e-6 warmed up to 1e-3 and down to 1e-5, as the published code has
    it, which scales 5e-7, 5e-4 and 5e-6 at 512 pictures all alike; read unscaled, the ends are 5e-7 and 5e-6.
    The paper clips gradients to 1, the published code to 5.
    Command: swinkit train swin_tiny_imagenet1k --data IMAGENET --trainer.devices 8
    """
    return imagenet1k("swin_tiny_patch4_window7_224", drop_path_rate=0.2)


def swin_small_imagenet1k() -> TrainConfig:
    """Swin-S on ImageNet-1K from scratch, 300 epochs.

    Paper: Table 1a, 83.0 top-1 (published checkpoint 83.2). Measured here: not measured.
    Hardware: 8 GPUs x 128 pictures; hours not measured.
    Learning rate: at 1,024 pictures a step from 1e-6 to 1e-3 to 1e-5; see the card of swin_tiny_imagenet1k.
    Command: swinkit train swin_small_imagenet1k --data IMAGENET --trainer.devices 8
    """
    return imagenet1k("swin_small_patch4_window7_224", drop_path_rate=0.3)


def swin_base_imagenet1k() -> TrainConfig:
    """Swin-B on ImageNet-1K from scratch, 300 epochs.

    Paper: Table 1a, 83.5 top-1 (published checkpoint 83.5). Measured here: not measured.
    Hardware: 16 GPUs x 64 pictures; hours not measured.
    Learning rate: at 1,024 pictures a step from 1e-6 to 1e-3 to 1e-5; see the card of swin_tiny_imagenet1k.
    Command: swinkit train swin_base_imagenet1k --data IMAGENET --trainer.devices 8 --trainer.num-nodes 2
    """
    return imagenet1k("swin_base_patch4_window7_224", drop_path_rate=0.5, batch_size=64)


def swin_tiny_imagenet22k() -> TrainConfig:
    """Swin-T pre-training on ImageNet-22K, 90 epochs.

    Paper: not in the paper; the published checkpoint reaches 80.9 after fine-tuning.
    Measured here: not measured.
    Hardware: 32 GPUs x 128 pictures; hours not measured.
    Command: swinkit train swin_tiny_imagenet22k --data IMAGENET22K --trainer.devices 8 --trainer.num-nodes 4
    """
    return _imagenet22k("swin_tiny_patch4_window7_224", drop_path_rate=0.1)


def swin_small_imagenet22k() -> TrainConfig:
    """Swin-S pre-training on ImageNet-22K, 90 epochs.

    Paper: not in the paper; the published checkpoint reaches 83.2 after fine-tuning.
    Measured here: not measured.
    Hardware: 32 GPUs x 128 pictures; hours not measured.
    Command: swinkit train swin_small_imagenet22k --data IMAGENET22K --trainer.devices 8 --trainer.num-nodes 4
    """
    return _imagenet22k("swin_small_patch4_window7_224", drop_path_rate=0.2)


def swin_base_imagenet22k() -> TrainConfig:
    """Swin-B pre-training on ImageNet-22K, 90 epochs.

    Paper: Table 1b, 85.2 top-1 on ImageNet-1K after fine-tuning. Measured here: not measured. The paper has
    weight decay 0.01 and linear decay of the learning rate, the published code 0.05 and cosine.
    Hardware: 32 GPUs x 128 pictures; hours not measured.
    Command: swinkit train swin_base_imagenet22k --data IMAGENET22K --trainer.devices 8 --trainer.num-nodes 4
    """
    return _imagenet22k("swin_base_patch4_window7_224", drop_path_rate=0.2)


def swin_large_imagenet22k() -> TrainConfig:
    """Swin-L pre-training on ImageNet-22K, 90 epochs.

    Paper: Table 1b, 86.3 at 224 pixels (published checkpoint) and 87.3 at 384 after fine-tuning.
    Measured here: not measured.
    Hardware: 64 GPUs x 64 pictures; hours not measured.
    Command: swinkit train swin_large_imagenet22k --data IMAGENET22K --trainer.devices 8 --trainer.num-nodes 8
    """
    return _imagenet22k("swin_large_patch4_window7_224", drop_path_rate=0.2, batch_size=64)


def swin_tiny_22k_to_1k() -> TrainConfig:
    """Swin-T from ImageNet-22K to ImageNet-1K at 224 pixels, 30 epochs.

    Published code: 80.9 top-1. Measured here: not measured.
    Hardware: 8 GPUs x 128 pictures; hours not measured.
    Command: swinkit train swin_tiny_22k_to_1k --data IMAGENET --trainer.devices 8
    """
    return fine_tune(
        "swin_tiny_patch4_window7_224", "swin_tiny_patch4_window7_224.ms_in22k", drop_path_rate=0.1
    )


def swin_small_22k_to_1k() -> TrainConfig:
    """Swin-S from ImageNet-22K to ImageNet-1K at 224 pixels, 30 epochs.

    Published code: 83.2 top-1. Measured here: not measured.
    Hardware: 8 GPUs x 128 pictures; hours not measured.
    Command: swinkit train swin_small_22k_to_1k --data IMAGENET --trainer.devices 8
    """
    return fine_tune(
        "swin_small_patch4_window7_224", "swin_small_patch4_window7_224.ms_in22k", drop_path_rate=0.2
    )


def swin_base_22k_to_1k() -> TrainConfig:
    """Swin-B from ImageNet-22K to ImageNet-1K at 224 pixels, 30 epochs.

    Paper: Table 1b, 85.2 top-1. Measured here: not measured. The paper has a constant learning rate of 1e-5.
    Hardware: 16 GPUs x 64 pictures; hours not measured.
    Command: swinkit train swin_base_22k_to_1k --data IMAGENET --trainer.devices 8 --trainer.num-nodes 2
    """
    return fine_tune(
        "swin_base_patch4_window7_224",
        "swin_base_patch4_window7_224.ms_in22k",
        drop_path_rate=0.2,
        batch_size=64,
    )


def swin_large_22k_to_1k() -> TrainConfig:
    """Swin-L from ImageNet-22K to ImageNet-1K at 224 pixels, 30 epochs.

    Published code: 86.3 top-1. Measured here: not measured.
    Hardware: 16 GPUs x 64 pictures; hours not measured.
    Command: swinkit train swin_large_22k_to_1k --data IMAGENET --trainer.devices 8 --trainer.num-nodes 2
    """
    return fine_tune(
        "swin_large_patch4_window7_224",
        "swin_large_patch4_window7_224.ms_in22k",
        drop_path_rate=0.2,
        batch_size=64,
    )


def swin_base_384_22k_to_1k() -> TrainConfig:
    """Swin-B from ImageNet-22K to ImageNet-1K at 384 pixels, window 12, 30 epochs.

    Paper: Table 1b, 86.4 top-1. Measured here: not measured.
    Hardware: 16 GPUs x 64 pictures; hours not measured.
    Command: swinkit train swin_base_384_22k_to_1k --data IMAGENET --trainer.devices 8 --trainer.num-nodes 2
    """
    return fine_tune(
        "swin_base_patch4_window12_384",
        "swin_base_patch4_window12_384.ms_in22k",
        drop_path_rate=0.2,
        batch_size=64,
    )


def swin_large_384_22k_to_1k() -> TrainConfig:
    """Swin-L from ImageNet-22K to ImageNet-1K at 384 pixels, window 12, 30 epochs.

    Paper: Table 1b, 87.3 top-1. Measured here: not measured.
    Hardware: 32 GPUs x 32 pictures; hours not measured.
    Command: swinkit train swin_large_384_22k_to_1k --data IMAGENET --trainer.devices 8 --trainer.num-nodes 4
    """
    return fine_tune(
        "swin_large_patch4_window12_384",
        "swin_large_patch4_window12_384.ms_in22k",
        drop_path_rate=0.2,
        batch_size=32,
    )


def swin_tiny_384() -> TrainConfig:
    """Swin-T from 224 to 384 pixels, window 12, on ImageNet-1K, 30 epochs.

    Paper: Table 8, 82.2 top-1. Measured here: not measured.
    Hardware: 8 GPUs x 128 pictures; hours not measured.
    Other sizes of Table 8: --model.img-size 256 256 --model.window-size 8, or 320 320 and 10 (81.6 and 82.1).
    Command: swinkit train swin_tiny_384 --data IMAGENET --trainer.devices 8
    """
    return fine_tune(
        "swin_tiny_patch4_window7_224",
        "swin_tiny_patch4_window7_224.ms_in1k",
        drop_path_rate=0.2,
        img_size=(384, 384),
        window_size=12,
    )


def swin_small_384() -> TrainConfig:
    """Swin-S from 224 to 384 pixels, window 12, on ImageNet-1K, 30 epochs.

    Paper: Table 8, 83.9 top-1. Measured here: not measured.
    Hardware: 16 GPUs x 64 pictures; hours not measured.
    Other sizes of Table 8: --model.img-size 256 256 --model.window-size 8, or 320 320 and 10 (83.4 and 83.7).
    Command: swinkit train swin_small_384 --data IMAGENET --trainer.devices 8 --trainer.num-nodes 2
    """
    return fine_tune(
        "swin_small_patch4_window7_224",
        "swin_small_patch4_window7_224.ms_in1k",
        drop_path_rate=0.3,
        batch_size=64,
        img_size=(384, 384),
        window_size=12,
    )


def swin_base_384() -> TrainConfig:
    """Swin-B from 224 to 384 pixels, window 12, on ImageNet-1K, 30 epochs.

    Paper: Tables 1a and 8, 84.5 top-1. Measured here: not measured. Drop path is the published code's 0.5;
    the paper has 0.1. Other sizes of Table 8: --model.img-size 256 256 --model.window-size 8, or 320 320 and
    10 (83.7 and 84.0).
    Hardware: 16 GPUs x 64 pictures; hours not measured.
    Command: swinkit train swin_base_384 --data IMAGENET --trainer.devices 8 --trainer.num-nodes 2
    """
    return fine_tune(
        "swin_base_patch4_window12_384",
        "swin_base_patch4_window7_224.ms_in1k",
        drop_path_rate=0.5,
        batch_size=64,
    )


def _imagenet22k(name: str, *, drop_path_rate: float, batch_size: int = 128) -> TrainConfig:
    return TrainConfig(
        model=ModelOptions(name=name, drop_path_rate=drop_path_rate),
        data=DataConfig(batch_size=batch_size),
        augment=AugmentConfig(),
        optimizer=OptimizerConfig(lr=1.25e-4, lr_base_batch=512, weight_decay=0.05),
        schedule=ScheduleConfig(epochs=90, warmup_epochs=5, warmup_lr=1.25e-7, min_lr=1.25e-6),
    )
