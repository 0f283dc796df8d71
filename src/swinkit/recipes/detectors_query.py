"""The paper's Sparse R-CNN and Hybrid Task Cascade (Table 2, A2.2)."""

from dataclasses import replace

from swinkit.data.object_config import ObjectAugmentConfig
from swinkit.recipes.detection import coco
from swinkit.train.detection_config import DetectConfig


def sparse_rcnn_swin_tiny_3x() -> DetectConfig:
    """COCO, Sparse R-CNN with 300 proposals on Swin-T, 36 epochs.

    Paper: Table 2, box AP 47.9 (110M parameters, 172G FLOPs). Measured here: not measured.
    Hardware: 8 GPUs of 2 pictures. Learning rate 1e-4 and decay 0.05 are the paper's for all its detectors;
    clipping the gradient at norm 1 is the published Sparse R-CNN's, whose own learning rate is 2.5e-5.
    Command: swinkit train sparse_rcnn_swin_tiny_3x --data /data/coco --trainer.devices 8
    """
    return _sparse("swin_tiny_patch4_window7_224", drop_path_rate=0.2)


def sparse_rcnn_resnet50_3x() -> DetectConfig:
    """COCO, Sparse R-CNN with 300 proposals on ResNet-50, 36 epochs: the paper's comparison.

    Paper: Table 2, box AP 44.5 (106M parameters, 166G FLOPs). Measured here: not measured.
    Hardware: 8 GPUs of 2 pictures.
    The backbone is trained as in mmdetection: stem and first stage fixed, batch norms with the statistics of
    ImageNet.
    Command: swinkit train sparse_rcnn_resnet50_3x --data /data/coco --trainer.devices 8
    """
    return _sparse("timm/resnet50", drop_path_rate=None)


def htc_swin_tiny_3x() -> DetectConfig:
    """COCO, Hybrid Task Cascade on Swin-T, 36 epochs.

    Paper: not in the paper, whose HTC++ stands on Swin-B and Swin-L. Measured here: not measured.
    Hardware: 8 GPUs of 2 pictures. The semantic branch is trained if the data have stuffthingmaps/train2017.
    Command: swinkit train htc_swin_tiny_3x --data /data/coco --trainer.devices 8
    """
    return _htc("swin_tiny_patch4_window7_224", drop_path_rate=0.2)


def htc_resnet50_3x() -> DetectConfig:
    """COCO, Hybrid Task Cascade on ResNet-50, 36 epochs, trained as the paper trains its comparisons.

    Paper: not in the paper. Measured here: not measured. Hardware: 8 GPUs of 2 pictures.
    The backbone is trained as in mmdetection: stem and first stage fixed, batch norms with the statistics of
    ImageNet.
    Command: swinkit train htc_resnet50_3x --data /data/coco --trainer.devices 8
    """
    return _htc("timm/resnet50", drop_path_rate=None)


def htc_plus_swin_base_6x() -> DetectConfig:
    """COCO, the paper's HTC++ on Swin-B of ImageNet-22K, 72 epochs.

    Paper: Table 2, box AP 56.4, mask AP 49.1 (160M parameters, 1043G FLOPs). Measured here: not measured.
    Hardware: 8 GPUs of 2 pictures; memory not measured. What the paper does not say: the stochastic depth
    (0.3 here, as Cascade Mask R-CNN on Swin-B has it), the size of pictures in use (800 here), and what box
    heads and global layer are made of (see `swinkit.detection.htc_config.htc_plus`).
    Command: swinkit train htc_plus_swin_base_6x --data /data/coco --trainer.devices 8
    """
    return _htc_plus("swin_base_patch4_window7_224", drop_path_rate=0.3)


def htc_plus_swin_large_6x() -> DetectConfig:
    """COCO, the paper's HTC++ on Swin-L of ImageNet-22K, 72 epochs.

    Paper: Table 2, box AP 57.1, mask AP 49.5; 58.0 and 50.4 with multi-scale testing (284M parameters, 1470G
    FLOPs). Measured here: not measured. Hardware: 8 GPUs of 2 pictures; memory not measured. Multi-scale
    testing is swinkit eval --scales 0.75 1 1.25 1.5 --flip; the paper does not list its scales. What else it
    does not say is as for Swin-B.
    Command: swinkit train htc_plus_swin_large_6x --data /data/coco --trainer.devices 8
    """
    return _htc_plus("swin_large_patch4_window7_224", drop_path_rate=0.3)


def _sparse(name: str, *, drop_path_rate: float | None) -> DetectConfig:
    """As the paper trains all its detectors, the gradient clipped as the published Sparse R-CNN's is."""
    config = coco("sparse_rcnn", name, drop_path_rate=drop_path_rate)
    return replace(
        config,
        model=replace(config.model, masks="auto"),
        optimizer=replace(config.optimizer, clip_norm=1.0),
    )


def _htc(name: str, *, drop_path_rate: float | None) -> DetectConfig:
    return coco("htc", name, drop_path_rate=drop_path_rate)


def _htc_plus(name: str, *, drop_path_rate: float) -> DetectConfig:
    """A2.2: InstaBoost, short sides 400 to 1400 with long ones of at most 1600, 72 epochs with drops after 63
    and 69, soft-NMS, weights of ImageNet-22K, global attention."""
    config = coco("htc_plus", name, drop_path_rate=drop_path_rate)
    return replace(
        config,
        model=replace(config.model, pretrained=f"{name}.ms_in22k"),
        augment=ObjectAugmentConfig(
            short_range=(400, 1400), long_side=1600, crop_probability=0.0, instaboost=0.5
        ),
        schedule=replace(config.schedule, epochs=72, drops=(63, 69)),
    )
