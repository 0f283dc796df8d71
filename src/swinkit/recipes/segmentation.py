"""Semantic segmentation: the paper's ADE20K runs (section 4.3, A2.3), your own masks, and CamVid on a
laptop."""

from swinkit.data.mask_config import MaskAugmentConfig, MaskDataConfig
from swinkit.segmentation.config import InferenceConfig, LossConfig
from swinkit.train.config import OptimizerConfig, ScheduleConfig, TrainerConfig
from swinkit.train.segmentation_config import SegmentConfig, SegmenterOptions


def segment() -> SegmentConfig:
    """Your own pictures with masks, from published or local weights, 60 epochs.

    Paper: not in the paper. Measured here: not measured. Hardware: one GPU, or a CPU with patience. Rare
    classes count more in the cross-entropy, and Dice counts all alike, so that they are learned too. Without
    network give --pretrained FILE, or --pretrained False to start from scratch (then take ten times the
    epochs).
    Command: swinkit train segment --data ./roads --out runs/roads
    """
    return SegmentConfig(
        model=SegmenterOptions(pretrained=True, drop_path_rate=0.2),
        data=MaskDataConfig(batch_size=8),
        augment=MaskAugmentConfig(),
        loss=LossConfig(class_weights="counted", dice=1.0),
        inference=InferenceConfig(),
        optimizer=OptimizerConfig(lr=1e-4, weight_decay=0.01, clip_norm=1.0),
        schedule=ScheduleConfig(epochs=60, warmup_epochs=2, warmup_lr=1e-7, min_lr=0.0, kind="linear"),
        trainer=TrainerConfig(sync_batchnorm=True),
    )


def camvid() -> SegmentConfig:
    """CamVid (367 pictures, 11 classes), a small Swin UperNet from scratch, sized for 2 CPU cores.

    Paper: not in the paper. Measured here: 44.8 test mIoU (45.4 at three sizes and mirrored; 55.5 in
    validation, a drive more like those of the training) after 55 min on two threads of an AMD EPYC CPU; see
    benchmarks/results/camvid.json.
    Hardware: 2 CPU cores. Pictures are seen at 0.4 to 1 times their size, which shows the model twice as many
    of them in the time, and read at 0.75.
    Command: swinkit train camvid --data ./camvid --out runs/camvid
    """
    return SegmentConfig(
        model=SegmenterOptions(
            name="custom",
            embed_dim=48,
            depths=(2, 2, 4, 2),
            num_heads=(2, 4, 8, 16),
            window_size=7,
            drop_path_rate=0.05,
            init="xavier",
            channels=64,
            auxiliary_channels=64,
        ),
        data=MaskDataConfig(batch_size=8),
        augment=MaskAugmentConfig(crop=(176, 240), ratio=(0.4, 1.0)),
        loss=LossConfig(class_weights="counted", counted_power=0.5, dice=0.5),
        inference=InferenceConfig(crop=(176, 240), stride=(120, 160), short_side=270),
        optimizer=OptimizerConfig(lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05, clip_norm=1.0),
        schedule=ScheduleConfig(epochs=50, warmup_epochs=2, warmup_lr=1e-5, min_lr=1e-6, kind="cosine"),
        trainer=TrainerConfig(validate_every=10, log_every=20),
    )


def upernet_swin_tiny_ade20k() -> SegmentConfig:
    """ADE20K, UperNet on Swin-T at 512 pixels, 160,000 steps of 16 pictures.

    Paper: Table 3, 46.1 mIoU with scales and mirrors (published checkpoint 44.51, 45.81 with scales and
        mirrors).
    Measured here: not measured. Hardware: 8 GPUs of 2 pictures, or fewer with --trainer.accumulate.
    Command: swinkit train upernet_swin_tiny_ade20k --data /data/ADEChallengeData2016 --trainer.devices 8
    """
    return _ade20k("swin_tiny_patch4_window7_224", pretrained="swin_tiny_patch4_window7_224.ms_in1k")


