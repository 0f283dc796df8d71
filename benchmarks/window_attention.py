"""Implementations of window attention against each other, per stage of Swin-T: the ground of "auto"'s choice.

The implementations take turns in one process on the same input, and must agree before anything is timed.

    python benchmarks/window_attention.py [--batch 4] [--rounds 15] [--device cpu]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from common import write_results
from swinkit.ops.window_attention import window_attention

IMPLEMENTATIONS = ("sdpa", "reference")
"""Those that every machine has; window_attention_gpu.py measures the Triton kernels."""

STAGES = ((56, 3), (28, 6), (14, 12), (7, 24))
"""(side of the map, heads) of Swin-T's stages at 224 pixels; windows of 7, 32 channels a head."""


def main() -> None:
    """Measure, print a table of medians, and write results/window_attention.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    rows = [
        row
        for dtype in (torch.float32, torch.bfloat16)
        for side, heads in STAGES
        for row in measure(side, heads, dtype, args)
    ]
    table = Table(
        "dtype", "map", "heads", "pass", *(f"{name} ms" for name in IMPLEMENTATIONS), "sdpa / reference"
    )
    for row in rows:
        times = [f"{row['ms'][name]:.2f}" for name in IMPLEMENTATIONS]
        ratio = f"{row['ratio']:.2f} ({row['ratio_quartiles'][0]:.2f} to {row['ratio_quartiles'][1]:.2f})"
        table.add_row(
            row["dtype"], f"{row['side']}x{row['side']}", str(row["heads"]), row["pass"], *times, ratio
        )
    Console(width=120).print(table)
    path = write_results("window_attention", rows, device=args.device)
    print(f"written: {path}")


def measure(side: int, heads: int, dtype: torch.dtype, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Medians of one stage: a forward pass without gradients, and a forward and backward pass."""
    torch.manual_seed(0)
    qkv = torch.randn(
        args.batch, side, side, 3, heads, 32, device=args.device, dtype=dtype, requires_grad=True
    )
    bias = torch.randn(169, heads, device=args.device, requires_grad=True)
    shift = (3, 3) if side > 7 else (0, 0)

    def run(name: Any) -> Tensor:
        return window_attention(qkv, bias, window=(7, 7), shift=shift, impl=name)

    def forward(name: str) -> None:
        with torch.inference_mode():
            run(name)

    def both(name: str) -> None:
        out = run(name)
        out.backward(out.detach())
        qkv.grad = bias.grad = None

    tolerance = 1e-4 if dtype == torch.float32 else 4e-2
    torch.testing.assert_close(run("sdpa"), run("reference"), rtol=tolerance, atol=tolerance)
    rows = []
    for label, function in (("forward", forward), ("forward + backward", both)):
        times = interleave(function, args.rounds, args.device)
        ratios = [a / b for a, b in zip(times["sdpa"], times["reference"], strict=True)]
        lower, median, upper = statistics.quantiles(ratios, n=4)
        rows.append(
            {
                "dtype": str(dtype).removeprefix("torch."),
                "side": side,
                "heads": heads,
                "batch": args.batch,
                "pass": label,
                "ms": {name: 1e3 * statistics.median(values) for name, values in times.items()},
                "ratio": median,
                "ratio_quartiles": [lower, upper],
            }
        )
    return rows


def interleave(function: Callable[[str], None], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each implementation, in turn, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in IMPLEMENTATIONS}
    for number in range(rounds + 1):
        for name in IMPLEMENTATIONS:
            start = time.perf_counter()
            function(name)
            if device != "cpu":
                torch.cuda.synchronize()
            if number:
                times[name].append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
