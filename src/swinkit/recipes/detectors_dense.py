"""The paper's COCO runs of ATSS and RepPoints v2 (section 4.2, A2.2)."""

from dataclasses import replace

from swinkit.data.object_config import ObjectAugmentConfig
from swinkit.recipes.detection import coco
from swinkit.train.detection_config import DetectConfig, Head

SWIN_TINY = "swin_tiny_patch4_window7_224"


def atss_swin_tiny_3x() -> DetectConfig:
    """COCO, ATSS on Swin-T, 36 epochs; boxes only.

    Paper: Table 2, box AP 47.2 (36M parameters, 215G FLOPs). Measured here: not measured. Hardware: 8 GPUs of
    2 pictures. Its configuration is not published; these are the paper's words.
    Command: swinkit train atss_swin_tiny_3x --data /data/coco --trainer.devices 8
    """
    return _dense("atss", SWIN_TINY, largest=800)


def atss_resnet50_3x() -> DetectConfig:
    """COCO, ATSS on ResNet-50 with AdamW, 36 epochs: the paper's comparison; boxes only.

    Paper: Table 2, box AP 43.5 (32M parameters, 205G FLOPs). Measured here: not measured. Hardware: 8 GPUs of
    2 pictures. Its configuration is not published; these are the paper's words.
    The backbone is trained as in mmdetection: stem and first stage fixed, batch norms with the statistics of
    ImageNet.
    Command: swinkit train atss_resnet50_3x --data /data/coco --trainer.devices 8
    """
    return _dense("atss", "timm/resnet50", largest=800)


def reppoints_v2_swin_tiny_3x() -> DetectConfig:
    """COCO, RepPoints v2 on Swin-T, 36 epochs; boxes only.

    Paper: Table 2, box AP 50.0 (45M parameters, 283G FLOPs). Measured here: not measured. Hardware: 8 GPUs of
    2 pictures. Short sides from 480 to 960 are the published code's (the paper says 800).
    Command: swinkit train reppoints_v2_swin_tiny_3x --data /data/coco --trainer.devices 8
    """
    return _dense("reppoints_v2", SWIN_TINY, largest=960)


def reppoints_v2_resnet50_3x() -> DetectConfig:
    """COCO, RepPoints v2 on ResNet-50 with AdamW, 36 epochs: the paper's comparison; boxes only.

    Paper: Table 2, box AP 46.5 (42M parameters, 274G FLOPs). Measured here: not measured. Hardware: 8 GPUs of
    2 pictures. Its configuration is not published; all but the backbone is as with Swin-T.
    The backbone is trained as in mmdetection: stem and first stage fixed, batch norms with the statistics of
    ImageNet.
    Command: swinkit train reppoints_v2_resnet50_3x --data /data/coco --trainer.devices 8
    """
    return _dense("reppoints_v2", "timm/resnet50", largest=960)


def _dense(head: Head, name: str, *, largest: int) -> DetectConfig:
    """As the paper trains all its detectors, short side from 480 to `largest` in steps of 32 and no parts."""
    config = coco(head, name, drop_path_rate=None if name.startswith("timm/") else 0.2)
    return replace(
        config,
        model=replace(config.model, masks="auto"),
        augment=ObjectAugmentConfig(short_sides=tuple(range(480, largest + 1, 32)), crop_probability=0.0),
    )
