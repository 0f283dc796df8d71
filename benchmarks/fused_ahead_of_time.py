"""Compile the fused kernels for GPUs that are not here, and look at what came out.

For each configuration that a Swin-T, S, B or L asks for: no spilled register, shared memory within the chip's
limit, tensor instructions, 16-byte loads. And the bytes a launch asks of the caches, against the fewest that
must cross them. Nothing is run, so nothing here is a speed.

    python benchmarks/fused_ahead_of_time.py [--only mlp] [--target sm_90]
    python benchmarks/fused_ahead_of_time.py --resume --cases 50

Launches of several widths can share one code, which is compiled once. --resume keeps what the results file
has of the same code and Triton, and goes on. The file is written after every one.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
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

FUSED = "swinkit.ops.fused"
configs = import_module(f"{FUSED}.triton_configs")
linear = import_module(f"{FUSED}.triton_linear")
narrow = import_module(f"{FUSED}.triton_mlp")

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "tf32": torch.float32}
WIDTHS = (96, 128, 192, 256, 384, 512, 768, 1024, 1536)
"""Channels of the stages of Swin-T, S, B and L."""

LAUNCHES = ("qkv", "proj", "fc1", "fc2", "mlp", "merge")

NAME = "fused_ahead_of_time"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One launch of a stage of C channels: "qkv", "proj", "fc1", "fc2", "mlp", or "merge" behind it."""

    launch: str
    target: str
    channels: int
    dtype: str

    @property
    def sides(self) -> tuple[int, int]:
        """Channels of x (of one of four neighbours where they are merged), and columns of the result."""
        C = self.channels
        return {
            "qkv": (C, 3 * C),
            "proj": (C, C),
            "fc1": (C, 4 * C),
            "fc2": (4 * C, C),
            "mlp": (C, 4 * C),
            "merge": (C, 2 * C),
        }[self.launch]

    @property
    def kernel(self) -> str:
        """The kernel that the library chooses."""
        if self.launch == "mlp":
            return "mlp_rows"
        rows = self.launch != "merge" and configs.keeps_rows(self.sides[0], DTYPES[self.dtype])
        return "linear_rows" if rows else "linear_blocks"

    @property
    def blocks(self) -> Any:
        """The cut that the library chooses."""
        lanes = TARGETS[self.target].warp_size
        if self.kernel == "linear_blocks":
            return configs.linear_blocks(*self.sides, DTYPES[self.dtype], self.dtype == "tf32", lanes)
        return getattr(configs, self.kernel)(*self.sides, lanes)


def every_case(targets: tuple[str, ...] = tuple(TARGETS)) -> Iterator[Case]:
    """Every launch of a published model, each kind of number."""
    for dtype, channels, target in itertools.product(DTYPES, WIDTHS, targets):
        whole = configs.keeps_hidden(channels, DTYPES[dtype])
        launches = ["qkv", "proj", *(["mlp"] if whole else ["fc1", "fc2"])]
        if 2 * channels in WIDTHS:
            launches.append("merge")
        for launch in launches:
            yield Case(launch=launch, target=target, channels=channels, dtype=dtype)


def source_of(case: Case) -> ASTSource:
    """A case as Triton takes it: kernel, types, constants."""
    kernel = narrow.mlp_rows if case.launch == "mlp" else getattr(linear, case.kernel)
    (C, K), blocks = case.sides, case.blocks
    first, second = configs.pieces(C)
    constants = {
        "HIDDEN": K,
        "FIRST": first,
        "SECOND": second,
        "BLOCK_L": blocks.rows,
        "BLOCK_K": blocks.columns,
        "BLOCK_C": blocks.depth,
        "WHOLE": configs.is_whole(C, K, blocks) if case.kernel == "linear_blocks" else True,
        "NEIGHBOURS": 4 if case.launch == "merge" else 1,
        "NORM": case.launch in {"qkv", "fc1", "merge"},
        "HAS_BIAS": True,
        "GELU": case.launch == "fc1",
        "RESIDUAL": case.launch in {"proj", "fc2"},
        "PRECISION": "tf32" if case.dtype == "tf32" else "ieee",
        "STAGES": blocks.stages,
    }
    if case.kernel != "linear_blocks":  # which is the same code for all widths
        constants |= {"C": C, "K": K}
    kind = "fp32" if case.dtype == "tf32" else case.dtype
    tensors = ("x", "weight", "bias", "residual", "out", "weight_in", "bias_in", "weight_out", "bias_out")
    return ahead.source(kernel, constants, dict.fromkeys(tensors, f"*{kind}") | {"eps": "fp32"}, ("C", "K"))


