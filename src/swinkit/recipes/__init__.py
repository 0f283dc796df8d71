"""Complete training jobs by name. A recipe is a function whose docstring is its card."""

from collections.abc import Callable

from swinkit.recipes import ablations, detection, detectors_dense, imagenet, segmentation, small
from swinkit.train.config import JobConfig

RECIPES: dict[str, Callable[[], JobConfig]] = {
    "finetune": small.finetune,
    "detect": detection.detect,
    "segment": segmentation.segment,
    "digits": small.digits,
    "cifar10": small.cifar10,
    "camvid": segmentation.camvid,
    "nuclei": detection.nuclei,
    "bccd": detection.bccd,
    "swin_tiny_imagenet1k": imagenet.swin_tiny_imagenet1k,
    "swin_small_imagenet1k": imagenet.swin_small_imagenet1k,
    "swin_base_imagenet1k": imagenet.swin_base_imagenet1k,
    "swin_tiny_imagenet22k": imagenet.swin_tiny_imagenet22k,
    "swin_small_imagenet22k": imagenet.swin_small_imagenet22k,
    "swin_base_imagenet22k": imagenet.swin_base_imagenet22k,
    "swin_large_imagenet22k": imagenet.swin_large_imagenet22k,
    "swin_tiny_22k_to_1k": imagenet.swin_tiny_22k_to_1k,
    "swin_small_22k_to_1k": imagenet.swin_small_22k_to_1k,
    "swin_base_22k_to_1k": imagenet.swin_base_22k_to_1k,
    "swin_large_22k_to_1k": imagenet.swin_large_22k_to_1k,
    "swin_base_384_22k_to_1k": imagenet.swin_base_384_22k_to_1k,
    "swin_large_384_22k_to_1k": imagenet.swin_large_384_22k_to_1k,
    "swin_tiny_384": imagenet.swin_tiny_384,
    "swin_small_384": imagenet.swin_small_384,
    "swin_base_384": imagenet.swin_base_384,
    "mask_rcnn_swin_tiny_1x": detection.mask_rcnn_swin_tiny_1x,
    "mask_rcnn_swin_tiny_3x": detection.mask_rcnn_swin_tiny_3x,
    "mask_rcnn_swin_small_3x": detection.mask_rcnn_swin_small_3x,
    "cascade_mask_rcnn_swin_tiny_1x": detection.cascade_mask_rcnn_swin_tiny_1x,
    "cascade_mask_rcnn_swin_tiny_3x": detection.cascade_mask_rcnn_swin_tiny_3x,
    "cascade_mask_rcnn_swin_small_3x": detection.cascade_mask_rcnn_swin_small_3x,
    "cascade_mask_rcnn_swin_base_3x": detection.cascade_mask_rcnn_swin_base_3x,
    "cascade_mask_rcnn_resnet50_3x": detection.cascade_mask_rcnn_resnet50_3x,
    "atss_swin_tiny_3x": detectors_dense.atss_swin_tiny_3x,
    "atss_resnet50_3x": detectors_dense.atss_resnet50_3x,
    "reppoints_v2_swin_tiny_3x": detectors_dense.reppoints_v2_swin_tiny_3x,
    "reppoints_v2_resnet50_3x": detectors_dense.reppoints_v2_resnet50_3x,
    "upernet_swin_tiny_ade20k": segmentation.upernet_swin_tiny_ade20k,
    "upernet_swin_small_ade20k": segmentation.upernet_swin_small_ade20k,
    "upernet_swin_base_ade20k": segmentation.upernet_swin_base_ade20k,
    "upernet_swin_large_ade20k": segmentation.upernet_swin_large_ade20k,
    "upernet_deit_small_ade20k": segmentation.upernet_deit_small_ade20k,
    "swin_tiny_no_shift": ablations.swin_tiny_no_shift,
    "swin_tiny_no_position": ablations.swin_tiny_no_position,
    "swin_tiny_absolute_position": ablations.swin_tiny_absolute_position,
    "swin_tiny_both_positions": ablations.swin_tiny_both_positions,
    "swin_tiny_no_appearance": ablations.swin_tiny_no_appearance,
    "swin_tiny_d24_imagenet1k": ablations.swin_tiny_d24_imagenet1k,
    "swin_mixer_tiny_d24_imagenet1k": ablations.swin_mixer_tiny_d24_imagenet1k,
    "swin_mixer_tiny_d12_imagenet1k": ablations.swin_mixer_tiny_d12_imagenet1k,
    "swin_mixer_tiny_d6_imagenet1k": ablations.swin_mixer_tiny_d6_imagenet1k,
    "swin_mixer_base_d24_imagenet1k": ablations.swin_mixer_base_d24_imagenet1k,
    "swin_mixer_base_d24_no_shift": ablations.swin_mixer_base_d24_no_shift,
}
"""Name on the command line -> recipe."""

__all__ = ["RECIPES"]
