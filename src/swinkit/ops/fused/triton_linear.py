"""Triton kernels of a linear layer with what stands before and behind it: norm, GELU, residual, merging.

`linear_rows` keeps whole rows of x and walks over the columns of the result, so that x is read once;
`linear_blocks` walks over the channels, for rows that are too long for that, and for float32.

Legend: L rows of x, C channels of a row, K columns of the result; H W rows and columns of a map.
"""

# Triton's language is traced, not run: its types tell pyright little about indexing and loops.
# pyright: reportCallIssue=false, reportArgumentType=false, reportGeneralTypeIssues=false
# pyright: reportAttributeAccessIssue=false, reportPossiblyUnboundVariable=false

import triton
import triton.language as tl

from swinkit.ops.fused.triton_common import (
    SIZES,
    load_rows,
    normalise,
    store_linear,
    times_weight,
)
from swinkit.ops.window_attention.triton_common import multiply


@triton.jit(do_not_specialize=SIZES)
def linear_rows(
    x,
    weight,
    bias,
    residual,
    out,
    rows,
    eps,
    C: tl.constexpr,
    K: tl.constexpr,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_K: tl.constexpr,
    NORM: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    GELU: tl.constexpr,
    RESIDUAL: tl.constexpr,
    PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Out (rows, K) of x (rows, C) and weight (K, C), BLOCK_L rows a program; C is FIRST + SECOND or less."""
    row = tl.program_id(0) * BLOCK_L + tl.arange(0, BLOCK_L)
    inside = row < rows
    a = load_rows(x, row, inside, 0, C, C, FIRST)
    b = a
    if SECOND:
        b = load_rows(x, row, inside, FIRST, C, SECOND, SECOND)
    if NORM:
        a, b = normalise(a, b, eps, C, FIRST, SECOND)
    for first in tl.range(0, K, BLOCK_K, num_stages=STAGES):
        y = times_weight(a, b, weight, first, K, C, FIRST, SECOND, BLOCK_K, PRECISION)
        store_linear(
            y, bias, residual, out, row, inside, first, K, BLOCK_K, K % BLOCK_K == 0, HAS_BIAS, GELU, RESIDUAL
        )


@triton.jit
def neighbour(row, number, inside, H, W, NEIGHBOURS: tl.constexpr):
    """Where rows of x lie: themselves, or the `number`-th of the four tokens that become token `row` of a
    map of half the size, in the order (0, 0), (1, 0), (0, 1), (1, 1) of (row, column) offsets.

    Returns the token's number in x, and whether it is there: an odd side ends in zeros.
    """
    if NEIGHBOURS == 1:
        return row.to(tl.int64), inside
    down, across = (H + 1) // 2, (W + 1) // 2
    r = row // across % down * 2 + number % 2
    c = row % across * 2 + number // 2
    return (row // (down * across)).to(tl.int64) * H * W + r * W + c, inside & (r < H) & (c < W)


@triton.jit
def part_of(
    x,
    row,
    chunk,
    chunks,
    inside,
    H,
    W,
    C,
    BLOCK_C: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """Part number `chunk` of rows of x, (L, BLOCK_C), zero beyond C; and how many columns are not."""
    token, there = neighbour(row, chunk // chunks, inside, H, W, NEIGHBOURS)
    first = chunk % chunks * BLOCK_C
    c = first + tl.arange(0, BLOCK_C)
    mask = there[:, None]
    if not WHOLE:
        mask = mask & (c < C)[None, :]
    return tl.load(x + (token * C)[:, None] + c[None, :], mask=mask, other=0.0), C - first


@triton.jit
def statistics(
    x,
    row,
    inside,
    H,
    W,
    eps,
    C,
    BLOCK_C: tl.constexpr,
    BLOCK_L: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
    WHOLE: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Of rows: a number near their mean, their mean minus that, and one over their deviation.

    The number is the first part's mean, at most sqrt(C / BLOCK_C) deviations away, so that sums of distances
    from it keep their digits however large the mean is.
    """
    chunks = tl.cdiv(C, BLOCK_C)
    begin, real = part_of(x, row, 0, chunks, inside, H, W, C, BLOCK_C, NEIGHBOURS, WHOLE)
    near = tl.sum(begin.to(tl.float32), 1) / tl.minimum(real, BLOCK_C)
    total = tl.zeros((BLOCK_L,), tl.float32)
    squares = tl.zeros((BLOCK_L,), tl.float32)
    for chunk in tl.range(0, NEIGHBOURS * chunks, num_stages=STAGES):
        part, left = part_of(x, row, chunk, chunks, inside, H, W, C, BLOCK_C, NEIGHBOURS, WHOLE)
        part = part.to(tl.float32) - near[:, None]
        if not WHOLE:
            part = tl.where((tl.arange(0, BLOCK_C) < left)[None, :], part, 0.0)
        total += tl.sum(part, 1)
        squares += tl.sum(part * part, 1)
    mean = total / (NEIGHBOURS * C)
    return near, mean, tl.rsqrt(squares / (NEIGHBOURS * C) - mean * mean + eps)


@triton.jit(do_not_specialize=SIZES)
def linear_blocks(
    x,
    weight,
    bias,
    residual,
    out,
    rows,
    H,
    W,
    eps,
    C,
    K,
    BLOCK_L: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
    WHOLE: tl.constexpr,
    NORM: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    GELU: tl.constexpr,
    RESIDUAL: tl.constexpr,
    PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Out (rows, K) of weight (K, NEIGHBOURS * C) and x, which is (rows, C), or with four neighbours a map
    (B, H, W, C) that is merged to `rows` tokens. One block of rows and columns a program; programs that
    follow each other share their rows. WHOLE: C and K are multiples of their blocks.
    """
    tiles = tl.cdiv(K, BLOCK_K)
    chunks = tl.cdiv(C, BLOCK_C)
    first = tl.program_id(0) % tiles * BLOCK_K
    row = tl.program_id(0) // tiles * BLOCK_L + tl.arange(0, BLOCK_L)
    inside = row < rows
    column = first + tl.arange(0, BLOCK_K)
    c = tl.arange(0, BLOCK_C)
    if NORM:
        near, mean, factor = statistics(
            x, row, inside, H, W, eps, C, BLOCK_C, BLOCK_L, NEIGHBOURS, WHOLE, STAGES
        )
    y = tl.zeros((BLOCK_L, BLOCK_K), tl.float32)
    for chunk in tl.range(0, NEIGHBOURS * chunks, num_stages=STAGES):
        part, real = part_of(x, row, chunk, chunks, inside, H, W, C, BLOCK_C, NEIGHBOURS, WHOLE)
        if NORM:
            part = (part.to(tl.float32) - near[:, None] - mean[:, None]) * factor[:, None]
            part = part.to(x.dtype.element_ty)
        begin = chunk // chunks * C + chunk % chunks * BLOCK_C
        place = weight + column[:, None] * (NEIGHBOURS * C) + (begin + c)[None, :]
        if WHOLE:
            tile = tl.load(place)
        else:
            tile = tl.load(place, mask=(column < K)[:, None] & (c < real)[None, :], other=0.0)
        y += multiply(part, tl.trans(tile), PRECISION)
    store_linear(y, bias, residual, out, row, inside, first, K, BLOCK_K, WHOLE, HAS_BIAS, GELU, RESIDUAL)
