"""How the Triton kernels of window attention cut their work: block sizes, warps, programs.

Plain Python, no Triton: what is chosen can be read, listed and tested anywhere. Every choice here is compiled
ahead of time by benchmarks/kernels_ahead_of_time.py, and taken only if no register is spilled.
"""

from dataclasses import dataclass

import torch

WHOLE = 64
"""Tokens of the largest window that one program holds at once."""

MAX_CHANNELS = 64
"""Channels a head, at most: beyond, the blocks below no longer fit into registers."""

FORWARD_PROGRAMS = 2048
BACKWARD_PROGRAMS = 1024
"""Programs that share the windows: enough to fill the largest chip a few times, few enough that one sees many
windows. Constants, not the chip's size, so that sums are taken in the same order on every GPU."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Work of one program of a kernel.

    Args:
        queries: rows of a block of scores.
        keys: columns of a block of scores.
        warps: warps a program.
        stages: blocks in flight from memory.
        splits: programs that share the queries of one window and head.
    """

    queries: int
    keys: int
    warps: int
    stages: int
    splits: int = 1


def is_whole(tokens: int) -> bool:
    """Whether a window of `tokens` is held by one program at once."""
    return tokens <= WHOLE


def padded_channels(channels: int) -> int:
    """Power of two that holds the channels of a head, and that the matrix units take."""
    return max(16, 1 << (channels - 1).bit_length())


def forward(tokens: int, channels: int, dtype: torch.dtype, tf32: bool) -> Blocks:
    """Blocks of the forward kernel."""
    if is_whole(tokens):
        side = max(16, 1 << (tokens - 1).bit_length())
        return Blocks(queries=side, keys=side, warps=4 if side == 64 else 2 if side == 32 else 1, stages=2)
    return Blocks(queries=64, keys=32, warps=4, stages=2, splits=-(-tokens // 256))


def backward(kernel: str, tokens: int, channels: int, dtype: torch.dtype, tf32: bool) -> Blocks:
    """Blocks of a backward kernel: "window", "queries", "keys" or "bias"."""
    if kernel == "window":
        side = max(16, 1 << (tokens - 1).bit_length())
        return Blocks(queries=side, keys=side, warps=4 if side == 64 else 2 if side == 32 else 1, stages=1)
    return Blocks(queries=64, keys=32, warps=4, stages=1, splits=-(-tokens // 256))


def chunks(windows: int, others: int, programs: int) -> int:
    """Into how many programs the windows are dealt, where there are `others` programs besides."""
    each = -(-windows // max(1, programs // others))
    return -(-windows // torch.sym_max(1, each))  # type: ignore[return-value]  # a SymInt is an int to a caller


def cut(blocks: Blocks) -> dict[str, int]:
    """The choice as the kernels of large windows take it."""
    return {
        "BLOCK_Q": blocks.queries,
        "BLOCK_K": blocks.keys,
        "STAGES": blocks.stages,
        "num_warps": blocks.warps,
    }
