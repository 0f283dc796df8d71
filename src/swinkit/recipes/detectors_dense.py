"""The paper's COCO runs of ATSS and RepPoints v2 (section 4.2, A2.2)."""

from swinkit.data.object_config import ObjectAugmentConfig, ObjectDataConfig
from swinkit.detection.published_dense import DENSE_SELECT
from swinkit.train.config import OptimizerConfig, ScheduleConfig, TrainerConfig
from swinkit.train.detection_config import DetectConfig, DetectorOptions, Head

SWIN_TINY = "swin_tiny_patch4_window7_224"


def atss_swin_tiny_3x() -> DetectConfig:
    """COCO, ATSS on Swin-T, 36 epochs; boxes only.

    Paper: Table 2, box AP 47.2 (36M parameters, 215G FLOPs). Measured here: not measured. Hardware: 8 GPUs of
    2 pictures. Its configuration is not published; these are the paper's words.
    Command: swinkit train atss_swin_tiny_3x --data /data/coco --trainer.devices 8
    """
    return _coco("atss", SWIN_TINY, largest=800)


def atss_resnet50_3x() -> DetectConfig:
    """COCO, ATSS on ResNet-50 with AdamW, 36 epochs: the paper's comparison; boxes only.

    Paper: Table 2, box AP 43.5 (32M parameters, 205G FLOPs). Measured here: not measured. Hardware: 8 GPUs of
    2 pictures. Its configuration is not published; these are the paper's words.
    Command: swinkit train atss_resnet50_3x --data /data/coco --trainer.devices 8
    """
    return _coco("atss", "timm/resnet50", largest=800)


def reppoints_v2_swin_tiny_3x() -> DetectConfig:
    """COCO, RepPoints v2 on Swin-T, 36 epochs; boxes only.

    Paper: Table 2, box AP 50.0 (45M parameters, 283G FLOPs). Measured here: not measured. Hardware: 8 GPUs of
    2 pictures. Short sides from 480 to 960 are the published code's (the paper says 800).
    Command: swinkit train reppoints_v2_swin_tiny_3x --data /data/coco --trainer.devices 8
    """
    return _coco("reppoints_v2", SWIN_TINY, largest=960)


def reppoints_v2_resnet50_3x() -> DetectConfig:
    """COCO, RepPoints v2 on ResNet-50 with AdamW, 36 epochs: the paper's comparison; boxes only.

    Paper: Table 2, box AP 46.5 (42M parameters, 274G FLOPs). Measured here: not measured. Hardware: 8 GPUs of
    2 pictures. Its configuration is not published; all but the backbone is as with Swin-T.
    Command: swinkit train reppoints_v2_resnet50_3x --data /data/coco --trainer.devices 8
    """
    return _coco("reppoints_v2", "timm/resnet50", largest=960)


def _coco(head: Head, name: str, *, largest: int) -> DetectConfig:
    """A2.2: AdamW 1e-4, decay 0.05, 16 pictures a step, a tenth after epochs 27 and 33 of 36, 500 steps of
    warm-up, short side from 480 to `largest` in steps of 32 and no parts. Pictures without objects are not
    trained on. As in the published code, biases and the norms of the heads have weight decay, layer norms and
    position tables none."""
    timm = name.startswith("timm/")
    return DetectConfig(
        model=DetectorOptions(
            name=name,
            head=head,
            pretrained=True if timm else f"{name}.ms_in1k",
            drop_path_rate=None if timm else 0.2,
        ),
        data=ObjectDataConfig(kind="coco", batch_size=2, keep_empty=False, bad="skip"),
        augment=ObjectAugmentConfig(short_sides=tuple(range(480, largest + 1, 32)), crop_probability=0.0),
        select=DENSE_SELECT,
        optimizer=OptimizerConfig(
            lr=1e-4, lr_base_batch=16, weight_decay=0.05, no_decay="layer_norms", clip_norm=None
        ),
        schedule=ScheduleConfig(
            epochs=36, warmup_epochs=0, warmup_steps=500, warmup_lr=1e-7, kind="drops", drops=(27, 33)
        ),
        trainer=TrainerConfig(sync_batchnorm=True, log_every=50),
    )