def upernet_swin_small_ade20k() -> SegmentConfig:
    """ADE20K, UperNet on Swin-S at 512 pixels, 160,000 steps of 16 pictures.

    Paper: Table 3, 49.3 mIoU with scales and mirrors (published checkpoint 47.64, 49.47 with scales and
        mirrors).
    Measured here: not measured. Hardware: 8 GPUs of 2 pictures.
    Command: swinkit train upernet_swin_small_ade20k --data /data/ADEChallengeData2016 --trainer.devices 8
    """
    return _ade20k("swin_small_patch4_window7_224", pretrained="swin_small_patch4_window7_224.ms_in1k")


def upernet_swin_base_ade20k() -> SegmentConfig:
    """ADE20K, UperNet on Swin-B (22K weights) at 640 pixels, 160,000 steps of 16 pictures.

    Paper: Table 3, 51.6 mIoU with scales and mirrors (published code 50.04, 51.66 with scales and mirrors).
    Measured here: not measured. Hardware: 8 GPUs of 2 pictures.
    Command: swinkit train upernet_swin_base_ade20k --data /data/ADEChallengeData2016 --trainer.devices 8
    """
    return _ade20k(
        "swin_base_patch4_window7_224", pretrained="swin_base_patch4_window7_224.ms_in22k", crop=640
    )


def upernet_swin_large_ade20k() -> SegmentConfig:
    """ADE20K, UperNet on Swin-L (22K weights) at 640 pixels, 160,000 steps of 16 pictures.

    Paper: Table 3, 53.5 mIoU with scales and mirrors (published code 52.05, 53.53 with scales and mirrors).
    Measured here: not measured. Hardware: 8 GPUs of 2 pictures.
    Command: swinkit train upernet_swin_large_ade20k --data /data/ADEChallengeData2016 --trainer.devices 8
    """
    return _ade20k(
        "swin_large_patch4_window7_224", pretrained="swin_large_patch4_window7_224.ms_in22k", crop=640
    )


def upernet_deit_small_ade20k() -> SegmentConfig:
    """ADE20K, UperNet on DeiT-S with a pyramid by deconvolution, the paper's comparison.

    Paper: Table 3, 44.0 mIoU. Measured here: not measured. Hardware: 8 GPUs of 2 pictures. The paper does
        not give
    the layers of its deconvolution; ours make it 53.5 M parameters, not its 52 M.
    Command: swinkit train upernet_deit_small_ade20k --data /data/ADEChallengeData2016 --trainer.devices 8
    """
    return _ade20k("deit_small_patch16_224")


def _ade20k(name: str, *, pretrained: bool | str = True, crop: int = 512) -> SegmentConfig:
    """A2.3: AdamW 6e-5, decay 0.01, 1,500 steps of warm-up, then linear to 0; pictures resized into 4 x 1
    crops, times 0.5 to 2. Stochastic depth 0.3 is the published code's (the paper says 0.2)."""
    return SegmentConfig(
        model=SegmenterOptions(name=name, pretrained=pretrained, drop_path_rate=0.3),
        data=MaskDataConfig(kind="ade20k", batch_size=2),
        augment=MaskAugmentConfig(crop=(crop, crop), short_side=crop, long_side=4 * crop),
        loss=LossConfig(mean_over="all"),
        inference=InferenceConfig(
            crop=(crop, crop), stride=(crop * 2 // 3, crop * 2 // 3), short_side=crop, long_side=4 * crop
        ),
        optimizer=OptimizerConfig(lr=6e-5, weight_decay=0.01, no_decay="layer_norms", clip_norm=None),
        schedule=ScheduleConfig(
            steps=160_000, warmup_steps=1500, warmup_lr=6e-11, min_lr=0.0, kind="linear", warmup_epochs=0
        ),
        trainer=TrainerConfig(sync_batchnorm=True, validate_every=10, log_every=50),
    )
