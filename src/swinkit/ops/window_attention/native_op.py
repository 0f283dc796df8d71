"""The compiled kernels as PyTorch operators: calls, shapes, gradients.

Legend: B pictures, H W rows and columns of the map, h heads, d channels a head, C = h d, N tokens a window;
R, K: rows and columns of a window's scores, N rounded up as the kernels want it; P threads.
"""

import functools
import math
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from swinkit.ops.native.library import library
from swinkit.ops.native.structs import BFLOAT16, FLOAT, Shape
from swinkit.ops.window_attention.gradients import empty_gradients, needed_gradients
from swinkit.ops.windows import MASKED, Pair, collect_bias, masked_pairs

CODES = {torch.float32: FLOAT, torch.bfloat16: BFLOAT16}
"""Types as the kernels number them."""

CPU = torch.device("cpu")

NOWHERE = -math.inf
"""Score of a column that is no token."""

LARGEST = 1 << 28
"""Bytes that the threads' shares of the bias's gradient may take; beyond it there are fewer threads."""


@custom_op("swinkit::window_attention_native", mutates_args=())
def forward_op(
    qkv: Tensor,
    bias_table: Tensor | None,
    pad_qkv: Tensor | None,
    window: list[int],
    shift: list[int],
    scale: float,
) -> Tensor:
    """Attend: (B, H, W, 3, h, d) to (B, H, W, C)."""
    code, cut, by = CODES[qkv.dtype], (window[0], window[1]), (shift[0], shift[1])
    out_BHWC = _forward_fake(qkv, bias_table, pad_qkv, window, shift, scale)
    source, token_3hd = qkv.contiguous(), _token(pad_qkv, qkv)
    bias_hRK = scores_bias(bias_table, qkv.shape[4], cut, scale, code)
    tensors = (source, token_3hd, bias_hRK, score_masks(cut, by, scale, code), out_BHWC)
    shape = _shape(qkv, cut, by, torch.get_num_threads())
    library().attention(shape, *map(_pointer, tensors), scale)
    return out_BHWC


@forward_op.register_fake
def _forward_fake(
    qkv: Tensor,
    bias_table: Tensor | None,
    pad_qkv: Tensor | None,
    window: list[int],
    shift: list[int],
    scale: float,
) -> Tensor:
    B, H, W, _, h, d = qkv.shape
    return qkv.new_empty(B, H, W, h * d)


@custom_op("swinkit::window_attention_native_backward", mutates_args=())
def backward_op(
    grad_out: Tensor,
    qkv: Tensor,
    bias_table: Tensor | None,
    pad_qkv: Tensor | None,
    window: list[int],
    shift: list[int],
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of qkv, the bias table and the padding's token; the latter two empty where there is none."""
    h, d = qkv.shape[4:]
    cut, by, N = (window[0], window[1]), (shift[0], shift[1]), window[0] * window[1]
    grad_qkv, grad_table, grad_pad = _backward_fake(grad_out, qkv, bias_table, pad_qkv, window, shift, scale)
    bias_hRK = scores_bias(bias_table, h, cut, scale, FLOAT)
    threads = max(1, min(torch.get_num_threads(), LARGEST // (4 * bias_hRK.numel())))
    bias_PhRK = bias_hRK.new_zeros(threads, *bias_hRK.shape) if bias_table is not None else None
    pad_P3hd = bias_hRK.new_zeros(threads, 3, h, d)
    token_3hd = _token(pad_qkv, qkv)
    grad_out, source = grad_out.to(qkv.dtype).contiguous(), qkv.contiguous()
    masks = score_masks(cut, by, scale, FLOAT)
    library().attention_backward(
        _shape(qkv, cut, by, threads),
        *map(_pointer, (grad_out, source, token_3hd, bias_hRK, masks, grad_qkv, bias_PhRK, pad_P3hd)),
        scale,
    )
    if bias_table is not None and bias_PhRK is not None:
        grad_table.copy_(collect_bias(bias_PhRK.sum(0)[:, :N, :N], cut, bias_table))
    if pad_qkv is not None:
        grad_pad.copy_(pad_P3hd.sum(0))
    return grad_qkv, grad_table, grad_pad


@backward_op.register_fake
def _backward_fake(
    grad_out: Tensor,
    qkv: Tensor,
    bias_table: Tensor | None,
    pad_qkv: Tensor | None,
    window: list[int],
    shift: list[int],
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return qkv.new_empty(qkv.shape), *empty_gradients(qkv, bias_table, pad_qkv)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, window, shift, scale = inputs
    ctx.options = window, shift, scale
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    grads = backward_op(grad_out, *ctx.saved_tensors, *ctx.options)
    return needed_gradients(ctx.needs_input_grad, grads)


forward_op.register_autograd(_backward, setup_context=_setup_context)


def scores_bias(bias_table: Tensor | None, heads: int, window: Pair, scale: float, code: int) -> Tensor:
    """What scores begin as, divided by the scale: (h, R, K) in float32."""
    rows, columns = _sides(window, code)
    bias_hRK = torch.empty(heads, rows, columns, dtype=torch.float32, device=CPU)
    if bias_table is None:
        pairs = (2 * window[0] - 1) * (2 * window[1] - 1)
        table, factor = torch.zeros(pairs, heads, dtype=torch.float32, device=CPU), 1.0
    else:
        table, factor = bias_table.detach().float().contiguous(), 1 / scale
    library().expand_bias(_pointer(table), heads, *window, factor, NOWHERE, columns, _pointer(bias_hRK))
    return bias_hRK


@functools.lru_cache(maxsize=64)
def score_masks(window: Pair, shift: Pair, scale: float, code: int) -> Tensor:
    """What masks add, divided by the scale: (4, R, K) for windows inside, in the last column, row, both."""
    rows, columns = _sides(window, code)
    with torch.inference_mode(False), torch.no_grad():
        masks_4RK = torch.zeros(4, rows, columns, dtype=torch.float32, device=CPU)
        if any(shift):
            N = window[0] * window[1]
            masks_4RK[:, :N, :N].masked_fill_(masked_pairs(window, shift, CPU), MASKED / scale)
        return masks_4RK


def _pointer(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers are, as ctypes wants it."""
    return None if tensor is None else tensor.data_ptr()


def _sides(window: Pair, code: int) -> Pair:
    N = window[0] * window[1]
    return -(-N // 16) * 16, int(library().attention_columns(N, code))


def _shape(qkv: Tensor, window: Pair, shift: Pair, threads: int) -> Shape:
    B, H, W, _, h, d = qkv.shape
    return Shape(B, H, W, h, d, *window, *shift, CODES[qkv.dtype], threads)


def _token(pad_qkv: Tensor | None, like: Tensor) -> Tensor:
    """What a padded token is: (3, h, d) in the map's dtype."""
    if pad_qkv is None:
        return like.new_zeros(like.shape[3:])
    return pad_qkv.detach().to(like.dtype).contiguous()
