"""What every Triton kernel of window attention does alike: where a token lies, its bias, its dropout.

Scores are kept in powers of two (multiplied by log2 e), because the chip's own exponential is 2 ** x.

Legend: n position in a window, row by row; M MC rows and columns of a window, N = M * MC; D channels a head,
BLOCK_D the power of two that holds them.
"""

# Triton's language is traced, not run: its types tell pyright little about indexing and loops.
# pyright: reportCallIssue=false, reportArgumentType=false, reportGeneralTypeIssues=false
# pyright: reportAttributeAccessIssue=false

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
MASKED = tl.constexpr(-144.26950408889634)
"""-100, the published code's value between regions (see reference.py), in powers of two."""

INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))
"""Whether kernels of this process run in Triton's interpreter."""

SIZES = [
    "H",
    "W",
    "heads",
    "windows_down",
    "windows_across",
    "windows",
    "shift_down",
    "shift_across",
    "chunks",
]
"""Plain numbers: compiling once more for those that happen to divide by 16 is not worth it."""


@triton.jit
def multiply(a, b, PRECISION: tl.constexpr):
    """Matrix product with sums in float32, as the matrix units make it.

    Triton's interpreter keeps bfloat16 as bare bits and would multiply those, so it is given float32.
    """
    if INTERPRETED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def place(
    window, n, H, W, windows_down, windows_across, shift_down, shift_across, M: tl.constexpr, MC: tl.constexpr
):
    """Where positions `n` of window number `window` lie.

    Returns the token's number in its picture, and whether it is inside the map: beyond N none is.
    """
    row = window // windows_across % windows_down * M + n // MC + shift_down
    row = tl.where(row >= windows_down * M, row - windows_down * M, row)
    column = window % windows_across * MC + n % MC + shift_across
    column = tl.where(column >= windows_across * MC, column - windows_across * MC, column)
    inside = (row < H) & (column < W) & (n < M * MC)
    return row * W + column, inside


@triton.jit
def first_token(window, H, W, windows_down, windows_across):
    """Number in the (B, H, W) map of the first token of a window's picture, in 64 bits."""
    return (window // (windows_down * windows_across)).to(tl.int64) * H * W


@triton.jit
def side_of(n, shift_down, shift_across, M: tl.constexpr, MC: tl.constexpr):
    """On which side of the cyclic shift's cut positions `n` lie: 2 for below, plus 1 for right of it."""
    below = (n // MC >= M - shift_down).to(tl.int32)
    return 2 * below + (n % MC >= MC - shift_across).to(tl.int32)


@triton.jit
def cut_through(window, windows_down, windows_across):
    """Which cuts run through a window, in the bits of `side_of`: only an axis's last window has one."""
    last_down = window // windows_across % windows_down == windows_down - 1
    last_across = window % windows_across == windows_across - 1
    return 2 * last_down.to(tl.int32) + last_across.to(tl.int32)


@triton.jit
def load_rows(base, token, inside, stride, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Rows `token` of a picture whose tokens are `stride` apart, as (n, BLOCK_D), zero outside of the map."""
    d = tl.arange(0, BLOCK_D)
    mask = inside[:, None]
    if BLOCK_D > D:
        mask = mask & (d < D)[None, :]
    return tl.load(base + (token.to(tl.int64) * stride)[:, None] + d[None, :], mask=mask, other=0.0)


@triton.jit
def store_rows(base, x, token, inside, stride, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Inverse of `load_rows`: write `x` in the map's dtype, leave alone what is outside of the map."""
    d = tl.arange(0, BLOCK_D)
    mask = inside[:, None]
    if BLOCK_D > D:
        mask = mask & (d < D)[None, :]
    tl.store(
        base + (token.to(tl.int64) * stride)[:, None] + d[None, :], x.to(base.dtype.element_ty), mask=mask
    )


@triton.jit
def pad_token(pad, qkv, part, head, heads, D: tl.constexpr, BLOCK_D: tl.constexpr, PADDED: tl.constexpr):
    """What a padded token's `part` (0, 1, 2 for q, k, v) is, as (BLOCK_D,) in qkv's dtype."""
    d = tl.arange(0, BLOCK_D)
    if PADDED:
        token = tl.load(pad + (part * heads + head) * D + d, mask=d < D, other=0.0)
    else:
        token = tl.zeros((BLOCK_D,), tl.float32)
    return token.to(qkv.dtype.element_ty)


@triton.jit
def fill(x, inside, token, PADDED: tl.constexpr):
    """Put the padding's token into the rows outside of the map."""
    if PADDED:
        x = tl.where(inside[:, None], x, token[None, :])
    return x


@triton.jit
def load_keys_values(
    row, token, inside, heads, pad_k, pad_v, D: tl.constexpr, BLOCK_D: tl.constexpr, PADDED: tl.constexpr
):
    """k and v of tokens of one head, whose q begins at `row`; the padding's token outside of the map."""
    k = load_rows(row + heads * D, token, inside, 3 * heads * D, D, BLOCK_D)
    v = load_rows(row + 2 * heads * D, token, inside, 3 * heads * D, D, BLOCK_D)
    return fill(k, inside, pad_k, PADDED), fill(v, inside, pad_v, PADDED)


@triton.jit
def bias_of(table, query, key, stride, M: tl.constexpr, MC: tl.constexpr, HAS_BIAS: tl.constexpr):
    """Position bias of queries and keys that broadcast against each other, in powers of two.

    The row of the table is linear in both positions (equation 4), so it takes one subtraction. A key beyond
    the window gets minus infinity: the softmax then never sees it.
    """
    real = key < M * MC
    if HAS_BIAS:
        row = (query // MC - key // MC + M - 1) * (2 * MC - 1) + query % MC - key % MC + MC - 1
        bias = tl.load(table + row * stride, mask=real & (query < M * MC), other=0.0).to(tl.float32) * LOG2_E
    else:
        bias = (query + key).to(tl.float32) * 0.0
    return tl.where(real, bias, float("-inf"))


@triton.jit
def scores_of(q, k, bias, side_q, side_k, scale, APPEARANCE: tl.constexpr, PRECISION: tl.constexpr):
    """Scores (queries, keys) in powers of two: scale * q k^T + bias + mask between sides of a cut."""
    scores = bias
    if APPEARANCE:
        scores += multiply(q, tl.trans(k), PRECISION) * (scale * LOG2_E)
    return tl.where(side_q[:, None] == side_k[None, :], scores, scores + MASKED)


@triton.jit
def kept(seed, window_head, query, key, dropout, N: tl.constexpr):
    """Whether an attention weight survives dropout: a function of the seed and of the weight's place only."""
    pair = query * N + key
    bits, _, _, _ = tl.philox(tl.load(seed), pair, pair * 0 + window_head, pair * 0, pair * 0)
    return tl.uint_to_uniform_float(bits) >= dropout
