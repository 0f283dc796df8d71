"""How the Triton kernels of window attention cut their work: block sizes, warps, programs.

Plain Python, no Triton: what is chosen can be read, listed and tested anywhere.
benchmarks/kernels_ahead_of_time.py compiles the choices and counts spilled registers: for windows of 7 in
bfloat16 there are none on an unpadded map; on a padded one the backward kernel has a few.
"""

from dataclasses import dataclass

import torch

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


def is_whole(tokens: int, channels: int, dtype: torch.dtype, tf32: bool) -> bool:
    """Whether one program holds a whole window and head; where that would spill registers, it goes in blocks.

    TF32 fragments take twice the registers of half types.
    """
    if channels > 32 or (dtype == torch.float32 and tf32):
        return tokens <= 32
    return tokens <= 64


def padded_channels(channels: int) -> int:
    """Power of two that holds the channels of a head, and that the matrix units take."""
    return max(16, 1 << (channels - 1).bit_length())


def forward(tokens: int, channels: int, dtype: torch.dtype, tf32: bool) -> Blocks:
    """Blocks of the forward kernel."""
    return (
        _whole(tokens, dtype, 2)
        if is_whole(tokens, channels, dtype, tf32)
        else _cut(tokens, channels, dtype, 2)
    )


def backward(kernel: str, tokens: int, channels: int, dtype: torch.dtype, tf32: bool) -> Blocks:
    """Blocks of a backward kernel: "window", "queries", "keys" or "bias"."""
    return _whole(tokens, dtype, 1) if kernel == "window" else _cut(tokens, channels, dtype, 1)


def _whole(tokens: int, dtype: torch.dtype, stages: int) -> Blocks:
    side = max(16, 1 << (tokens - 1).bit_length())
    warps = {16: 1, 32: 2, 64: 4}[side]
    if dtype == torch.float32:
        return Blocks(queries=side, keys=side, warps=2 * warps, stages=1)
    return Blocks(queries=side, keys=side, warps=warps, stages=stages)


def _cut(tokens: int, channels: int, dtype: torch.dtype, stages: int) -> Blocks:
    splits = -(-tokens // 256)
    if dtype == torch.float32:
        return Blocks(queries=16 if channels > 32 else 32, keys=32, warps=4, stages=1, splits=splits)
    return Blocks(queries=32 if channels > 32 else 64, keys=32, warps=4, stages=stages, splits=splits)


def chunks(windows: int, others: int, programs: int) -> int:
    """Into how many programs the windows are dealt, where there are `others` programs besides.

    A tracer's unknown number of windows is dealt to as many as there may be; one without windows adds zero.
    """
    most = max(1, programs // others)
    if not isinstance(windows, int):
        return most
    each = -(-windows // most)
    return -(-windows // max(1, each))


def cut(blocks: Blocks) -> dict[str, int]:
    """The choice as the kernels of large windows take it."""
    return {
        "BLOCK_Q": blocks.queries,
        "BLOCK_K": blocks.keys,
        "STAGES": blocks.stages,
        "num_warps": blocks.warps,
    }
