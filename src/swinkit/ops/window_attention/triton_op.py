"""Window attention's Triton kernels as PyTorch operators: launches, shapes, gradients.

`swinkit::window_attention_forward` and `_backward`, registered by `swinkit.ops.triton_operator`.

Legend: B pictures, H W rows and columns of the map, h heads, d channels a head, N tokens of a window.
"""

from typing import Any

import torch
import triton
from torch import Tensor
from torch.library import wrap_triton

from swinkit.ops.triton_operator import LANES, operator
from swinkit.ops.window_attention import triton_configs as configs
from swinkit.ops.window_attention.gradients import empty_gradients, needed_gradients
from swinkit.ops.window_attention.triton_blocks import (
    backward_bias,
    backward_keys,
    backward_queries,
    forward_blocks,
)
from swinkit.ops.window_attention.triton_window import backward_window, forward_window, table_of_bias


def _forward_fake(
    qkv: Tensor,
    bias_table: Tensor | None,
    pad_qkv: Tensor | None,
    seed: Tensor | None,
    window: list[int],
    shift: list[int],
    scale: float,
    appearance: bool,
    dropout: float,
    tf32: bool,
) -> tuple[Tensor, Tensor]:
    B, H, W, _, h, d = qkv.shape
    N = window[0] * window[1]
    rows = (B * -(-H // window[0]) * -(-W // window[1]), h, N)
    out_BHWC = qkv.new_empty(B, H, W, h * d)
    whole = configs.is_whole(N, int(d), qkv.dtype, tf32)
    return out_BHWC, qkv.new_empty((0, h, N) if whole else rows, dtype=torch.float32)


def _backward_fake(
    grad_out: Tensor, qkv: Tensor, bias_table: Tensor | None, pad_qkv: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return qkv.new_empty(qkv.shape), *empty_gradients(qkv, bias_table, pad_qkv)


@operator("swinkit::window_attention_forward", _forward_fake)
def forward_op(
    qkv: Tensor,
    bias_table: Tensor | None,
    pad_qkv: Tensor | None,
    seed: Tensor | None,
    window: list[int],
    shift: list[int],
    scale: float,
    appearance: bool,
    dropout: float,
    tf32: bool,
) -> tuple[Tensor, Tensor]:
    """Attend; return out (B, H, W, h * d) and, for windows in blocks, log sums (windows, h, N)."""
    qkv = qkv.contiguous()
    options = (window, shift, scale, appearance, dropout, tf32)
    out_BHWC, log_sum = _forward_fake(qkv, bias_table, pad_qkv, seed, *options)
    given = _arguments(qkv, bias_table, pad_qkv, seed, *options)
    N, h, windows = window[0] * window[1], given["heads"], given.pop("windows")
    blocks = configs.forward(N, given["D"], qkv.dtype, tf32, LANES)
    if configs.is_whole(N, given["D"], qkv.dtype, tf32):
        chunks = configs.chunks(windows, h, configs.FORWARD_PROGRAMS)
        wrap_triton(forward_window)[(chunks * h,)](
            qkv=qkv,
            out=out_BHWC,
            windows=windows,
            chunks=chunks,
            BLOCK=blocks.queries,
            STAGES=blocks.stages,
            num_warps=blocks.warps,
            **given,
        )
    else:
        wrap_triton(forward_blocks)[(windows * h * blocks.splits,)](
            qkv=qkv,
            out=out_BHWC,
            log_sum=log_sum,
            SPLITS=blocks.splits,
            **configs.cut(blocks),
            **given,
        )
    return out_BHWC, log_sum


@operator("swinkit::window_attention_backward", _backward_fake)
def backward_op(
    grad_out: Tensor,
    qkv: Tensor,
    bias_table: Tensor | None,
    pad_qkv: Tensor | None,
    seed: Tensor | None,
    out: Tensor | None,
    log_sum: Tensor | None,
    window: list[int],
    shift: list[int],
    scale: float,
    appearance: bool,
    dropout: float,
    tf32: bool,
    need_table: bool,
    need_pad: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of qkv, the bias table and the padding's token; one that is not needed is not filled."""
    qkv, grad_out = qkv.contiguous(), grad_out.contiguous()
    grad_qkv, grad_table, grad_pad = _backward_fake(grad_out, qkv, bias_table, pad_qkv)
    given = _arguments(qkv, bias_table, pad_qkv, seed, window, shift, scale, appearance, dropout, tf32)
    given |= {"grad_out": grad_out, "qkv": qkv, "grad_qkv": grad_qkv}
    need_table = need_table and bias_table is not None
    need_pad = need_pad and pad_qkv is not None and given["PADDED"]
    whole = configs.is_whole(window[0] * window[1], given["D"], qkv.dtype, tf32)
    launch = _backward_whole if whole else _backward_in_blocks
    share_bias, share_pad = launch(given, out, log_sum, need_table, need_pad, tf32)

    if need_table:
        h, M, MC = given["heads"], *window
        wrap_triton(table_of_bias)[(h * (2 * M - 1),)](
            grad_bias=share_bias.sum(0),
            grad_table=grad_table,
            heads=h,
            M=M,
            MC=MC,
            BLOCK=triton.next_power_of_2(MC),
            BLOCK_R=triton.next_power_of_2(2 * MC - 1),
            num_warps=1 if MC <= 8 else 4,
        )
    if need_pad:
        grad_pad[0].zero_()  # a padded token's output is dropped: its query has no gradient
        grad_pad[1:].copy_(share_pad.sum(0))
    elif pad_qkv is not None:
        grad_pad.zero_()
    return grad_qkv, grad_table, grad_pad


def _backward_whole(
    given: dict[str, Any],
    out: Tensor | None,
    log_sum: Tensor | None,
    need_table: bool,
    need_pad: bool,
    tf32: bool,
) -> tuple[Tensor, Tensor]:
    """Launch the kernel of small windows; return the shares of the bias's and of the token's gradient."""
    qkv, h, d = given["qkv"], given["heads"], given["D"]
    N = given["M"] * given["MC"]
    blocks = configs.backward("window", N, d, qkv.dtype, tf32, LANES)
    chunks = configs.chunks(given["windows"], h, configs.BACKWARD_PROGRAMS)
    share_bias = qkv.new_empty((chunks, h, N, N) if need_table else 0, dtype=torch.float32)
    share_pad = qkv.new_empty((given["windows"], 2, h, d) if need_pad else 0, dtype=torch.float32)
    wrap_triton(backward_window)[(chunks * h,)](
        grad_bias=share_bias,
        grad_pad=share_pad,
        chunks=chunks,
        BLOCK=blocks.queries,
        NEED_BIAS=need_table,
        NEED_PAD=need_pad,
        STAGES=blocks.stages,
        num_warps=blocks.warps,
        **given,
    )
    return share_bias, share_pad


def _backward_in_blocks(
    given: dict[str, Any],
    out: Tensor | None,
    log_sum: Tensor | None,
    need_table: bool,
    need_pad: bool,
    tf32: bool,
) -> tuple[Tensor, Tensor]:
    """Launch the kernels of large windows: queries, which leaves delta for the others; keys; bias."""
    assert out is not None
    assert log_sum is not None
    qkv, h, d = given["qkv"], given["heads"], given["D"]
    N = given["M"] * given["MC"]
    windows = given.pop("windows")
    grad_qkv = given.pop("grad_qkv")
    delta = torch.empty_like(log_sum)
    given |= {"log_sum": log_sum, "delta": delta}

    blocks = configs.backward("queries", N, d, qkv.dtype, tf32, LANES)
    wrap_triton(backward_queries)[(windows * h * blocks.splits,)](
        out=out,
        grad_qkv=grad_qkv,
        SPLITS=blocks.splits,
        **configs.cut(blocks),
        **given,
    )
    blocks = configs.backward("keys", N, d, qkv.dtype, tf32, LANES)
    count = -(-N // blocks.keys)
    chunks = configs.chunks(windows, h * count, configs.BACKWARD_PROGRAMS)
    share_pad = qkv.new_empty((windows, count, 2, h, d) if need_pad else 0, dtype=torch.float32)
    wrap_triton(backward_keys)[(chunks * count * h,)](
        grad_qkv=grad_qkv,
        grad_pad=share_pad,
        windows=windows,
        chunks=chunks,
        NEED_PAD=need_pad,
        **configs.cut(blocks),
        **given,
    )
    blocks = configs.backward("bias", N, d, qkv.dtype, tf32, LANES)
    count = -(-N // blocks.keys) * -(-N // blocks.queries)
    chunks = configs.chunks(windows, h * count, configs.BACKWARD_PROGRAMS)
    share_bias = qkv.new_empty((chunks, h, N, N) if need_table else 0, dtype=torch.float32)
    if need_table:
        wrap_triton(backward_bias)[(chunks * count * h,)](
            grad_bias=share_bias, windows=windows, chunks=chunks, **configs.cut(blocks), **given
        )
    return share_bias, share_pad.sum(1) if need_pad else share_pad


def _arguments(
    qkv: Tensor,
    bias_table: Tensor | None,
    pad_qkv: Tensor | None,
    seed: Tensor | None,
    window: list[int],
    shift: list[int],
    scale: float,
    appearance: bool,
    dropout: float,
    tf32: bool,
) -> dict[str, Any]:
    """What every kernel is told. A tensor that does not exist is replaced by one that will not be read."""
    B, H, W = qkv.shape[:3]
    h, d = int(qkv.shape[4]), int(qkv.shape[5])  # kernels are compiled for these, so a tracer fixes them
    (M, MC), down, across = window, -(-H // window[0]), -(-W // window[1])
    padded = not all(
        isinstance(side, int) and side % of == 0 for side, of in zip((H, W), window, strict=True)
    )
    table = qkv if bias_table is None else bias_table
    if bias_table is not None and not configs.is_whole(M * MC, d, qkv.dtype, tf32):
        table = bias_table.t()  # (h, rows): neighbouring positions then read neighbouring numbers
    if pad_qkv is None:
        pad_qkv = qkv.new_zeros(3, h, d) if padded else qkv
    return {
        "table": table.contiguous(),
        "pad": pad_qkv.contiguous(),
        "seed": qkv if seed is None else seed,
        "H": H,
        "W": W,
        "heads": h,
        "windows_down": down,
        "windows_across": across,
        "windows": B * down * across,
        "shift_down": shift[0],
        "shift_across": shift[1],
        "scale": scale,
        "dropout": dropout,
        "M": M,
        "MC": MC,
        "D": d,
        "BLOCK_D": configs.padded_channels(d),
        "HAS_BIAS": bias_table is not None,
        "PADDED": padded,
        "APPEARANCE": appearance,
        "DROPOUT": dropout > 0,
        "PRECISION": "tf32" if tf32 else "ieee",
    }


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    qkv, bias_table, pad_qkv, seed, *ctx.options = inputs
    out, log_sum = output
    window: list[int] = ctx.options[0]
    whole = configs.is_whole(window[0] * window[1], int(qkv.shape[-1]), qkv.dtype, ctx.options[-1])
    ctx.mark_non_differentiable(log_sum)
    ctx.save_for_backward(qkv, bias_table, pad_qkv, seed, None if whole else out, None if whole else log_sum)


def _backward(ctx: Any, grad_out: Tensor, grad_log_sum: Tensor) -> tuple[Tensor | None, ...]:
    _, need_table, need_pad, *_ = ctx.needs_input_grad
    qkv, bias_table, pad_qkv, seed, out, log_sum = ctx.saved_tensors
    grads = backward_op(
        grad_out, qkv, bias_table, pad_qkv, seed, out, log_sum, *ctx.options, need_table, need_pad
    )
    return needed_gradients(ctx.needs_input_grad, grads)


forward_op.register_autograd(_backward, setup_context=_setup_context)
