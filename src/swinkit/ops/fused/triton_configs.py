"""How the fused kernels cut their work: which kernel, block sizes, warps. Plain Python, no Triton.

benchmarks/fused_ahead_of_time.py compiles the choices and counts spilled registers.
"""

from dataclasses import dataclass

import torch

MAX_ROW = 256
"""Channels of a row that a program of `linear_rows` keeps, at most."""

MAX_MLP = 192
"""Channels of the MLP that is one kernel, at most: the sums of a row stay in registers."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Work of one program of a kernel.

    Args:
        rows: rows of x.
        columns: columns of the result, or of the hidden layer, at a time.
        depth: channels of x at a time; 0 for a whole row.
        warps: warps a program.
        stages: blocks in flight from memory.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


def keeps_rows(channels: int, dtype: torch.dtype) -> bool:
    """Whether a linear layer is `linear_rows`; float32 would not fit."""
    return dtype != torch.float32 and channels <= MAX_ROW


def keeps_hidden(channels: int, dtype: torch.dtype) -> bool:
    """Whether an MLP is one kernel."""
    return dtype != torch.float32 and channels <= MAX_MLP


def pieces(channels: int) -> tuple[int, int]:
    """Powers of two that hold a row side by side: (2c, c) for 3c as in 96 and 192, else (c, 0), the next one.

    The matrix units take 16 at least.
    """
    third = channels // 3
    if channels % 3 == 0 and third >= 16 and third & (third - 1) == 0:
        return 2 * third, third
    return max(16, 1 << (channels - 1).bit_length()), 0


def linear_rows(channels: int, columns: int, lanes: int = 32) -> Blocks:
    """Blocks of `linear_rows`, on a chip whose warps have so many lanes."""
    return Blocks(rows=128, columns=min(64, block_of(columns)), depth=0, warps=256 // lanes, stages=2)


def linear_blocks(channels: int, columns: int, dtype: torch.dtype, tf32: bool, lanes: int = 32) -> Blocks:
    """Blocks of `linear_blocks`; `channels` of a token, before merging."""
    if dtype == torch.float32 and not tf32:  # no matrix units: small blocks; others spill a few numbers
        rows, wide, depth, stages = 64, 64, 16, 3
    elif dtype == torch.float32:
        rows, wide, depth, stages = 128, 128, 32, 2
    else:
        rows, wide, depth, stages = 128, 128, 64 if channels % 64 == 0 else 32, 3
    return Blocks(
        rows=rows,
        columns=min(wide, block_of(columns)),
        depth=min(depth, block_of(channels)),
        warps=256 // lanes,
        stages=stages,
    )


def is_whole(channels: int, columns: int, blocks: Blocks) -> bool:
    """Whether blocks of `linear_blocks` fit in, so that it needs no masks."""
    return channels % blocks.depth == 0 and columns % blocks.columns == 0


def mlp_rows(channels: int, hidden: int, lanes: int = 32) -> Blocks:
    """Blocks of `mlp_rows`."""
    wide = 64 if channels <= 128 else 32
    return Blocks(rows=128, columns=min(wide, block_of(hidden)), depth=0, warps=256 // lanes, stages=2)


def block_of(count: int) -> int:
    """Power of two that holds `count`, and that the matrix units take."""
    return max(16, 1 << (count - 1).bit_length())
