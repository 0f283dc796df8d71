"""Object detection and instance segmentation: the paper's COCO runs (section 4.2, A2.2), your own data, and
two data sets small enough for a laptop."""

from swinkit.data.object_config import ObjectAugmentConfig, ObjectDataConfig
from swinkit.train.config import OptimizerConfig, ScheduleConfig, TrainerConfig
from swinkit.train.detection_config import DetectConfig, DetectorOptions, Head, SelectOptions


def detect() -> DetectConfig:
    """Your own pictures with boxes or outlines (COCO, YOLO or Pascal VOC), from published or local weights.

    Paper: not in the paper. Measured here: not measured. Hardware: one GPU, or a CPU with patience. Masks are
    trained when every object has an outline; --model.masks False trains boxes only. Start from a published
    detector with --pretrained FILE, without network from --pretrained False.
    Command: swinkit train detect --data ./blood --out runs/blood
    """
    return DetectConfig(
        model=DetectorOptions(pretrained=True, drop_path_rate=0.1),
        data=ObjectDataConfig(batch_size=2),
        augment=ObjectAugmentConfig(),
        optimizer=OptimizerConfig(lr=1e-4, lr_base_batch=8, weight_decay=0.05, clip_norm=1.0),
        schedule=ScheduleConfig(
            epochs=24, warmup_epochs=0, warmup_steps=200, warmup_lr=1e-7, kind="drops", drops=(16, 22)
        ),
        trainer=TrainerConfig(sync_batchnorm=True),
    )


def nuclei() -> DetectConfig:
    """Data Science Bowl 2018 nuclei (532 pictures), a small Swin Mask R-CNN from scratch, sized for 2 CPU
    cores.

    Paper: not in the paper. Measured here: mask AP50 83.1, mask AP 55.1 on the 132 validation pictures (at
    most 400 detections each) after 1 h 05 min on one thread of an AMD EPYC CPU; see
    benchmarks/results/nuclei.json. Hardware: 2 CPU cores.
    Nuclei are small, so pictures are seen at twice their size, in random parts of 256 pixels.
    Command: swinkit train nuclei --data ./dsb2018 --out runs/nuclei
    """
    return DetectConfig(
        model=DetectorOptions(
            name="custom",
            embed_dim=32,
            depths=(2, 2, 4, 2),
            num_heads=(1, 2, 4, 8),
            window_size=7,
            drop_path_rate=0.05,
            init="xavier",
            channels=64,
            fc_channels=256,
            anchor_scale=6.0,
            samples=192,
            scale=2.0,
        ),
        data=ObjectDataConfig(batch_size=4),
        augment=ObjectAugmentConfig(ratio=(1.2, 2.8), size=(256, 256), vflip=0.5, color_jitter=0.2),
        select=SelectOptions(most=400, before_nms=2000, proposals=1500),
        optimizer=OptimizerConfig(lr=6e-4, betas=(0.9, 0.95), weight_decay=0.05, clip_norm=1.0),
        schedule=ScheduleConfig(epochs=15, warmup_epochs=1, warmup_lr=1e-6, min_lr=1e-6, kind="cosine"),
        trainer=TrainerConfig(validate_every=15, log_every=20),
    )


def bccd() -> DetectConfig:
    """BCCD blood cells (205 pictures, boxes only), a small Swin Faster R-CNN from scratch, sized for 2 CPU
    cores.

    Paper: not in the paper. Measured here: box AP50 88.6, box AP 52.9 on the 72 test pictures after 21 min
    39 s on one thread of an AMD EPYC CPU; see benchmarks/results/bccd.json. Hardware: 2 CPU cores. Cells are
    large, so pictures are seen at half their size.
    Command: swinkit train bccd --data ./bccd --out runs/bccd
    """
    return DetectConfig(
        model=DetectorOptions(
            name="custom",
            embed_dim=32,
            depths=(2, 2, 4, 2),
            num_heads=(1, 2, 4, 8),
            window_size=7,
            drop_path_rate=0.05,
            init="xavier",
            channels=64,
            fc_channels=256,
            anchor_scale=5.0,
            samples=128,
            short_side=240,
            long_side=360,
        ),
        data=ObjectDataConfig(batch_size=4),
        augment=ObjectAugmentConfig(
            short_sides=(208, 224, 240, 256, 272),
            long_side=384,
            crop_probability=0.5,
            crop_sides=(256, 288),
            crop_range=(176, 272),
            vflip=0.5,
            color_jitter=0.2,
        ),
        optimizer=OptimizerConfig(lr=6e-4, betas=(0.9, 0.95), weight_decay=0.05, clip_norm=1.0),
        schedule=ScheduleConfig(epochs=18, warmup_epochs=1, warmup_lr=1e-6, min_lr=1e-6, kind="cosine"),
        trainer=TrainerConfig(validate_every=9, log_every=20),
    )


def mask_rcnn_swin_tiny_1x() -> DetectConfig:
    """COCO, Mask R-CNN on Swin-T, 12 epochs.

    Published code: box AP 43.7, mask AP 39.8 (48M parameters, 267G FLOPs). Measured here: not measured.
    Hardware: 8 GPUs of 2 pictures.
    Command: swinkit train mask_rcnn_swin_tiny_1x --data /data/coco --trainer.devices 8
    """
    return coco("mask_rcnn", "swin_tiny_patch4_window7_224", drop_path_rate=0.1, epochs=12)


