"""Window attention on a GPU: the Triton kernels against roll + partition + scaled_dot_product_attention.

Eager and compiled, and flex_attention where it runs; forward, and forward and backward; all four stages of
Swin-T and Swin-B. All take turns in one process, and must agree with the reference before they are timed.

    python benchmarks/window_attention_gpu.py [--batch 128] [--rounds 30] [--dtype bf16]
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from common import write_results
from swinkit.ops.window_attention import can_run, window_attention
from swinkit.ops.windows import merge, partition, region_ids, relative_position_index

HEADS = {"T": (3, 6, 12, 24), "B": (4, 8, 16, 32)}
"""Heads of the stages; maps of 56, 28, 14 and 7, windows of 7, 32 channels a head."""
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
WINDOW = (7, 7)

Attention = Callable[[Tensor, Tensor], Tensor]


def main() -> int:
    """Check, measure, print ratios, write results/window_attention_gpu.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("window_attention_gpu.py measures a GPU, and there is none here: nothing was measured.")
        return 2
    reason = can_run("triton", torch.empty(1, 7, 7, 3, 1, 32, device="cuda", dtype=DTYPES[args.dtype]))
    if reason is not None:
        print(f"The Triton kernels cannot run here: {reason}. Nothing was measured.")
        return 2
    rows = [
        row
        for model, heads in HEADS.items()
        for stage, count in enumerate(heads)
        for row in measure(model, stage, count, args)
    ]
    table = Table("model", "stage", "pass", "triton ms", "against", "ratio", "quartiles")
    for row in rows:
        for name, (lower, median, upper) in row["ratios"].items():
            cells = (row["model"], str(row["stage"]), row["pass"], f"{row['ms']['triton']:.3f}", name)
            table.add_row(*cells, f"{median:.2f}", f"{lower:.2f} to {upper:.2f}")
    Console(width=120).print(table)
    print(f"written: {write_results('window_attention_gpu', rows, device='cuda')}")
    return 0


def measure(model: str, stage: int, heads: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Times of one stage in both passes, and their ratios to the kernels', quartiles over rounds."""
    torch.manual_seed(0)
    side = 56 >> stage
    shift = (3, 3) if side > 7 else (0, 0)
    dtype = DTYPES[args.dtype]
    qkv = torch.randn(args.batch, side, side, 3, heads, 32, device="cuda", dtype=dtype, requires_grad=True)
    bias = torch.randn(169, heads, device="cuda", requires_grad=True)
    ways = contenders(side, shift)
    dropped = [name for name, way in ways.items() if not agrees(way, qkv, bias, shift, name)]
    rows = []
    for label, step in (("forward", forward), ("forward + backward", both)):
        times: dict[str, list[float]] = {name: [] for name in ways if name not in dropped}
        for number in range(args.rounds + 3):
            for name, seconds in times.items():
                spent = clock(lambda name=name, step=step: step(ways[name], qkv, bias))
                if number >= 3:
                    seconds.append(spent)
        ratios = {
            name: statistics.quantiles([a / b for a, b in zip(spent, times["triton"], strict=True)], n=4)
            for name, spent in times.items()
            if name != "triton"
        }
        ms = {name: statistics.median(spent) for name, spent in times.items()}
        row = {"model": model, "stage": stage + 1, "pass": label, "batch": args.batch, "dtype": args.dtype}
        rows.append(row | {"ms": ms, "ratios": ratios, "dropped": dropped})
    return rows


def contenders(side: int, shift: tuple[int, int]) -> dict[str, Attention]:
    """The kernels and what they are measured against."""

    def ours(qkv: Tensor, bias: Tensor) -> Tensor:
        return window_attention(qkv, bias, window=WINDOW, shift=shift, impl="triton")

    def sdpa(qkv: Tensor, bias: Tensor) -> Tensor:
        return window_attention(qkv, bias, window=WINDOW, shift=shift, impl="sdpa")

    return {
        "triton": ours,
        "sdpa eager": sdpa,
        "sdpa compiled": torch.compile(sdpa, dynamic=False),
        "flex_attention compiled": torch.compile(flex(side, shift), dynamic=False),
    }


def flex(side: int, shift: tuple[int, int]) -> Attention:
    """roll + partition + flex_attention, bias and mask as its score_mod."""
    index = relative_position_index(WINDOW, torch.device("cuda"))
    ids = region_ids((side, side), WINDOW, shift, torch.device("cuda"))

    def attend(qkv: Tensor, bias: Tensor) -> Tensor:
        def score_mod(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            window = b % ids.shape[0]
            apart = (ids[window, q] != ids[window, k]).to(score.dtype)
            return score + bias[index[q, k], h] - 100.0 * apart

        heads = qkv.shape[4]
        x = torch.roll(qkv.flatten(3), (-shift[0], -shift[1]), (1, 2))
        q, k, v = partition(x, WINDOW).unflatten(-1, (3, heads, 32)).permute(2, 0, 3, 1, 4)
        out = flex_attention(q, k, v, score_mod=score_mod)
        assert isinstance(out, Tensor)
        return torch.roll(merge(out.transpose(1, 2).flatten(2), WINDOW, (side, side)), shift, (1, 2))

    return attend


def agrees(way: Attention, qkv: Tensor, bias: Tensor, shift: tuple[int, int], name: str) -> bool:
    """Whether output and gradients are the reference's; what cannot run is named, a wrong one ends it all."""
    few = qkv.detach()[:2].requires_grad_()
    weight = torch.randn(*few.shape[:3], few.shape[4] * few.shape[5], device="cuda", dtype=few.dtype)

    def results(function: Attention) -> tuple[Tensor, ...]:
        out = function(few, bias)
        return (out, *torch.autograd.grad(out, (few, bias), weight))

    try:
        got = results(way)
    except (RuntimeError, NotImplementedError) as error:
        print(f"{name} does not run on this stage: {str(error).splitlines()[0]}")
        if name == "triton":
            raise
        return False

    def reference(qkv: Tensor, bias: Tensor) -> Tensor:
        return window_attention(qkv, bias, window=WINDOW, shift=shift, impl="reference")

    for a, b in zip(got, results(reference), strict=True):
        tolerance = (1e-4 if few.dtype == torch.float32 else 4e-2) * float(b.abs().max())
        torch.testing.assert_close(a, b, rtol=0.0, atol=tolerance)
    return True


def forward(way: Attention, qkv: Tensor, bias: Tensor) -> None:
    """One pass without gradients."""
    with torch.no_grad():
        way(qkv, bias)


def both(way: Attention, qkv: Tensor, bias: Tensor) -> None:
    """One pass forward and back, all gradients."""
    out = way(qkv, bias)
    torch.autograd.grad(out, (qkv, bias), out.detach())


def clock(function: Callable[[], None]) -> float:
    """Milliseconds on the GPU, by its own events."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    function()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


if __name__ == "__main__":
    raise SystemExit(main())
