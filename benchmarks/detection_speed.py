"""Mask R-CNN of this library against torchvision's with the same backbone, on the same picture, in one run.

    python benchmarks/detection_speed.py --size 480 640

First the check: both backbones get the same weights and must give the same maps. Then picture to pasted
masks, in turns, medians. Heads are random in both; one class gets a head start so that both have the same
work: about 1000 candidates of one class, 100 detections, 100 masks.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from common import RESULTS, write_results
from swinkit.cli.common import print_table
from swinkit.detection.two_stage import TwoStageDetector
from swinkit.models_detection import create_detector
from swinkit.ops.masks import paste_masks


class TorchvisionBackbone(nn.Module):
    """Our trunk under torchvision's feature pyramid."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.trunk = trunk
        self.out_channels = 256
        self.fpn = FeaturePyramidNetwork(list(trunk.channels), 256, LastLevelMaxPool())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.fpn({str(number): x for number, x in enumerate(self.trunk(images))})


def main() -> int:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1280), help="height and width in pixels")
    parser.add_argument("--model", default="swin_tiny_patch4_window7_224")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file")
    args = parser.parse_args()
    device, (height, width) = torch.device(args.device), args.size
    torch.manual_seed(0)
    ours = create_detector(f"mask_rcnn_{args.model}").to(device).eval()
    assert isinstance(ours, TwoStageDetector)
    theirs = torchvision_detector(copy.deepcopy(ours.backbone), (height, width)).to(device).eval()
    prefer_one_class(ours.stages[0].box.classes, 0)
    prefer_one_class(theirs.roi_heads.box_predictor.cls_score, 1)  # type: ignore[union-attr]  # 0 is background there
    image = torch.rand(3, height, width, device=device)
    with torch.inference_mode():
        check(ours, theirs, image)
        runs: dict[str, Callable[[], int]] = {
            "swinkit": lambda: detect_ours(ours, image),
            "torchvision": lambda: len(theirs([image])[0]["scores"]),
        }
        found = {name: run() for name, run in runs.items()}  # and warm up
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(args.rounds):
            for name, run in runs.items():
                times[name].append(seconds(run, device))
    rows = [
        {
            "model": args.model,
            "size": [height, width],
            "implementation": name,
            "milliseconds": 1000 * statistics.median(values),
            "fastest": 1000 * min(values),
            "slowest": 1000 * max(values),
            "detections": found[name],
        }
        for name, values in times.items()
    ]
    print_table(
        ("implementation", "ms", "fastest", "slowest", "detections"),
        [
            (
                row["implementation"],
                *(f"{row[k]:.0f}" for k in ("milliseconds", "fastest", "slowest")),
                row["detections"],
            )
            for row in rows
        ],
        title=f"Mask R-CNN, {args.model}, {height} x {width}, {args.device}",
    )
    write_results(f"detection_speed_{device.type}", rows, device, args.out)
    return 0


def torchvision_detector(trunk: Any, size: tuple[int, int]) -> MaskRCNN:
    """torchvision's Mask R-CNN with the published anchors and numbers of proposals, no resizing."""
    return MaskRCNN(
        TorchvisionBackbone(trunk),
        num_classes=81,
        min_size=min(size),
        max_size=max(size),
        rpn_anchor_generator=AnchorGenerator(
            tuple((side,) for side in (32, 64, 128, 256, 512)), ((0.5, 1.0, 2.0),) * 5
        ),
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=7, sampling_ratio=0),
        mask_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=14, sampling_ratio=0),
        rpn_pre_nms_top_n_test=1000,
        rpn_post_nms_top_n_test=1000,
    )


def prefer_one_class(layer: nn.Linear, index: int) -> None:
    """Let every region be of one class, so that random heads find something."""
    with torch.no_grad():
        layer.bias.zero_()
        layer.bias[index] = 6.0


def check(ours: Any, theirs: Any, image: Tensor) -> None:
    """Same backbone, same maps: or the comparison is of nothing."""
    maps = zip(ours.backbone(image[None]), theirs.backbone.trunk(image[None]), strict=True)
    for own, other in maps:
        torch.testing.assert_close(own, other)


def detect_ours(model: Any, image: Tensor) -> int:
    """Normalise, pad, detect, paste the masks; the number of detections."""
    mean = image.new_tensor(model.spec.preprocess.mean).view(3, 1, 1)
    std = image.new_tensor(model.spec.preprocess.std).view(3, 1, 1)
    height, width = image.shape[1:]
    batch = nn.functional.pad((image - mean) / std, (0, -width % 32, 0, -height % 32))[None]
    found = model(batch, [(height, width)])[0]
    paste_masks(found.masks, found.boxes, (height, width))
    return len(found)


def seconds(run: Callable[[], int], device: torch.device) -> float:
    """Of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
