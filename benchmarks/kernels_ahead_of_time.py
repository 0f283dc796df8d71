"""Compile window attention's Triton kernels for GPUs that are not here, and look at what came out.

For each configuration that "auto" can choose: no spilled register, shared memory within the chip's limit,
tensor instructions, 16-byte loads. And the bytes a window asks for, against the fewest it could. Nothing is
run, so nothing here is a speed.

    python benchmarks/kernels_ahead_of_time.py [--only backward_window] [--target sm_90]
    python benchmarks/kernels_ahead_of_time.py --resume --cases 50

A case takes two to five seconds of a core, all of them about half an hour. --resume keeps what the results
file has of the same kernel, constants, options and Triton, and goes on: after a change only the cases that it
touches are compiled again. --cases then counts new ones. The file is written after every case.
"""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from triton.compiler import ASTSource

import ahead_of_time as ahead
from ahead_of_time import TARGETS
from common import RESULTS, write_results

ATTENTION = "swinkit.ops.window_attention"
configs = import_module(f"{ATTENTION}.triton_configs")
one_window = import_module(f"{ATTENTION}.triton_window")
in_blocks = import_module(f"{ATTENTION}.triton_blocks")

KERNELS = {
    "forward_window": one_window.forward_window,
    "backward_window": one_window.backward_window,
    "forward_blocks": in_blocks.forward_blocks,
    "backward_queries": in_blocks.backward_queries,
    "backward_keys": in_blocks.backward_keys,
    "backward_bias": in_blocks.backward_bias,
}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
TYPES = {"scale": "fp32", "dropout": "fp32", "seed": "*i64"} | dict.fromkeys(
    ("table", "pad", "log_sum", "delta", "grad_bias", "grad_pad"), "*fp32"
)

FIELDS = ("kernel", "target", "window", "channels", "dtype", "tf32", "padded")
"""What tells one case from another."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kernel as "auto" would launch it: with a bias table, all gradients wanted, no dropout."""

    kernel: str
    target: str
    window: tuple[int, int]
    channels: int
    dtype: str
    tf32: bool = False
    padded: bool = True

    @property
    def blocks(self) -> Any:
        """The cut that the library chooses."""
        kind = self.kernel.removeprefix("backward_")
        lanes = TARGETS[self.target].warp_size
        asked = (self.window[0] * self.window[1], self.channels, DTYPES[self.dtype], self.tf32, lanes)
        return (
            configs.forward(*asked) if self.kernel.startswith("forward") else configs.backward(kind, *asked)
        )


def every_case(targets: tuple[str, ...] = tuple(TARGETS)) -> Iterator[Case]:
    """Every kernel at every type, head size and window, those of the published models first.

    A window's sides are constants of the code, so that no two cases are the same code.
    """
    shapes = [(kind, 32, side) for kind in ("bf16", "fp32", "fp16", "tf32") for side in (7, 12)]  # published
    shapes += [(kind, d, side) for kind in ("bf16", "fp32", "tf32") for d in (64, 16) for side in (7, 12)]
    shapes += [(kind, 32, side) for kind in ("bf16", "fp32", "tf32") for side in (4, 5, 24)]
    for kind, channels, side in shapes:
        dtype, tf32 = ("fp32", True) if kind == "tf32" else (kind, False)
        whole = configs.is_whole(side * side, channels, DTYPES[dtype], tf32)
        kernels = [kernel for kernel in KERNELS if kernel.endswith("window") == whole]
        for padded, target, kernel in itertools.product((False, True), targets, kernels):
            yield Case(
                kernel=kernel,
                target=target,
                window=(side, side),
                channels=channels,
                dtype=dtype,
                tf32=tf32,
                padded=padded,
            )


def source_of(case: Case) -> ASTSource:
    """A case as Triton takes it: kernel, types, constants."""
    kernel, blocks, (M, MC) = KERNELS[case.kernel], case.blocks, case.window
    constants = {
        "M": M,
        "MC": MC,
        "D": case.channels,
        "BLOCK_D": configs.padded_channels(case.channels),
        "BLOCK": blocks.queries,
        "BLOCK_Q": blocks.queries,
        "BLOCK_K": blocks.keys,
        "SPLITS": blocks.splits,
        "STAGES": blocks.stages,
        "HAS_BIAS": True,
        "PADDED": case.padded,
        "APPEARANCE": True,
        "DROPOUT": False,
        "NEED_BIAS": True,
        "NEED_PAD": case.padded,
        "PRECISION": "tf32" if case.tf32 else "ieee",
    }
    data = dict.fromkeys(("qkv", "out", "grad_out", "grad_qkv"), f"*{case.dtype}")
    return ahead.source(kernel, constants, TYPES | data)


