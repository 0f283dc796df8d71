"""How the Triton kernels of window attention cut their work: block sizes, warps, programs.

Plain Python, no Triton: what is chosen can be read, listed and tested anywhere.
benchmarks/kernels_ahead_of_time.py compiles the choices and counts spilled registers; each choice below that
looks odd is one that had some.
"""

from dataclasses import dataclass

import torch

MAX_CHANNELS = 64
"""Channels a head, at most: beyond, the blocks below no longer fit into registers."""

FORWARD_PROGRAMS = 2048
BACKWARD_PROGRAMS = 1024
"""Programs that share the windows: enough to fill the largest chip a few times, few enough that one sees many
windows. Constants, not the chip's size, so that sums are taken in the same order on every GPU."""

FLOAT32_CUTS = {
    ("forward", 16, True): (16, 128),
    ("forward", 32, True): (16, 128),
    ("queries", 32, False): (16, 128),
    ("queries", 64, False): (16, 64),
    ("keys", 32, False): (32, 256),
    ("bias", 16, True): (16, 128),
    ("bias", 64, True): (16, 256),
}
"""By kernel, padded channels and TF32: queries of a block and threads of the float32 kernels that would spill
with the usual numbers."""


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


def forward(tokens: int, channels: int, dtype: torch.dtype, tf32: bool, lanes: int = 32) -> Blocks:
    """Blocks of the forward kernel, on a chip whose warps have so many lanes."""
    return _blocks("forward", tokens, channels, dtype, tf32, lanes)


def backward(
    kernel: str, tokens: int, channels: int, dtype: torch.dtype, tf32: bool, lanes: int = 32
) -> Blocks:
    """Blocks of a backward kernel: "window", "queries", "keys" or "bias"."""
    return _blocks(kernel, tokens, channels, dtype, tf32, lanes)


def _blocks(kernel: str, tokens: int, channels: int, dtype: torch.dtype, tf32: bool, lanes: int) -> Blocks:
    float32, forward = dtype == torch.float32, kernel == "forward"
    stages = 2 if forward and not float32 else 1
    if is_whole(tokens, channels, dtype, tf32):
        side = max(16, 1 << (tokens - 1).bit_length())
        warps = _warps_of_a_window(kernel, side, channels, float32, lanes)
        return Blocks(queries=side, keys=side, warps=warps, stages=stages)
    queries, threads = _cut(kernel, channels, dtype, tf32)
    splits = -(-tokens // 256)
    return Blocks(queries=queries, keys=32, warps=threads // lanes, stages=stages, splits=splits)


def _warps_of_a_window(kernel: str, side: int, channels: int, float32: bool, lanes: int) -> int:
    threads = {16: 32, 32: 64, 64: 128}[side]
    if float32 and (channels > 16 or kernel == "window"):
        threads *= 2
    if float32 and channels > 16 and kernel == "window" and side == 64 and lanes == 32:
        threads *= 2  # a thread of 64 lanes has twice the registers
    return max(1, threads // lanes)


def _cut(kernel: str, channels: int, dtype: torch.dtype, tf32: bool) -> tuple[int, int]:
    """Queries of a block, and threads."""
    if dtype != torch.float32:
        return (32, 256 if kernel in {"forward", "queries"} else 128) if channels > 32 else (64, 128)
    usual = 16 if channels > 32 else 32, 128
    return FLOAT32_CUTS.get((kernel, padded_channels(channels), tf32), usual)


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
