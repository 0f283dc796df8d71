"""Triton kernels for windows of up to 64 tokens: a whole window and head in registers.

A program keeps one head and walks over many windows, so that the bias is gathered once and, in the backward
pass, its gradient is summed over windows in registers. No score ever reaches memory: the backward pass
computes them again. A padded query is left zero: its output is dropped, so it has no gradient either.

Legend: n position in a window; M MC rows and columns of a window, N = M * MC <= BLOCK; D channels a head,
BLOCK_D the power of two that holds them.
"""

# Triton's language is traced, not run: its types tell pyright little about indexing and loops.
# pyright: reportCallIssue=false, reportArgumentType=false, reportGeneralTypeIssues=false
# pyright: reportAttributeAccessIssue=false

import triton
import triton.language as tl

from swinkit.ops.window_attention.triton_common import (
    SIZES,
    bias_of,
    cut_through,
    fill,
    first_token,
    kept,
    load_keys_values,
    load_rows,
    multiply,
    pad_token,
    place,
    scores_of,
    side_of,
    store_rows,
)


@triton.jit(do_not_specialize=SIZES)
def forward_window(
    qkv,
    table,
    pad,
    seed,
    out,
    H,
    W,
    heads,
    windows_down,
    windows_across,
    windows,
    shift_down,
    shift_across,
    chunks,
    scale,
    dropout,
    M: tl.constexpr,
    MC: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PADDED: tl.constexpr,
    APPEARANCE: tl.constexpr,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Out of qkv, for every `chunks`-th window of one head."""
    head = tl.program_id(0) % heads
    chunk = tl.program_id(0) // heads
    n = tl.arange(0, BLOCK)
    side = side_of(n, shift_down, shift_across, M, MC)
    pad_k = pad_token(pad, qkv, 1, head, heads, D, BLOCK_D, PADDED)
    pad_v = pad_token(pad, qkv, 2, head, heads, D, BLOCK_D, PADDED)
    bias = bias_of(table + head, n[:, None], n[None, :], heads, M, MC, HAS_BIAS)
    for window in tl.range(chunk, windows, chunks, num_stages=STAGES):
        cut = cut_through(window, windows_down, windows_across)
        token, inside = place(window, n, H, W, windows_down, windows_across, shift_down, shift_across, M, MC)
        first_row = first_token(window, H, W, windows_down, windows_across)
        row = qkv + first_row * (3 * heads * D) + head * D
        q = load_rows(row, token, inside, 3 * heads * D, D, BLOCK_D)
        k, v = load_keys_values(row, token, inside, heads, pad_k, pad_v, D, BLOCK_D, PADDED)
        scores = scores_of(q, k, bias, side & cut, side & cut, scale, APPEARANCE, PRECISION)
        weights = tl.exp2(scores - tl.max(scores, 1)[:, None])
        total = tl.sum(weights, 1)
        if DROPOUT:
            keep = kept(seed, window * heads + head, n[:, None], n[None, :], dropout, M * MC)
            weights = tl.where(keep, weights / (1.0 - dropout), 0.0)
        attended = multiply(weights.to(v.dtype), v, PRECISION) / total[:, None]
        store_rows(out + first_row * (heads * D) + head * D, attended, token, inside, heads * D, D, BLOCK_D)


@triton.jit(do_not_specialize=SIZES)
def backward_window(
    grad_out,
    qkv,
    table,
    pad,
    seed,
    grad_qkv,
    grad_bias,
    grad_pad,
    H,
    W,
    heads,
    windows_down,
    windows_across,
    windows,
    shift_down,
    shift_across,
    chunks,
    scale,
    dropout,
    M: tl.constexpr,
    MC: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PADDED: tl.constexpr,
    APPEARANCE: tl.constexpr,
    DROPOUT: tl.constexpr,
    NEED_BIAS: tl.constexpr,
    NEED_PAD: tl.constexpr,
    PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Gradients for every `chunks`-th window of one head.

    grad_qkv is complete; grad_bias (chunks, heads, N, N) is this program's share, and grad_pad (windows, 2,
    heads, D), of k and v, that of each window: summed here, it would take registers from the first window to
    the last. Each product is stored before the next one is made, for the same reason.
    """
    head = tl.program_id(0) % heads
    chunk = tl.program_id(0) // heads
    n = tl.arange(0, BLOCK)
    side = side_of(n, shift_down, shift_across, M, MC)
    d = tl.arange(0, BLOCK_D)
    bias = bias_of(table + head, n[:, None], n[None, :], heads, M, MC, HAS_BIAS)
    sum_bias = tl.zeros((BLOCK, BLOCK), tl.float32)
    for window in tl.range(chunk, windows, chunks, num_stages=STAGES):
        cut = cut_through(window, windows_down, windows_across)
        token, inside = place(window, n, H, W, windows_down, windows_across, shift_down, shift_across, M, MC)
        first_row = first_token(window, H, W, windows_down, windows_across)
        row = qkv + first_row * (3 * heads * D) + head * D
        q = load_rows(row, token, inside, 3 * heads * D, D, BLOCK_D)
        k = load_rows(row + heads * D, token, inside, 3 * heads * D, D, BLOCK_D)
        v = load_rows(row + 2 * heads * D, token, inside, 3 * heads * D, D, BLOCK_D)
        # the padding's token is read again for each window: kept in registers, it would make others spill
        k = fill(k, inside, pad_token(pad, qkv, 1, head, heads, D, BLOCK_D, PADDED), PADDED)
        v = fill(v, inside, pad_token(pad, qkv, 2, head, heads, D, BLOCK_D, PADDED), PADDED)
        grad = load_rows(grad_out + first_row * (heads * D) + head * D, token, inside, heads * D, D, BLOCK_D)

        scores = scores_of(q, k, bias, side & cut, side & cut, scale, APPEARANCE, PRECISION)
        weights = tl.exp2(scores - tl.max(scores, 1)[:, None])
        weights = weights / tl.sum(weights, 1)[:, None]
        used = weights
        if DROPOUT:
            keep = kept(seed, window * heads + head, n[:, None], n[None, :], dropout, M * MC)
            used = tl.where(keep, weights / (1.0 - dropout), 0.0)
        padded = (n < M * MC) & (inside == 0)
        grad_row = grad_qkv + first_row * (3 * heads * D) + head * D
        share = grad_pad + (2 * window * heads + head).to(tl.int64) * D + d

        grad_v = multiply(tl.trans(used.to(v.dtype)), grad, PRECISION)
        store_rows(grad_row + 2 * heads * D, grad_v, token, inside, 3 * heads * D, D, BLOCK_D)
        if NEED_PAD:
            tl.store(share + heads * D, tl.sum(tl.where(padded[:, None], grad_v, 0.0), 0), mask=d < D)
        grad_scores = used * multiply(grad, tl.trans(v), PRECISION)
        grad_scores -= weights * tl.sum(grad_scores, 1)[:, None]
        if NEED_BIAS:
            sum_bias += grad_scores
        if APPEARANCE:
            grad_scores = grad_scores.to(q.dtype)
            grad_q = multiply(grad_scores, k, PRECISION) * scale
        else:
            grad_q = tl.zeros((BLOCK, BLOCK_D), tl.float32)
        store_rows(grad_row, grad_q, token, inside, 3 * heads * D, D, BLOCK_D)
        if APPEARANCE:
            grad_k = multiply(tl.trans(grad_scores), q, PRECISION) * scale
        else:
            grad_k = tl.zeros((BLOCK, BLOCK_D), tl.float32)
        store_rows(grad_row + heads * D, grad_k, token, inside, 3 * heads * D, D, BLOCK_D)
        if NEED_PAD:
            tl.store(share, tl.sum(tl.where(padded[:, None], grad_k, 0.0), 0), mask=d < D)
    if NEED_BIAS:
        real = (n < M * MC)[:, None] & (n < M * MC)[None, :]
        place_in_share = n[:, None] * (M * MC) + n[None, :]
        tl.store(
            grad_bias + (chunk * heads + head).to(tl.int64) * (M * MC * M * MC) + place_in_share,
            sum_bias,
            mask=real,
        )


@triton.jit(do_not_specialize=["heads"])
def table_of_bias(
    grad_bias,
    grad_table,
    heads,
    M: tl.constexpr,
    MC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    """Gradient of the bias table out of that of the bias (heads, N, N): one program a head and row offset.

    Every pair of positions is read by the one program that its offset belongs to: no atomics, a fixed order.
    """
    head = tl.program_id(0) % heads
    down = tl.program_id(0) // heads - (M - 1)
    offset = tl.arange(0, BLOCK_R)
    across = offset - (MC - 1)
    j = tl.arange(0, BLOCK)
    key_j = j[None, :] - across[:, None]
    real = (j < MC)[None, :] & (key_j >= 0) & (key_j < MC) & (offset < 2 * MC - 1)[:, None]
    total = tl.zeros((BLOCK_R,), tl.float32)
    for i in range(tl.maximum(down, 0), tl.minimum(M + down, M)):
        query = i * MC + j
        key = (i - down) * MC + key_j
        pair = head.to(tl.int64) * (M * MC * M * MC) + query[None, :] * (M * MC) + key
        total += tl.sum(tl.load(grad_bias + pair, mask=real, other=0.0), 1)
    row = (down + M - 1) * (2 * MC - 1) + offset
    tl.store(grad_table + row * heads + head, total.to(grad_table.dtype.element_ty), mask=offset < 2 * MC - 1)