def mask_rcnn_swin_tiny_3x() -> DetectConfig:
    """COCO, Mask R-CNN on Swin-T, 36 epochs.

    Published code: box AP 46.0, mask AP 41.6. Measured here: not measured. Hardware: 8 GPUs of 2 pictures.
    Command: swinkit train mask_rcnn_swin_tiny_3x --data /data/coco --trainer.devices 8
    """
    return coco("mask_rcnn", "swin_tiny_patch4_window7_224", drop_path_rate=0.2)


def mask_rcnn_swin_small_3x() -> DetectConfig:
    """COCO, Mask R-CNN on Swin-S, 36 epochs.

    Published code: box AP 48.5, mask AP 43.3 (69M parameters, 359G FLOPs). Measured here: not measured.
    Hardware: 8 GPUs of 2 pictures.
    Command: swinkit train mask_rcnn_swin_small_3x --data /data/coco --trainer.devices 8
    """
    return coco("mask_rcnn", "swin_small_patch4_window7_224", drop_path_rate=0.2)


def cascade_mask_rcnn_swin_tiny_1x() -> DetectConfig:
    """COCO, Cascade Mask R-CNN on Swin-T, 12 epochs.

    Published code: box AP 48.1, mask AP 41.7, without stochastic depth. Measured here: not measured.
    Hardware: 8 GPUs of 2 pictures.
    Command: swinkit train cascade_mask_rcnn_swin_tiny_1x --data /data/coco --trainer.devices 8
    """
    return coco("cascade_mask_rcnn", "swin_tiny_patch4_window7_224", drop_path_rate=0.0, epochs=12)


def cascade_mask_rcnn_swin_tiny_3x() -> DetectConfig:
    """COCO, Cascade Mask R-CNN on Swin-T, 36 epochs.

    Paper: Table 2, box AP 50.5, mask AP 43.7 (86M parameters, 745G FLOPs). Measured here: not measured.
    Hardware: 8 GPUs of 2 pictures.
    Command: swinkit train cascade_mask_rcnn_swin_tiny_3x --data /data/coco --trainer.devices 8
    """
    return coco("cascade_mask_rcnn", "swin_tiny_patch4_window7_224", drop_path_rate=0.2)


def cascade_mask_rcnn_swin_small_3x() -> DetectConfig:
    """COCO, Cascade Mask R-CNN on Swin-S, 36 epochs.

    Paper: Table 2, box AP 51.8, mask AP 44.7 (107M parameters, 838G FLOPs). Measured here: not measured.
    Hardware: 8 GPUs of 2 pictures.
    Command: swinkit train cascade_mask_rcnn_swin_small_3x --data /data/coco --trainer.devices 8
    """
    return coco("cascade_mask_rcnn", "swin_small_patch4_window7_224", drop_path_rate=0.2)


def cascade_mask_rcnn_swin_base_3x() -> DetectConfig:
    """COCO, Cascade Mask R-CNN on Swin-B, 36 epochs.

    Paper: Table 2, box AP 51.9, mask AP 45.0 (145M parameters, 982G FLOPs). Measured here: not measured.
    Hardware: 8 GPUs of 2 pictures. Stochastic depth 0.3 is the published code's (the paper says 0.2).
    Command: swinkit train cascade_mask_rcnn_swin_base_3x --data /data/coco --trainer.devices 8
    """
    return coco("cascade_mask_rcnn", "swin_base_patch4_window7_224", drop_path_rate=0.3)


def cascade_mask_rcnn_resnet50_3x() -> DetectConfig:
    """COCO, Cascade Mask R-CNN on ResNet-50 with AdamW, 36 epochs: the paper's comparison.

    Paper: Table 2, box AP 46.3, mask AP 40.1 (82M parameters, 739G FLOPs). Measured here: not measured.
    Hardware: 8 GPUs of 2 pictures.
    The backbone is trained as in mmdetection: stem and first stage fixed, batch norms with the statistics of
    ImageNet.
    Command: swinkit train cascade_mask_rcnn_resnet50_3x --data /data/coco --trainer.devices 8
    """
    return coco("cascade_mask_rcnn", "timm/resnet50", drop_path_rate=None)


def coco(
    head: Head,
    name: str,
    *,
    drop_path_rate: float | None,
    epochs: int = 36,
) -> DetectConfig:
    """A2.2: AdamW 1e-4, decay 0.05, 16 pictures a step, a tenth after epochs 27 and 33 (of 36) or 8 and 11
    (of 12), 500 steps of warm-up. Pictures without objects are not trained on. As in the published code,
    biases and batch norms have weight decay, layer norms and position tables none. ResNets are trained as
    mmdetection trains them: stem and first stage fixed, all their batch norms with the statistics of
    ImageNet."""
    resnet = name.startswith("timm/")
    pretrained = True if resnet else f"{name}.ms_in1k"
    return DetectConfig(
        model=DetectorOptions(
            name=name,
            head=head,
            masks=True,
            pretrained=pretrained,
            drop_path_rate=drop_path_rate,
            freeze_stages=2 if resnet else 0,
            norm_eval=resnet,
        ),
        data=ObjectDataConfig(kind="coco", batch_size=2, keep_empty=False, bad="skip"),
        augment=ObjectAugmentConfig(),
        optimizer=OptimizerConfig(
            lr=1e-4, lr_base_batch=16, weight_decay=0.05, no_decay="layer_norms", clip_norm=None
        ),
        schedule=ScheduleConfig(
            epochs=epochs,
            warmup_epochs=0,
            warmup_steps=500,
            warmup_lr=1e-7,
            kind="drops",
            drops=(27, 33) if epochs == 36 else (8, 11),
        ),
        trainer=TrainerConfig(sync_batchnorm=True, log_every=50),
    )
