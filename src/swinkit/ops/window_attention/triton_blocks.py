"""Triton kernels for windows of more than 64 tokens: blocks of queries against blocks of keys.

The forward pass is an online softmax; it leaves the log of each row's sum, in powers of two: all that the
backward pass needs to compute the weights again, block by block. Three backward kernels, because each
gradient is a sum over another index: queries' over keys, keys' over queries, the bias's over windows.

Legend: n position in a window; M MC rows and columns of a window, N = M * MC; D channels a head, BLOCK_D the
power of two that holds them; BLOCK_Q, BLOCK_K queries and keys of a block.
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
def forward_blocks(
    qkv,
    table,
    pad,
    seed,
    out,
    log_sum,
    H,
    W,
    heads,
    windows_down,
    windows_across,
    shift_down,
    shift_across,
    scale,
    dropout,
    M: tl.constexpr,
    MC: tl.constexpr,
    D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SPLITS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PADDED: tl.constexpr,
    APPEARANCE: tl.constexpr,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Out and log_sum (windows, heads, N) of one window and head, every SPLITS-th block of queries.

    `table` is (heads, rows): neighbouring positions then read neighbouring numbers.
    """
    head = tl.program_id(0) % heads
    split = tl.program_id(0) // heads % SPLITS
    window = tl.program_id(0) // (heads * SPLITS)
    pad_k = pad_token(pad, qkv, 1, head, heads, D, BLOCK_D, PADDED)
    pad_v = pad_token(pad, qkv, 2, head, heads, D, BLOCK_D, PADDED)
    table += head * ((2 * M - 1) * (2 * MC - 1))
    first_row = first_token(window, H, W, windows_down, windows_across)
    row = qkv + first_row * (3 * heads * D) + head * D
    cut = cut_through(window, windows_down, windows_across)
    for first in range(split * BLOCK_Q, M * MC, SPLITS * BLOCK_Q):
        query = first + tl.arange(0, BLOCK_Q)
        side = side_of(query, shift_down, shift_across, M, MC) & cut
        token, inside = place(
            window, query, H, W, windows_down, windows_across, shift_down, shift_across, M, MC
        )
        q = load_rows(row, token, inside, 3 * heads * D, D, BLOCK_D)
        best = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
        total = tl.zeros((BLOCK_Q,), tl.float32)
        attended = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
        for first_key in tl.range(0, M * MC, BLOCK_K, num_stages=STAGES):
            key = first_key + tl.arange(0, BLOCK_K)
            side_k = side_of(key, shift_down, shift_across, M, MC) & cut
            token_k, inside_k = place(
                window, key, H, W, windows_down, windows_across, shift_down, shift_across, M, MC
            )
            k, v = load_keys_values(row, token_k, inside_k, heads, pad_k, pad_v, D, BLOCK_D, PADDED)
            bias = bias_of(table, query[:, None], key[None, :], 1, M, MC, HAS_BIAS)
            scores = scores_of(q, k, bias, side, side_k, scale, APPEARANCE, PRECISION)
            better = tl.maximum(best, tl.max(scores, 1))
            weights = tl.exp2(scores - better[:, None])
            shrink = tl.exp2(best - better)
            total = total * shrink + tl.sum(weights, 1)
            if DROPOUT:
                keep = kept(seed, window * heads + head, query[:, None], key[None, :], dropout, M * MC)
                weights = tl.where(keep, weights / (1.0 - dropout), 0.0)
            attended = attended * shrink[:, None] + multiply(weights.to(v.dtype), v, PRECISION)
            best = better
        store_rows(
            out + first_row * (heads * D) + head * D,
            attended / total[:, None],
            token,
            inside,
            heads * D,
            D,
            BLOCK_D,
        )
        share = (window * heads + head).to(tl.int64) * (M * MC)
        tl.store(log_sum + share + query, best + tl.log2(total), mask=query < M * MC)


