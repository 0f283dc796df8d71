"""Table 4: shifted windows and position information, each on Swin-T from scratch; Table 10: Swin-Mixer."""

from swinkit.recipes.common import imagenet1k
from swinkit.train.config import TrainConfig

_TINY = "swin_tiny_patch4_window7_224"


def swin_tiny_no_shift() -> TrainConfig:
    """Swin-T without shifting, on ImageNet-1K.

    Paper: Table 4, 80.2 top-1, 95.1 top-5 (with shifting 81.3 and 95.6). Measured here: not measured.
    Hardware: 8 GPUs x 128 pictures; hours not measured.
    Command: swinkit train swin_tiny_no_shift --data IMAGENET --trainer.devices 8
    """
    return imagenet1k(_TINY, drop_path_rate=0.2, shift=False)


def swin_tiny_no_position() -> TrainConfig:
    """Swin-T without any position information, on ImageNet-1K.

    Paper: Table 4, 80.1 top-1, 94.9 top-5. Measured here: not measured.
    Hardware: 8 GPUs x 128 pictures; hours not measured.
    Command: swinkit train swin_tiny_no_position --data IMAGENET --trainer.devices 8
    """
    return imagenet1k(_TINY, drop_path_rate=0.2, position="none")


def swin_tiny_absolute_position() -> TrainConfig:
    """Swin-T with an absolute position embedding alone, on ImageNet-1K.

    Paper: Table 4, 80.5 top-1, 95.2 top-5. Measured here: not measured.
    Hardware: 8 GPUs x 128 pictures; hours not measured.
    Command: swinkit train swin_tiny_absolute_position --data IMAGENET --trainer.devices 8
    """
    return imagenet1k(_TINY, drop_path_rate=0.2, position="absolute")


def swin_tiny_both_positions() -> TrainConfig:
    """Swin-T with absolute and relative position information, on ImageNet-1K.

    Paper: Table 4, 81.3 top-1, 95.6 top-5. Measured here: not measured.
    Hardware: 8 GPUs x 128 pictures; hours not measured.
    Command: swinkit train swin_tiny_both_positions --data IMAGENET --trainer.devices 8
    """
    return imagenet1k(_TINY, drop_path_rate=0.2, position="both")


def swin_tiny_no_appearance() -> TrainConfig:
    """Swin-T whose attention is the softmax of the position bias alone, on ImageNet-1K.

    Paper: Table 4, 79.3 top-1, 94.7 top-5. Measured here: not measured.
    Hardware: 8 GPUs x 128 pictures; hours not measured.
    Command: swinkit train swin_tiny_no_appearance --data IMAGENET --trainer.devices 8
    """
    return imagenet1k(_TINY, drop_path_rate=0.2, position="relative_without_appearance")


def swin_tiny_d24_imagenet1k() -> TrainConfig:
    """Swin-T with 24 channels a head at 256 pixels, the transformer beside Swin-Mixer, on ImageNet-1K.

    Paper: Table 10, 81.6 top-1. Measured here: not measured.
    Hardware: 8 GPUs x 128 pictures; hours not measured.
    Command: swinkit train swin_tiny_d24_imagenet1k --data IMAGENET --trainer.devices 8
    """
    return imagenet1k("swin_tiny_c24_patch4_window8_256", drop_path_rate=0.2)


def swin_mixer_tiny_d24_imagenet1k() -> TrainConfig:
    """Swin-Mixer-T/D24 at 256 pixels on ImageNet-1K.

    Paper: Table 10, 79.4 top-1. Measured here: not measured.
    Hardware: 8 GPUs x 128 pictures; hours not measured.
    Command: swinkit train swin_mixer_tiny_d24_imagenet1k --data IMAGENET --trainer.devices 8
    """
    return imagenet1k("swin_mlp_tiny_c24_patch4_window8_256", drop_path_rate=0.2)


def swin_mixer_tiny_d12_imagenet1k() -> TrainConfig:
    """Swin-Mixer-T/D12 at 256 pixels on ImageNet-1K.

    Paper: Table 10, 79.6 top-1. Measured here: not measured.
    Hardware: 8 GPUs x 128 pictures; hours not measured.
    Command: swinkit train swin_mixer_tiny_d12_imagenet1k --data IMAGENET --trainer.devices 8
    """
    return imagenet1k("swin_mlp_tiny_c12_patch4_window8_256", drop_path_rate=0.2)


def swin_mixer_tiny_d6_imagenet1k() -> TrainConfig:
    """Swin-Mixer-T/D6 at 256 pixels on ImageNet-1K.

    Paper: Table 10, 79.7 top-1. Measured here: not measured.
    Hardware: 8 GPUs x 128 pictures; hours not measured.
    Command: swinkit train swin_mixer_tiny_d6_imagenet1k --data IMAGENET --trainer.devices 8
    """
    return imagenet1k("swin_mlp_tiny_c6_patch4_window8_256", drop_path_rate=0.2)


def swin_mixer_base_d24_imagenet1k() -> TrainConfig:
    """Swin-Mixer-B/D24 at 224 pixels on ImageNet-1K.

    Paper: Table 10, 81.3 top-1. Measured here: not measured.
    Hardware: 16 GPUs x 64 pictures; hours not measured.
    Command: swinkit train swin_mixer_base_d24_imagenet1k --data IMAGENET --trainer.devices 8
    --trainer.num-nodes 2
    """
    return imagenet1k("swin_mlp_base_patch4_window7_224", drop_path_rate=0.5, batch_size=64)


def swin_mixer_base_d24_no_shift() -> TrainConfig:
    """Swin-Mixer-B/D24 without shifting, at 224 pixels on ImageNet-1K.

    Paper: Table 10, 80.3 top-1. Measured here: not measured.
    Hardware: 16 GPUs x 64 pictures; hours not measured.
    Command: swinkit train swin_mixer_base_d24_no_shift --data IMAGENET --trainer.devices 8
    --trainer.num-nodes 2
    """
    return imagenet1k("swin_mlp_base_patch4_window7_224", drop_path_rate=0.5, batch_size=64, shift=False)
