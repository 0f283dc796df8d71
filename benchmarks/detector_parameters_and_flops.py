"""Parameters and FLOPs of two-stage detectors at 1280 x 800 against the paper's Table 2.

    python benchmarks/detector_parameters_and_flops.py

Built without memory for the weights (device "meta"). As the published code counts: backbone, pyramid and
proposal network over the whole picture, every stage's box head on 1000 regions, every stage's mask head on
100; one multiply-add is one FLOP. The published code pads a map to whole windows before it projects queries,
keys and values; ours after, so it saves the projections of the padding. They are added again to compare. The
exit code is 1 when a number is then further from the paper's than `ALLOWED`, and not in `PAPER_DIFFERS`.
"""

import argparse
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from common import RESULTS, write_results
from swinkit.backbones.config import SwinConfig, stage_windows
from swinkit.backbones.pyramid import map_sizes
from swinkit.cli.common import print_table
from swinkit.detection.two_stage import TwoStageDetector
from swinkit.models_detection import create_detector
from swinkit.ops.windows import padded_size, to_pair

PUBLISHED: dict[str, tuple[str, int, int]] = {
    "mask_rcnn_swin_tiny_patch4_window7_224": ("published code", 48, 267),
    "mask_rcnn_swin_small_patch4_window7_224": ("published code", 69, 359),
    "cascade_mask_rcnn_swin_tiny_patch4_window7_224": ("Table 2", 86, 745),
    "cascade_mask_rcnn_swin_small_patch4_window7_224": ("Table 2", 107, 838),
    "cascade_mask_rcnn_swin_base_patch4_window7_224": ("Table 2", 145, 982),
    "cascade_mask_rcnn_timm/resnet50": ("Table 2", 82, 739),
    "cascade_mask_rcnn_timm/resnext101_32x4d": ("Table 2", 101, 819),
    "cascade_mask_rcnn_timm/resnext101_64x4d": ("Table 2", 140, 972),
    "cascade_mask_rcnn_deit_small_patch16_224": ("Table 2", 80, 889),
}
"""Model -> (where, millions of parameters, billions of FLOPs)."""

PAPER_DIFFERS = {
    "cascade_mask_rcnn_deit_small_patch16_224": "the paper does not give its deconvolution layers"
}
"""Model -> why its numbers are not the paper's; they are shown and do not fail the check."""

REGIONS, MASKS = 1000, 100
SIZE = (800, 1280)
ALLOWED = 0.003
"""Largest share by which FLOPs may differ from the printed ones: the published counter adds norms, ReLU."""


@dataclass(frozen=True)
class Row:
    """One model, parameters and multiply-adds as counted and as published (millions, billions).

    `padding` is what the published code spends on the projections of padded tokens.
    """

    model: str
    parameters: int
    flops: int
    padding: int
    source: str
    published_parameters: int
    published_flops: int

    @property
    def fits(self) -> bool:
        """Whether both numbers are the published ones."""
        same = abs(self.parameters / 1e6 - self.published_parameters) <= 0.5
        return same and abs(self.difference) <= ALLOWED

    @property
    def difference(self) -> float:
        """Of the FLOPs, as a share, counted as the published code spends them."""
        return (self.flops + self.padding) / 1e9 / self.published_flops - 1


def main() -> int:
    """Count, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file")
    parser.add_argument("--only", default="", help="models whose name has this in it")
    args = parser.parse_args()
    rows = [count(name) for name in PUBLISHED if args.only in name]
    print_table(
        (
            "model",
            "parameters M",
            "published",
            "FLOPs G",
            "with padding",
            "published",
            "differs by %",
            "fits",
        ),
        [
            (
                row.model,
                f"{row.parameters / 1e6:.2f}",
                row.published_parameters,
                f"{row.flops / 1e9:.1f}",
                f"{(row.flops + row.padding) / 1e9:.1f}",
                row.published_flops,
                f"{100 * row.difference:+.2f}",
                "yes" if row.fits else PAPER_DIFFERS.get(row.model, "NO"),
            )
            for row in rows
        ],
    )
    results: list[dict[str, Any]] = [{**asdict(row), "fits": row.fits} for row in rows]
    path = write_results("detector_parameters_and_flops", results, "meta", args.out)
    print(f"wrote {path.name}")
    return 0 if all(row.fits or row.model in PAPER_DIFFERS for row in rows) else 1


def count(name: str) -> Row:
    """Build one model and count."""
    with torch.device("meta"):
        model = create_detector(name).eval()
    source, parameters, flops = PUBLISHED[name]
    return Row(
        model=name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        flops=count_flops(model),
        padding=projections_of_padding(model.config.backbone),
        source=source,
        published_parameters=parameters,
        published_flops=flops,
    )


def count_flops(model: TwoStageDetector) -> int:
    """Multiply-adds of one picture of `SIZE`."""
    width, config = model.config.neck.channels, model.config.head
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        levels = model.features(torch.empty(1, 3, *SIZE))
        model.rpn(levels)
        for stage in model.stages:
            stage.box(torch.empty(REGIONS, width, config.box.pool, config.box.pool))
            if stage.mask is not None and config.mask is not None:
                stage.mask(torch.empty(MASKS, width, config.mask.pool, config.mask.pool))
    return counter.get_total_flops() // 2


def projections_of_padding(config: Any) -> int:
    """Multiply-adds of query, key, value and output projections of the tokens that fill up windows."""
    if not isinstance(config, SwinConfig):
        return 0
    sizes = map_sizes(SIZE, to_pair(config.patch_size), len(config.depths))
    windows = stage_windows(config.window_size, len(config.depths))
    total = 0
    for stage, (size, window, depth) in enumerate(zip(sizes, windows, config.depths, strict=True)):
        more = math.prod(padded_size(size, window)) - math.prod(size)
        total += depth * 4 * (config.embed_dim * 2**stage) ** 2 * more
    return total


if __name__ == "__main__":
    sys.exit(main())