@triton.jit
def gradient_of_scores(
    q,
    k,
    v,
    grad,
    log_sum,
    delta,
    bias,
    side_q,
    side_k,
    seed,
    window_head,
    query,
    key,
    scale,
    dropout,
    N: tl.constexpr,
    APPEARANCE: tl.constexpr,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Weights as they multiplied v, and the gradient of the scores, of one block of (queries, keys)."""
    scores = scores_of(q, k, bias, side_q, side_k, scale, APPEARANCE, PRECISION)
    weights = tl.exp2(scores - log_sum[:, None])
    grad_weights = multiply(grad, tl.trans(v), PRECISION)
    used = weights
    if DROPOUT:
        keep = kept(seed, window_head, query[:, None], key[None, :], dropout, N)
        used = tl.where(keep, weights / (1.0 - dropout), 0.0)
        grad_weights = tl.where(keep, grad_weights / (1.0 - dropout), 0.0)
    return used, weights * (grad_weights - delta[:, None])


@triton.jit(do_not_specialize=SIZES)
def backward_queries(
    grad_out,
    qkv,
    table,
    pad,
    seed,
    out,
    log_sum,
    delta,
    grad_qkv,
    H,
    W,
    heads,
    windows_down,
    windows_across,
    shift_down,
    shift_across,
    scale,
    dropout,
    M: tl.constexpr,
    MC: tl.constexpr,
    D: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SPLITS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PADDED: tl.constexpr,
    APPEARANCE: tl.constexpr,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Gradient of q, and for the other kernels delta (windows, heads, N), sums over d of grad_out * out."""
    head = tl.program_id(0) % heads
    split = tl.program_id(0) // heads % SPLITS
    window = tl.program_id(0) // (heads * SPLITS)
    pad_k = pad_token(pad, qkv, 1, head, heads, D, BLOCK_D, PADDED)
    pad_v = pad_token(pad, qkv, 2, head, heads, D, BLOCK_D, PADDED)
    table += head * ((2 * M - 1) * (2 * MC - 1))
    share = (window * heads + head).to(tl.int64) * (M * MC)
    first_row = first_token(window, H, W, windows_down, windows_across)
    row = qkv + first_row * (3 * heads * D) + head * D
    cut = cut_through(window, windows_down, windows_across)
    for first in range(split * BLOCK_Q, M * MC, SPLITS * BLOCK_Q):
        query = first + tl.arange(0, BLOCK_Q)
        side = side_of(query, shift_down, shift_across, M, MC) & cut
        token, inside = place(
            window, query, H, W, windows_down, windows_across, shift_down, shift_across, M, MC
        )
        grad = load_rows(grad_out + first_row * (heads * D) + head * D, token, inside, heads * D, D, BLOCK_D)
        attended = load_rows(out + first_row * (heads * D) + head * D, token, inside, heads * D, D, BLOCK_D)
        delta_q = tl.sum(grad.to(tl.float32) * attended.to(tl.float32), 1)
        tl.store(delta + share + query, delta_q, mask=query < M * MC)
        grad_q = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
        if APPEARANCE:
            q = load_rows(row, token, inside, 3 * heads * D, D, BLOCK_D)
            log_q = tl.load(log_sum + share + query, mask=query < M * MC, other=float("inf"))
            for first_key in tl.range(0, M * MC, BLOCK_K, num_stages=STAGES):
                key = first_key + tl.arange(0, BLOCK_K)
                side_k = side_of(key, shift_down, shift_across, M, MC) & cut
                token_k, inside_k = place(
                    window, key, H, W, windows_down, windows_across, shift_down, shift_across, M, MC
                )
                k, v = load_keys_values(row, token_k, inside_k, heads, pad_k, pad_v, D, BLOCK_D, PADDED)
                bias = bias_of(table, query[:, None], key[None, :], 1, M, MC, HAS_BIAS)
                _, grad_scores = gradient_of_scores(
                    q, k, v, grad, log_q, delta_q, bias, side, side_k, seed, window * heads + head,
                    query, key, scale, dropout, M * MC, APPEARANCE, DROPOUT, PRECISION
                )  # fmt: skip
                grad_q += multiply(grad_scores.to(k.dtype), k, PRECISION)
        store_rows(
            grad_qkv + first_row * (3 * heads * D) + head * D,
            grad_q * scale,
            token,
            inside,
            3 * heads * D,
            D,
            BLOCK_D,
        )


@triton.jit(do_not_specialize=SIZES)
def backward_keys(
    grad_out,
    qkv,
    table,
    pad,
    seed,
    log_sum,
    delta,
    grad_qkv,
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
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PADDED: tl.constexpr,
    APPEARANCE: tl.constexpr,
    DROPOUT: tl.constexpr,
    NEED_PAD: tl.constexpr,
    PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Gradients of k and v of one block of keys and head, for every `chunks`-th window.

    grad_pad (windows, blocks of keys, 2, heads, D) is each window's share of the padding token's gradient:
    summed here, it would take registers from the first window to the last.
    """
    blocks: tl.constexpr = (M * MC + BLOCK_K - 1) // BLOCK_K
    head = tl.program_id(0) % heads
    block = tl.program_id(0) // heads % blocks
    chunk = tl.program_id(0) // (heads * blocks)
    key = block * BLOCK_K + tl.arange(0, BLOCK_K)
    side_k = side_of(key, shift_down, shift_across, M, MC)
    pad_k = pad_token(pad, qkv, 1, head, heads, D, BLOCK_D, PADDED)
    pad_v = pad_token(pad, qkv, 2, head, heads, D, BLOCK_D, PADDED)
    table += head * ((2 * M - 1) * (2 * MC - 1))
    for window in range(chunk, windows, chunks):
        cut = cut_through(window, windows_down, windows_across)
        first_row = first_token(window, H, W, windows_down, windows_across)
        row = qkv + first_row * (3 * heads * D) + head * D
        share = (window * heads + head).to(tl.int64) * (M * MC)
        token_k, inside_k = place(
            window, key, H, W, windows_down, windows_across, shift_down, shift_across, M, MC
        )
        k, v = load_keys_values(row, token_k, inside_k, heads, pad_k, pad_v, D, BLOCK_D, PADDED)
        grad_k = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
        grad_v = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
        for first in tl.range(0, M * MC, BLOCK_Q, num_stages=STAGES):
            query = first + tl.arange(0, BLOCK_Q)
            side = side_of(query, shift_down, shift_across, M, MC) & cut
            token, inside = place(
                window, query, H, W, windows_down, windows_across, shift_down, shift_across, M, MC
            )
            q = load_rows(row, token, inside, 3 * heads * D, D, BLOCK_D)
            grad = load_rows(
                grad_out + first_row * (heads * D) + head * D, token, inside, heads * D, D, BLOCK_D
            )
            log_q = tl.load(log_sum + share + query, mask=query < M * MC, other=float("inf"))
            delta_q = tl.load(delta + share + query, mask=query < M * MC, other=0.0)
            bias = bias_of(table, query[:, None], key[None, :], 1, M, MC, HAS_BIAS)
            weights, grad_scores = gradient_of_scores(
                q, k, v, grad, log_q, delta_q, bias, side, side_k & cut, seed, window * heads + head,
                query, key, scale, dropout, M * MC, APPEARANCE, DROPOUT, PRECISION
            )  # fmt: skip
            grad_v += multiply(tl.trans(weights.to(v.dtype)), grad, PRECISION)
            if APPEARANCE:
                grad_k += multiply(tl.trans(grad_scores.to(q.dtype)), q, PRECISION)
        grad_row = grad_qkv + first_row * (3 * heads * D) + head * D
        store_rows(grad_row + heads * D, grad_k * scale, token_k, inside_k, 3 * heads * D, D, BLOCK_D)
        store_rows(grad_row + 2 * heads * D, grad_v, token_k, inside_k, 3 * heads * D, D, BLOCK_D)
        if NEED_PAD:
            padded = (key < M * MC) & (inside_k == 0)
            d = tl.arange(0, BLOCK_D)
            own = grad_pad + (2 * (window * blocks + block) * heads + head).to(tl.int64) * D + d
            tl.store(own, tl.sum(tl.where(padded[:, None], grad_k, 0.0), 0) * scale, mask=d < D)
            tl.store(own + heads * D, tl.sum(tl.where(padded[:, None], grad_v, 0.0), 0), mask=d < D)


@triton.jit(do_not_specialize=SIZES)
def backward_bias(
    grad_out,
    qkv,
    table,
    pad,
    seed,
    log_sum,
    delta,
    grad_bias,
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
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PADDED: tl.constexpr,
    APPEARANCE: tl.constexpr,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Share grad_bias (chunks, heads, N, N) of one block and head: every `chunks`-th window."""
    blocks_q: tl.constexpr = (M * MC + BLOCK_Q - 1) // BLOCK_Q
    blocks_k: tl.constexpr = (M * MC + BLOCK_K - 1) // BLOCK_K
    head = tl.program_id(0) % heads
    block = tl.program_id(0) // heads % (blocks_q * blocks_k)
    chunk = tl.program_id(0) // (heads * blocks_q * blocks_k)
    query = block // blocks_k * BLOCK_Q + tl.arange(0, BLOCK_Q)
    key = block % blocks_k * BLOCK_K + tl.arange(0, BLOCK_K)
    side = side_of(query, shift_down, shift_across, M, MC)
    side_k = side_of(key, shift_down, shift_across, M, MC)
    pad_k = pad_token(pad, qkv, 1, head, heads, D, BLOCK_D, PADDED)
    pad_v = pad_token(pad, qkv, 2, head, heads, D, BLOCK_D, PADDED)
    table += head * ((2 * M - 1) * (2 * MC - 1))
    bias = bias_of(table, query[:, None], key[None, :], 1, M, MC, HAS_BIAS)
    sum_bias = tl.zeros((BLOCK_Q, BLOCK_K), tl.float32)
    for window in tl.range(chunk, windows, chunks, num_stages=STAGES):
        cut = cut_through(window, windows_down, windows_across)
        first_row = first_token(window, H, W, windows_down, windows_across)
        row = qkv + first_row * (3 * heads * D) + head * D
        share = (window * heads + head).to(tl.int64) * (M * MC)
        token, inside = place(
            window, query, H, W, windows_down, windows_across, shift_down, shift_across, M, MC
        )
        token_k, inside_k = place(
            window, key, H, W, windows_down, windows_across, shift_down, shift_across, M, MC
        )
        q = load_rows(row, token, inside, 3 * heads * D, D, BLOCK_D)
        k, v = load_keys_values(row, token_k, inside_k, heads, pad_k, pad_v, D, BLOCK_D, PADDED)
        grad = load_rows(grad_out + first_row * (heads * D) + head * D, token, inside, heads * D, D, BLOCK_D)
        log_q = tl.load(log_sum + share + query, mask=query < M * MC, other=float("inf"))
        delta_q = tl.load(delta + share + query, mask=query < M * MC, other=0.0)
        _, grad_scores = gradient_of_scores(
            q, k, v, grad, log_q, delta_q, bias, side & cut, side_k & cut, seed, window * heads + head,
            query, key, scale, dropout, M * MC, APPEARANCE, DROPOUT, PRECISION
        )  # fmt: skip
        sum_bias += grad_scores
    pair = query[:, None] * (M * MC) + key[None, :]
    real = (query < M * MC)[:, None] & (key < M * MC)[None, :]
    tl.store(grad_bias + (chunk * heads + head).to(tl.int64) * (M * MC * M * MC) + pair, sum_bias, mask=real)
