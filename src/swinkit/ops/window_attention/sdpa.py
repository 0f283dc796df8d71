"""Window attention through torch.nn.functional.scaled_dot_product_attention.

Windows and heads share one dimension, so that bias and region mask together are one (1, T * h, N, N)
operand that broadcasts over the batch and no (B, ...) mask is ever made.

Legend: B pictures, H W rows and columns of the map, h heads, d channels a head, N tokens a window, T
windows a picture, R S window rows and columns of the map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from swinkit.ops.windows import MASKED, Pair, expand_bias, padded_size, region_mask


def can_run(qkv: Tensor) -> str | None:
    """scaled_dot_product_attention has a path for every device and floating dtype."""
    return None if qkv.is_floating_point() else f"it needs a floating dtype, got {qkv.dtype}"


def attend(
    qkv: Tensor,
    bias_table: Tensor | None,
    *,
    window: Pair,
    shift: Pair,
    pad_qkv: Tensor | None,
    scale: float,
    appearance: bool,
    dropout: float,
) -> Tensor:
    """See `swinkit.ops.window_attention.window_attention`."""
    B, H, W, _, h, d = qkv.shape
    size = padded_size((H, W), window)
    rows, columns = size[0] // window[0], size[1] // window[1]
    if size != (H, W):
        padded = qkv.new_zeros(1, *size, 3, h, d) if pad_qkv is None else pad_qkv.to(qkv.dtype)
        padded = padded.expand(B, *size, 3, h, d).clone()
        padded[:, :H, :W] = qkv
        qkv = padded
    if any(shift):
        qkv = torch.roll(qkv, shifts=(-shift[0], -shift[1]), dims=(1, 2))
    x = qkv.view(B, rows, window[0], columns, window[1], 3, h, d).permute(5, 0, 1, 3, 6, 2, 4, 7)
    q, k, v = x.reshape(3, B, rows * columns * h, window[0] * window[1], d)

    out = F.scaled_dot_product_attention(
        q if appearance else torch.zeros_like(q),
        k,
        v,
        attn_mask=_score_offset(bias_table, qkv, window, shift),
        dropout_p=dropout,
        scale=scale,
    )
    out = out.view(B, rows, columns, h, window[0], window[1], d).permute(0, 1, 4, 2, 5, 3, 6)
    out = out.reshape(B, *size, h * d)
    if any(shift):
        out = torch.roll(out, shifts=shift, dims=(1, 2))
    return out if size == (H, W) else out[:, :H, :W].contiguous()


def _score_offset(bias_table: Tensor | None, qkv: Tensor, window: Pair, shift: Pair) -> Tensor | None:
    """Bias plus mask as (1, T * h, N, N); None when there is neither."""
    h, size = qkv.shape[4], (qkv.shape[1], qkv.shape[2])
    windows = (size[0] // window[0]) * (size[1] // window[1])
    tokens = window[0] * window[1]
    if bias_table is None and not any(shift):
        return None
    offset = qkv.new_zeros(1, 1, tokens, tokens)
    if bias_table is not None:
        offset = expand_bias(bias_table, window).to(qkv.dtype)[None]
    if any(shift):
        other_TNN = ~region_mask(size, window, shift, qkv.device)
        offset = offset + other_TNN[:, None].to(qkv.dtype) * MASKED
    return offset.expand(windows, h, tokens, tokens).reshape(1, windows * h, tokens, tokens)