def options_of(case: Case) -> dict[str, Any]:
    """What Triton is told besides."""
    return {"num_warps": case.blocks.warps}


def digest_of(case: Case) -> str:
    """Of all that the code of a case depends on."""
    return ahead.digest(source_of(case), case.target, options_of(case))


def distinct(cases: Iterable[Case]) -> dict[str, list[Case]]:
    """Cases by the digest of their code: launches of several widths can share one."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(digest_of(case), []).append(case)
    return found


def inspect(cases: Sequence[Case]) -> dict[str, Any]:
    """Compile the one code of some cases and read it; "problems" is empty when all that is asked holds."""
    case = cases[0]
    binary = ahead.build(source_of(case), case.target, options_of(case))
    known = {"kernel": case.kernel, "target": case.target, "dtype": case.dtype, "digest": digest_of(case)}
    launches = [f"{item.launch} {item.channels}" for item in cases]
    return (
        known
        | {"launches": launches}
        | asdict(case.blocks)
        | ahead.inspect(binary, case.target, exact=case.dtype == "fp32")
    )


def bytes_of_a_row(case: Case) -> dict[str, Any]:
    """Bytes that a row of the result asks of the caches, and the fewest that must cross them.

    Counted from the loops. The fewest: x and the residual once, the result once, weights not at all, because
    all rows share them. Asked: the weight once a block of rows, x once a block of columns, and once more for
    the statistics of its norm where rows are not kept.
    """
    (C, K), blocks, size = case.sides, case.blocks, DTYPES[case.dtype].itemsize
    neighbours = 4 if case.launch == "merge" else 1
    x, columns = neighbours * C, C if case.launch == "mlp" else K
    residual = columns if case.launch in {"proj", "fc2", "mlp"} else 0
    fewest = x + columns + (residual if case.launch != "mlp" else 0)
    passes = 1
    if case.kernel == "linear_blocks":
        passes = -(-K // blocks.columns) * (2 if case.launch in {"qkv", "fc1", "merge"} else 1)
    weights = (2 if case.launch == "mlp" else 1) * neighbours * C * K / blocks.rows
    asked = passes * x + columns + residual
    return {
        "launch": case.launch,
        "channels": case.channels,
        "kernel": case.kernel,
        "fewest": fewest * size,
        "asked": asked * size,
        "asked_of_weights": round(weights * size),
        "ratio": round((asked + weights) / fewest, 2),
    }


def kept_rows(path: Path, digests: Collection[str]) -> list[dict[str, Any]]:
    """Rows of an earlier run whose code is still one of these. None without a file."""
    return [row for row in ahead.rows_of(path) if row["digest"] in digests]


def main() -> int:
    """Compile, print tables, write results/fused_ahead_of_time.json; 1 if anything is found wanting."""
    args = ahead.arguments(__doc__, LAUNCHES, "launch")
    every = distinct(every_case())
    rows = kept_rows(RESULTS / f"{NAME}.json", every) if args.resume else []
    done = {row["digest"] for row in rows}
    waiting = [
        cases
        for digest, cases in every.items()
        if digest not in done
        and args.target in {None, cases[0].target}
        and args.only in {None, *(case.launch for case in cases)}
    ]
    moved = [bytes_of_a_row(case) for case in every_case(("sm_90",)) if case.dtype in {"bf16", "fp32"}]
    path = None
    for cases in waiting[: args.cases]:
        row = inspect(cases)
        print(*(f"{name}={value}" for name, value in row.items()), flush=True)
        rows.append(row)
        results = {"triton": version("triton"), "codes": len(every), "rows": rows, "bytes_of_a_row": moved}
        path = write_results(NAME, results, folder=RESULTS)
    ahead.show(rows, ("kernel", "target", "dtype", "launches", *ahead.FOUND, "problems"))
    ahead.show(moved, tuple(moved[0]))
    print(f"{len(rows)} of {len(every)} codes compiled, of these {len(done)} in earlier runs")
    print(f"written: {path or 'nothing new'}")
    return 1 if any(row["problems"] for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
