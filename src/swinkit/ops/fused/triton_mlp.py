"""Triton kernel of a narrow stage's MLP with its norm and residual: the hidden layer stays in registers.

Legend: L rows of x, C channels of a row, HIDDEN channels of the hidden layer.
"""

# Triton's language is traced, not run: its types tell pyright little about indexing and loops.
# pyright: reportCallIssue=false, reportArgumentType=false, reportGeneralTypeIssues=false
# pyright: reportAttributeAccessIssue=false, reportPossiblyUnboundVariable=false

import triton
import triton.language as tl

from swinkit.ops.fused.triton_common import (
    SIZES,
    add_bias,
    gelu,
    load_rows,
    load_tile,
    normalise,
    store_linear,
    times_weight,
)
from swinkit.ops.window_attention.triton_common import multiply


@triton.jit(do_not_specialize=SIZES)
def mlp_rows(
    x,
    weight_in,
    bias_in,
    weight_out,
    bias_out,
    out,
    rows,
    eps,
    C: tl.constexpr,
    HIDDEN: tl.constexpr,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):
    """x + weight_out GELU(weight_in norm(x) + bias_in) + bias_out for BLOCK_L rows, BLOCK_K hidden channels
    at a time; weight_in (HIDDEN, C), weight_out (C, HIDDEN).
    """
    row = tl.program_id(0) * BLOCK_L + tl.arange(0, BLOCK_L)
    inside = row < rows
    a = load_rows(x, row, inside, 0, C, C, FIRST)
    b = a
    if SECOND:
        b = load_rows(x, row, inside, FIRST, C, SECOND, SECOND)
    a, b = normalise(a, b, eps, C, FIRST, SECOND)
    y = tl.zeros((BLOCK_L, FIRST), tl.float32)
    if SECOND:
        z = tl.zeros((BLOCK_L, SECOND), tl.float32)
    for first in tl.range(0, HIDDEN, BLOCK_K, num_stages=STAGES):
        h = times_weight(a, b, weight_in, first, HIDDEN, C, FIRST, SECOND, BLOCK_K, PRECISION)
        h = add_bias(h, bias_in, first + tl.arange(0, BLOCK_K), HIDDEN, True)
        h = gelu(h).to(x.dtype.element_ty)
        tile = load_tile(weight_out, 0, first, C, HIDDEN, FIRST, BLOCK_K)
        y += multiply(h, tl.trans(tile), PRECISION)
        if SECOND:
            tile = load_tile(weight_out, FIRST, first, C, HIDDEN, SECOND, BLOCK_K)
            z += multiply(h, tl.trans(tile), PRECISION)
    store_linear(y, bias_out, x, out, row, inside, 0, C, FIRST, FIRST <= C, True, False, True)
    if SECOND:
        store_linear(z, bias_out, x, out, row, inside, FIRST, C, SECOND, True, True, False, True)
