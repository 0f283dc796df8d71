"""Parameters and FLOPs of the paper's UperNets against Table 3.

    python benchmarks/segmentation_parameters_and_flops.py

The models are built without memory for their weights (device "meta") with 150 classes, and
torch.utils.flop_counter counts the matrix products and convolutions of one picture's forward pass at 2048 x
512 pixels, and at 2560 x 640 for the models trained at 640. As in the paper, a FLOP is one multiply-add.

Parameters include the auxiliary head, as the paper's do; FLOPs do not, since it does not run at inference.
Norms, activations and resizing are left out. Two numbers are printed: all products, and all but attention's.
The exit code is 1 when a model's parameters, rounded, are not the paper's, or its FLOPs are further than 1.5%
from it in both ways of counting, except where `PAPER_DIFFERS` says why.
"""

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from common import RESULTS, write_results
from swinkit.cli.common import print_table
from swinkit.models_segmentation import create_segmenter

PUBLISHED: tuple[tuple[str, tuple[int, int], float, float], ...] = (
    ("swin_tiny_patch4_window7_224", (512, 2048), 60, 945),
    ("swin_small_patch4_window7_224", (512, 2048), 81, 1038),
    ("swin_base_patch4_window7_224", (512, 2048), 121, 1188),
    ("swin_base_patch4_window7_224", (640, 2560), 121, 1841),
    ("swin_large_patch4_window7_224", (640, 2560), 234, 3230),
    ("deit_small_patch16_224", (512, 2048), 52, 1099),
    ("timm/resnet101c", (512, 2048), 86, 1029),
)
"""Backbone, (height, width), millions of parameters, billions of FLOPs of Table 3 (Swin-B at 512: published
code; resnet101c is the ResNet of mmsegmentation, with three convolutions for its first)."""

TOLERANCE = 0.015
PAPER_DIFFERS: dict[tuple[str, str], str] = {
    ("swin_large_patch4_window7_224", "flops"): "the paper's FLOPs do not follow from its model, unexplained",
    (
        "deit_small_patch16_224",
        "parameters",
    ): "the paper does not give its deconvolution layers; ours have 1.8 M",
}
"""(Backbone, "parameters" or "flops") -> why ours is not the paper's number."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model; counts are of one picture."""

    model: str
    size: tuple[int, int]
    parameters: int
    flops: int
    flops_without_attention: int
    published_parameters: float
    published_flops: float

    def problems(self) -> list[str]:
        """What is not the paper's number and has no known reason."""
        found = []
        if abs(self.parameters / 1e6 - self.published_parameters) > 0.5:
            found.append("parameters")
        counts = (self.flops, self.flops_without_attention)
        if min(abs(count / 1e9 / self.published_flops - 1) for count in counts) > TOLERANCE:
            found.append("flops")
        return [what for what in found if (self.model, what) not in PAPER_DIFFERS]


def main() -> int:
    parser = argparse.ArgumentParser(description="UperNet's parameters and FLOPs against Table 3.")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    out = parser.parse_args().out
    rows = [measure(*line) for line in PUBLISHED]
    columns = ("backbone", "picture", "params", "paper", "FLOPs", "without attention", "paper", "verdict")
    cells = [
        (
            row.model,
            f"{row.size[1]} x {row.size[0]}",
            f"{row.parameters:,}",
            f"{row.published_parameters:.0f} M",
            f"{row.flops / 1e9:.1f} G",
            f"{row.flops_without_attention / 1e9:.1f} G",
            f"{row.published_flops:.0f} G",
            verdict(row),
        )
        for row in rows
    ]
    print_table(columns, cells, title="UperNet, 150 classes")
    results = [asdict(row) | {"verdict": verdict(row)} for row in rows]
    path = write_results("segmentation_parameters_and_flops", results, "meta", out)
    print(f"written: {path.name}", file=sys.stderr)
    return 1 if any(row.problems() for row in rows) else 0


def measure(name: str, size: tuple[int, int], parameters: float, flops: float) -> Row:
    """Count one model."""
    with torch.device("meta"), torch.no_grad():
        model = create_segmenter(name, num_classes=150, attention_impl="reference").eval()
        counter = FlopCounterMode(display=False)
        with counter:
            model.coarse(torch.empty(1, 3, *size))
    by_kind: dict[Any, int] = counter.get_flop_counts()["Global"]
    attention = sum(
        count for kind, count in by_kind.items() if "bmm" in str(kind) or "attention" in str(kind)
    )
    total = counter.get_total_flops()
    return Row(
        model=name,
        size=size,
        parameters=sum(p.numel() for p in model.parameters()),
        flops=total // 2,
        flops_without_attention=(total - attention) // 2,
        published_parameters=parameters,
        published_flops=flops,
    )


def verdict(row: Row) -> str:
    """One cell: how the row stands against the paper."""
    if row.problems():
        return "DIFFERS: " + ", ".join(row.problems())
    reasons = [why for (model, _), why in PAPER_DIFFERS.items() if model == row.model]
    return "; ".join(reasons) or "agrees"


if __name__ == "__main__":
    sys.exit(main())
