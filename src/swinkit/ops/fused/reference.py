"""The fused operators in plain PyTorch: the definition, for any device and with gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor

from swinkit.ops.windows import pad_map, padded_size


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    *,
    norm: bool,
    eps: float,
    gelu: bool,
) -> Tensor:
    """[norm of] x (..., C) times weight (K, C), plus bias, [GELU,] plus residual (..., K)."""
    if norm:
        x = F.layer_norm(x, x.shape[-1:], eps=eps)
    y = F.linear(x, weight, bias)
    if gelu:
        y = F.gelu(y)
    return y if residual is None else y + residual


def merging(x_BHWC: Tensor, weight: Tensor, bias: Tensor | None, *, eps: float) -> Tensor:
    """Norm of 2 x 2 neighbours side by side, times weight (K, 4 C), plus bias: (B, H', W', K)."""
    x = pad_map(x_BHWC, padded_size((x_BHWC.shape[1], x_BHWC.shape[2]), (2, 2)))
    x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], dim=-1)
    return linear(x, weight, bias, None, norm=True, eps=eps, gelu=False)


def mlp(
    x: Tensor, weight_in: Tensor, bias_in: Tensor, weight_out: Tensor, bias_out: Tensor, *, eps: float
) -> Tensor:
    """x + weight_out GELU(weight_in norm(x) + bias_in) + bias_out."""
    hidden = linear(x, weight_in, bias_in, None, norm=True, eps=eps, gelu=True)
    return linear(hidden, weight_out, bias_out, x, norm=False, eps=eps, gelu=False)
