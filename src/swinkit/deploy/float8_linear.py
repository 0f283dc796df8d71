"""A linear layer whose matrix product is in float8 (e4m3: 4 bits of exponent, 3 of mantissa, up to 448).

Each output channel's weights have a scale, found once, and each token has one, found when it comes, so that
the largest number of a row becomes 448. What float8 rounds is multiplied exactly and summed up in float32.

Legend: M tokens, K channels in, N channels out.
"""

from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FLOAT8 = torch.float8_e4m3fn

LARGEST = torch.finfo(FLOAT8).max

MULTIPLE = 16
"""torch's matrix product in float8 asks for channels, in and out, that are multiples of this."""

CAPABILITY = (8, 9)
"""Compute capability of the first NVIDIA GPUs that multiply float8 (Ada; Hopper has 9.0)."""


def why_emulated(device: torch.device) -> str | None:
    """Why a device's float8 products are emulated, None where its chip computes them."""
    if device.type != "cuda":
        return f"only an NVIDIA GPU multiplies float8 here, not a device of type {device.type}"
    if torch.version.hip is not None:
        return "AMD's GPUs have other float8 types, which swinkit does not use"
    capability = torch.cuda.get_device_capability(device)
    if capability < CAPABILITY:
        needed, own = (".".join(map(str, pair)) for pair in (CAPABILITY, capability))
        return f"float8 needs a GPU of compute capability {needed} or more; this one has {own}"
    return None


def round_rows(x_MK: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix in float8, (M, K), and the float32 scales (M, 1) that bring it back.

    A row of zeros stays one; a row with an infinite number or a NaN becomes NaN.
    """
    x_MK = x_MK.float()
    least = LARGEST * torch.finfo(torch.float32).tiny  # so that no scale is 0
    scale_M1 = x_MK.abs().amax(dim=1, keepdim=True).clamp(min=least) / LARGEST
    return (x_MK / scale_M1).to(FLOAT8).contiguous(), scale_M1


def multiply(
    x_MK: Tensor, x_scale_M1: Tensor, weight_NK: Tensor, weight_scale_1N: Tensor, bias_N: Tensor | None
) -> Tensor:
    """The product by the chip, with scales and bias, (M, N) in bfloat16, which every such chip can give."""
    bias_N = None if bias_N is None else bias_N.to(torch.bfloat16)
    return torch.ops.aten._scaled_mm(
        x_MK, weight_NK.t(), x_scale_M1, weight_scale_1N, bias=bias_N, out_dtype=torch.bfloat16
    )


def emulate(
    x_MK: Tensor, x_scale_M1: Tensor, weight_NK: Tensor, weight_scale_1N: Tensor, bias_N: Tensor | None
) -> Tensor:
    """The same product, (M, N), in float32, where the product of two float8 numbers is exact."""
    y_MN = F.linear(x_MK.float(), weight_NK.float()) * weight_scale_1N * x_scale_M1
    return y_MN if bias_N is None else y_MN + bias_N.float()


class Float8Linear(nn.Module):
    """A linear layer in float8, for inference.

    `to` moves it, and gives another dtype to its bias only. What comes out has the dtype of what came in.
    Without such a chip the product is emulated in float32: the same numbers, and slower than the layer it was
    made from.

    Args:
        layer: its weights are rounded and copied; in and out features are multiples of `MULTIPLE`.
    """

    weight_float8: Tensor
    weight_scale: Tensor
    bias: nn.Parameter | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        assert fits(layer)
        self.in_features = layer.in_features
        self.out_features = layer.out_features
        weight_NK, scale_N1 = round_rows(layer.weight.detach())
        self.register_buffer("weight_float8", weight_NK)
        self.register_buffer("weight_scale", scale_N1.t().contiguous())
        bias = None if layer.bias is None else layer.bias.detach().clone()
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias, requires_grad=False))
        self.emulated = why_emulated(weight_NK.device) is not None

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., K) to (..., N)."""
        x_MK, scale_M1 = round_rows(x.reshape(-1, self.in_features))
        product = emulate if self.emulated else multiply
        y_MN = product(x_MK, scale_M1, self.weight_float8, self.weight_scale, self.bias)
        return y_MN.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What `to`, `half`, `cuda` and the like call: weights and scales follow to devices only."""
        kept = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in kept.items():
            moved = self._buffers[name]
            assert buffer is not None
            assert moved is not None
            self._buffers[name] = buffer.to(moved.device)
        self.emulated = why_emulated(self.weight_float8.device) is not None
        return self

    def extra_repr(self) -> str:
        """What `print` shows."""
        kind = ", emulated" if self.emulated else ""
        return f"in_features={self.in_features}, out_features={self.out_features}{kind}"


def fits(layer: nn.Module) -> bool:
    """Whether a module is a linear layer that float8 takes."""
    return type(layer) is nn.Linear and not (layer.in_features % MULTIPLE or layer.out_features % MULTIPLE)
