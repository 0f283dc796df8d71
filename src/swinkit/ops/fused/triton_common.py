"""What the fused kernels do alike: rows of a map and of a weight, GELU, the end of a linear layer.

Legend: L rows of x, C channels of a row, K columns of the result; a BLOCK of each is a power of two.
"""

# Triton's language is traced, not run: its types tell pyright little about indexing and loops.
# pyright: reportCallIssue=false, reportArgumentType=false, reportGeneralTypeIssues=false
# pyright: reportAttributeAccessIssue=false

import triton
import triton.language as tl

from swinkit.ops.window_attention.triton_common import multiply

SIZES = ["rows", "H", "W"]
"""Plain numbers: compiling once more for those that happen to divide by 16 is not worth it."""


@triton.jit
def load_rows(base, row, inside, first, stride, C: tl.constexpr, BLOCK: tl.constexpr):
    """C columns from `first` on of rows that are `stride` apart, as (L, BLOCK), zero outside and beyond."""
    c = tl.arange(0, BLOCK)
    mask = inside[:, None]
    if BLOCK > C:
        mask = mask & (c < C)[None, :]
    return tl.load(base + (row.to(tl.int64) * stride)[:, None] + (first + c)[None, :], mask=mask, other=0.0)


@triton.jit
def load_tile(
    base, first_row, first, ROWS: tl.constexpr, C: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr
):
    """Tile (BLOCK_R, BLOCK_C) of a matrix (ROWS, C), zero beyond it."""
    row = first_row + tl.arange(0, BLOCK_R)
    c = first + tl.arange(0, BLOCK_C)
    place = base + row[:, None] * C + c[None, :]
    if ROWS % BLOCK_R == 0 and C % BLOCK_C == 0:
        tile = tl.load(place)
    else:
        tile = tl.load(place, mask=(row < ROWS)[:, None] & (c < C)[None, :], other=0.0)
    return tile


@triton.jit
def gelu(x):
    """The exact GELU, with erf."""
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def add_bias(y, bias, column, K, HAS_BIAS: tl.constexpr):
    """Add a bias (K,) to columns `column` of y (L, BLOCK_K)."""
    if HAS_BIAS:
        y += tl.load(bias + column, mask=column < K, other=0.0).to(tl.float32)[None, :]
    return y


@triton.jit
def store_linear(
    y,
    bias,
    residual,
    out,
    row,
    inside,
    first,
    K,
    BLOCK_K: tl.constexpr,
    WHOLE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    GELU: tl.constexpr,
    RESIDUAL: tl.constexpr,
):
    """Add the bias to sums y (L, BLOCK_K), then GELU, then the residual; write columns from `first` on.

    WHOLE: none of them is beyond K.
    """
    column = first + tl.arange(0, BLOCK_K)
    y = add_bias(y, bias, column, K, HAS_BIAS)
    if GELU:
        y = gelu(y)
    place = (row.to(tl.int64) * K)[:, None] + column[None, :]
    mask = inside[:, None]
    if not WHOLE:
        mask = mask & (column < K)[None, :]
    if RESIDUAL:
        y += tl.load(residual + place, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + place, y.to(out.dtype.element_ty), mask=mask)


@triton.jit
def normalise(a, b, eps, C: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr):
    """Rows minus their mean, over their deviation, in the dtype of x; a row is `a` (L, FIRST) and `b`
    (L, SECOND) side by side, C numbers in all.
    """
    dtype = a.dtype
    a = a.to(tl.float32)
    b = b.to(tl.float32)
    total = tl.sum(a, 1)
    if SECOND:
        total += tl.sum(b, 1)
    mean = total / C
    a = a - mean[:, None]
    if FIRST > C:
        a = tl.where((tl.arange(0, FIRST) < C)[None, :], a, 0.0)
    squares = tl.sum(a * a, 1)
    if SECOND:
        b = b - mean[:, None]
        squares += tl.sum(b * b, 1)
    factor = tl.rsqrt(squares / C + eps)[:, None]
    return (a * factor).to(dtype), (b * factor).to(dtype)


@triton.jit
def times_weight(
    a,
    b,
    weight,
    first,
    K: tl.constexpr,
    C: tl.constexpr,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Rows times rows `first` to `first` + BLOCK_K of a weight (K, C): (L, BLOCK_K) in float32."""
    y = multiply(a, tl.trans(load_tile(weight, first, 0, K, C, BLOCK_K, FIRST)), PRECISION)
    if SECOND:
        y += multiply(b, tl.trans(load_tile(weight, first, FIRST, K, C, BLOCK_K, SECOND)), PRECISION)
    return y
