"""The specification of window attention, step by step as section 3.2 and the published code have it.

Legend: B pictures, H W rows and columns of the map, P Q of the padded map, h heads, d channels a head, C =
3 h d, N tokens a window, T windows a picture, G = B * T.
"""

import torch
from torch import Tensor

from swinkit.ops.windows import MASKED, Pair, expand_bias, merge, padded_size, partition, region_mask


def can_run(qkv: Tensor) -> str | None:
    """The reference runs everywhere."""
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
    qkv_BPQC = pad_tokens(qkv, pad_qkv, size).flatten(3)
    qkv_BPQC = torch.roll(qkv_BPQC, shifts=(-shift[0], -shift[1]), dims=(1, 2))
    q_GhNd, k_GhNd, v_GhNd = partition(qkv_BPQC, window).unflatten(-1, (3, h, d)).permute(2, 0, 3, 1, 4)

    scores_GhNN = (q_GhNd * scale) @ k_GhNd.mT if appearance else torch.zeros_like(q_GhNd @ k_GhNd.mT)
    if bias_table is not None:
        scores_GhNN = scores_GhNN + expand_bias(bias_table, window).to(scores_GhNN.dtype)
    if any(shift):
        other_TNN = ~region_mask(size, window, shift, qkv.device)
        mask_TNN = other_TNN.to(scores_GhNN.dtype) * MASKED
        scores_BThNN = scores_GhNN.unflatten(0, (B, mask_TNN.shape[0])) + mask_TNN[:, None]
        scores_GhNN = scores_BThNN.flatten(0, 1)
    weights_GhNN = torch.softmax(scores_GhNN, dim=-1, dtype=_softmax_dtype(qkv)).to(qkv.dtype)
    weights_GhNN = torch.dropout(weights_GhNN, dropout, train=dropout > 0)

    out_GNC = (weights_GhNN @ v_GhNd).transpose(1, 2).flatten(2)
    out_BPQC = torch.roll(merge(out_GNC, window, size), shifts=shift, dims=(1, 2))
    return out_BPQC[:, :H, :W].contiguous()


def pad_tokens(qkv: Tensor, pad_qkv: Tensor | None, size: Pair) -> Tensor:
    """Pad (B, H, W, 3, h, d) at the bottom and the right to `size` with the token `pad_qkv`."""
    B, H, W = qkv.shape[:3]
    token = qkv.new_zeros(qkv.shape[3:]) if pad_qkv is None else pad_qkv.to(qkv.dtype)
    if size[1] > W:
        qkv = torch.cat([qkv, token.expand(B, H, size[1] - W, *token.shape)], dim=2)
    if size[0] > H:
        qkv = torch.cat([qkv, token.expand(B, size[0] - H, size[1], *token.shape)], dim=1)
    return qkv


def _softmax_dtype(qkv: Tensor) -> torch.dtype:
    return torch.float64 if qkv.dtype == torch.float64 else torch.float32
