"""The fused operators: argument checks, and the choice between kernels and plain PyTorch.

Each stands for a piece of a block in evaluation mode. Norms have no scale and no shift: fold them into the
linear layer behind them, as `swinkit.deploy.fuse` does.

Legend: C channels of x, K columns of the result; B pictures, H W rows and columns of a map.
"""

from typing import Literal

from torch import Tensor

from swinkit.errors import InputError
from swinkit.ops.fused import reference, triton
from swinkit.ops.triton_support import tf32

Implementation = Literal["auto", "reference", "triton"]

EPS = 1e-5
"""What `torch.nn.LayerNorm` adds to a variance."""


def norm_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    eps: float = EPS,
    gelu: bool = False,
    impl: Implementation = "auto",
) -> Tensor:
    """Linear layer of the layer norm of x, then GELU if asked for.

    Args:
        x: (..., C).
        weight: (K, C).
        bias: (K,), or None for none.
        eps: added to the variance of a row.
        gelu: the exact GELU behind it.
        impl: "triton"; "reference", plain PyTorch; "auto", the first of them that can run.

    Returns:
        (..., K), in x's dtype.

    Raises:
        InputError: a shape does not fit, or the implementation is unknown or cannot run on this input.
    """
    _check_linear(x, weight, bias)
    return _linear(x, weight, bias, None, norm=True, eps=eps, gelu=gelu, impl=impl)


def linear_add(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    *,
    impl: Implementation = "auto",
) -> Tensor:
    """Linear layer of x (..., C) with weight (K, C), plus residual (..., K); see `norm_linear`.

    Raises:
        InputError: as `norm_linear`.
    """
    _check_linear(x, weight, bias)
    expected = (*x.shape[:-1], weight.shape[0])
    if tuple(residual.shape) != expected:
        raise InputError(f"the residual must be {expected}; got {tuple(residual.shape)}.")
    return _linear(x, weight, bias, residual, norm=False, eps=EPS, gelu=False, impl=impl)


def mlp(
    x: Tensor,
    weight_in: Tensor,
    bias_in: Tensor,
    weight_out: Tensor,
    bias_out: Tensor,
    *,
    eps: float = EPS,
    impl: Implementation = "auto",
) -> Tensor:
    """Second half of a block: x + weight_out GELU(weight_in norm(x) + bias_in) + bias_out.

    The kernels keep the hidden layer out of memory up to 192 channels in half types, and in other cases take
    two launches.

    Args:
        x: (..., C).
        weight_in: (K, C).
        bias_in: (K,).
        weight_out: (C, K).
        bias_out: (C,).
        eps: added to the variance of a row.
        impl: see `norm_linear`.

    Returns:
        (..., C), in x's dtype.

    Raises:
        InputError: as `norm_linear`.
    """
    _check_linear(x, weight_in, bias_in)
    if tuple(weight_out.shape) != (weight_in.shape[1], weight_in.shape[0]):
        expected = (weight_in.shape[1], weight_in.shape[0])
        raise InputError(f"weight_out must be {tuple(expected)}; got {tuple(weight_out.shape)}.")
    _check_bias(bias_out, weight_out)
    if not _kernels(impl, x, weight_in, bias_in, weight_out, bias_out):
        return reference.mlp(x, weight_in, bias_in, weight_out, bias_out, eps=eps)
    from swinkit.ops.fused.triton_op import mlp_op  # noqa: PLC0415 - the first use of Triton

    return mlp_op(x, weight_in, bias_in, weight_out, bias_out, eps, tf32())


def merge_norm_linear(
    x_BHWC: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    eps: float = EPS,
    impl: Implementation = "auto",
) -> Tensor:
    """Patch merging: layer norm of 2 x 2 neighbours side by side (though not in memory), linear layer.

    Neighbours come in the order of `swinkit.layers.PatchMerging`; an odd side ends in zeros.

    Args:
        x_BHWC: (B, H, W, C).
        weight: (K, 4 C).
        bias: (K,), or None for none.
        eps: added to the variance of a row.
        impl: see `norm_linear`.

    Returns:
        (B, ceil(H / 2), ceil(W / 2), K), in x's dtype.

    Raises:
        InputError: as `norm_linear`.
    """
    if x_BHWC.dim() != 4:
        raise InputError(f"x must be a map (B, H, W, C); got {tuple(x_BHWC.shape)}.")
    if weight.dim() != 2 or weight.shape[1] != 4 * x_BHWC.shape[3]:
        raise InputError(f"weight must be (K, {4 * x_BHWC.shape[3]}); got {tuple(weight.shape)}.")
    _check_bias(bias, weight)
    if not _kernels(impl, x_BHWC, weight, bias):
        return reference.merging(x_BHWC, weight, bias, eps=eps)
    from swinkit.ops.fused.triton_op import merging_op  # noqa: PLC0415 - the first use of Triton

    return merging_op(x_BHWC, weight, bias, eps, tf32())


def _linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    *,
    norm: bool,
    eps: float,
    gelu: bool,
    impl: Implementation,
) -> Tensor:
    if not _kernels(impl, x, weight, bias, residual):
        return reference.linear(x, weight, bias, residual, norm=norm, eps=eps, gelu=gelu)
    from swinkit.ops.fused.triton_op import linear_op  # noqa: PLC0415 - the first use of Triton

    return linear_op(x, weight, bias, residual, norm, eps, gelu, tf32())


def _kernels(impl: str, *operands: Tensor | None) -> bool:
    """Whether the kernels run; on a CPU, where they could only be interpreted, "auto" takes plain PyTorch."""
    if impl not in {"auto", "reference", "triton"}:
        raise InputError(f"unknown implementation {impl!r}: choose auto, reference, triton.")
    if impl == "reference":
        return False
    x = operands[0]
    if impl == "auto" and x is not None and x.device.type == "cpu":
        return False
    reason = triton.can_run(*operands)
    if impl == "triton" and reason is not None:
        raise InputError(f"the fused kernels cannot run here: {reason}.")
    return reason is None


def _check_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if x.dim() < 1 or weight.dim() != 2 or x.shape[-1] != weight.shape[1] or weight.shape[1] < 1:
        raise InputError(
            f"x (..., C) and weight (K, C) must have one C; got {tuple(x.shape)} and {tuple(weight.shape)}."
        )
    _check_bias(bias, weight)


def _check_bias(bias: Tensor | None, weight: Tensor) -> None:
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise InputError(f"the bias must be ({weight.shape[0]},); got {tuple(bias.shape)}.")