def options_of(case: Case) -> dict[str, Any]:
    """What Triton is told besides."""
    return {"num_warps": case.blocks.warps}


def build(case: Case) -> Any:
    """Compile one case; needs no device."""
    return ahead.build(source_of(case), case.target, options_of(case))


def digest_of(case: Case) -> str:
    """Of all that the code of a case depends on: the kernel and what it calls, constants, options, Triton."""
    return ahead.digest(source_of(case), case.target, options_of(case))


def inspect(case: Case) -> dict[str, Any]:
    """Compile a case and read its machine code; "problems" is empty when all that is asked holds."""
    row = asdict(case) | asdict(case.blocks) | {"digest": digest_of(case)}
    return row | ahead.inspect(build(case), case.target, exact=case.dtype == "fp32" and not case.tf32)


def bytes_of_a_window(case: Case) -> dict[str, float]:
    """Bytes that one window and head asks of the caches, and the fewest that must cross them.

    Counted from the loops: a block is read once for each block it meets; the bias of a small window is read
    once a program, so it is left out, that of a large one once a window. On a padded map each block of keys
    leaves its share of the padding token's gradient.
    """
    N, d, size = case.window[0] * case.window[1], case.channels, DTYPES[case.dtype].itemsize
    row, number, blocks = N * d * size, N * 4, case.blocks
    over_q, over_k = -(-N // blocks.queries), -(-N // blocks.keys)
    share = 2 * d * 4 if case.padded else 0
    fewest = {"forward": 4 * row, "backward": 7 * row}["forward" if "forward" in case.kernel else "backward"]
    asked = {
        "forward_window": 4 * row,
        "backward_window": 7 * row + share,
        "forward_blocks": 2 * row + over_q * 2 * row + number + 4 * N * N,
        "backward_queries": 4 * row + over_q * 2 * row + 2 * number + 4 * N * N,
        "backward_keys": 4 * row + over_k * (2 * row + 2 * number + share) + 4 * N * N,
        "backward_bias": over_k * (2 * row + 2 * number) + over_q * 2 * row,
    }[case.kernel]
    return {"bytes_asked": asked, "bytes_fewest": fewest, "ratio": asked / fewest}


def kept_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of an earlier run that still hold: those whose code is made of the same. None without a file."""
    found = {name_of(row): row for row in ahead.rows_of(path, FIELDS)}
    cases = [case for case in every_case() if name_of(asdict(case)) in found]
    kept = [(found[name_of(asdict(case))], digest_of(case)) for case in cases]
    return [row for row, digest in kept if row["digest"] == digest]


def name_of(row: dict[str, Any]) -> str:
    """What tells one case's row from another's."""
    return " ".join(str(list(value) if isinstance(value := row[name], tuple) else value) for name in FIELDS)


def write(rows: list[dict[str, Any]]) -> Path:
    """Write the results file; environment and date are those of the latest run."""
    total = len(list(every_case()))
    results = {"triton": version("triton"), "cases": total, "rows": rows}
    return write_results("kernels_ahead_of_time", results, folder=RESULTS)


def main() -> int:
    """Compile, print a table, write results/kernels_ahead_of_time.json; 1 if anything is found wanting."""
    args = ahead.arguments(__doc__, KERNELS, "kernel")
    cases = [
        case
        for case in every_case((args.target,) if args.target else tuple(TARGETS))
        if args.only in {None, case.kernel}
    ]
    rows = kept_rows(RESULTS / "kernels_ahead_of_time.json") if args.resume else []
    done = {name_of(row) for row in rows}
    waiting = [case for case in cases if name_of(asdict(case)) not in done]
    path = None
    for case in waiting[: args.cases]:
        row = inspect(case) | bytes_of_a_window(case)
        print(*(f"{name}={value}" for name, value in row.items()), flush=True)
        rows.append(row)
        path = write(rows)
    columns = (
        "kernel",
        "target",
        "window",
        "channels",
        "dtype",
        "tf32",
        "queries",
        "keys",
        "warps",
        "stages",
    )
    ahead.show(rows, (*columns, *ahead.FOUND, "ratio", "problems"))
    print(f"{len(rows)} of {len(list(every_case()))} cases compiled, of these {len(done)} in earlier runs")
    print(f"written: {path or 'nothing new'}")
    return 1 if any(row["problems"] for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
