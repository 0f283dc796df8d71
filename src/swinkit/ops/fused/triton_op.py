"""The fused kernels as PyTorch operators: launches and shapes. They only infer: they have no gradients.

Legend: L rows, C channels of x, K columns of the result; B pictures, H W rows and columns of a map.
"""

from torch import Tensor
from torch.library import wrap_triton

from swinkit.ops.fused import triton_configs as configs
from swinkit.ops.fused.triton_linear import linear_blocks, linear_rows
from swinkit.ops.fused.triton_mlp import mlp_rows
from swinkit.ops.triton_operator import LANES, operator


def _linear_fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    norm: bool,
    eps: float,
    gelu: bool,
    tf32: bool,
) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


def _merging_fake(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, tf32: bool) -> Tensor:
    B, H, W, _ = x.shape
    return x.new_empty(B, (H + 1) // 2, (W + 1) // 2, weight.shape[0])


def _mlp_fake(
    x: Tensor,
    weight_in: Tensor,
    bias_in: Tensor,
    weight_out: Tensor,
    bias_out: Tensor,
    eps: float,
    tf32: bool,
) -> Tensor:
    return x.new_empty(x.shape)


@operator("swinkit::fused_linear", _linear_fake)
def linear_op(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    norm: bool,
    eps: float,
    gelu: bool,
    tf32: bool,
) -> Tensor:
    """[norm of] x (..., C) times weight (K, C), plus bias, [GELU,] plus residual (..., K): (..., K)."""
    x = x.contiguous()
    out = _linear_fake(x, weight, bias, residual, norm, eps, gelu, tf32)
    _linear(x, weight, bias, residual, out, norm, eps, gelu, tf32)
    return out


@operator("swinkit::fused_merging", _merging_fake)
def merging_op(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, tf32: bool) -> Tensor:
    """Norm of the 2 x 2 neighbours of x (B, H, W, C), times weight (K, 4 C), plus bias: (B, H', W', K)."""
    x = x.contiguous()
    out = _merging_fake(x, weight, bias, eps, tf32)
    B, H, W, _ = x.shape
    rows = B * ((H + 1) // 2) * ((W + 1) // 2)
    _linear_blocks(x, weight, bias, None, out, rows, H, W, 4, True, eps, False, tf32)
    return out


@operator("swinkit::fused_mlp", _mlp_fake)
def mlp_op(
    x: Tensor,
    weight_in: Tensor,
    bias_in: Tensor,
    weight_out: Tensor,
    bias_out: Tensor,
    eps: float,
    tf32: bool,
) -> Tensor:
    """x + weight_out GELU(weight_in norm(x) + bias_in) + bias_out, x (..., C), weights (K, C) and (C, K)."""
    x = x.contiguous()
    K, C = int(weight_in.shape[0]), int(weight_in.shape[1])  # compiled for these, so a tracer fixes them
    rows = x.numel() // C
    out = x.new_empty(x.shape)
    if not configs.keeps_hidden(C, x.dtype):
        hidden = x.new_empty(*x.shape[:-1], K)
        _linear(x, weight_in, bias_in, None, hidden, True, eps, True, tf32)
        _linear(hidden, weight_out, bias_out, x, out, False, eps, False, tf32)
        return out
    blocks = configs.mlp_rows(C, K, LANES)
    first, second = configs.pieces(C)
    wrap_triton(mlp_rows)[(_programs(rows, blocks),)](
        x=x,
        weight_in=weight_in.contiguous(),
        bias_in=bias_in.contiguous(),
        weight_out=weight_out.contiguous(),
        bias_out=bias_out.contiguous(),
        out=out,
        rows=rows,
        eps=eps,
        C=C,
        HIDDEN=K,
        FIRST=first,
        SECOND=second,
        BLOCK_L=blocks.rows,
        BLOCK_K=blocks.columns,
        PRECISION="ieee",
        STAGES=blocks.stages,
        num_warps=blocks.warps,
    )
    return out


def _programs(rows: int, blocks: configs.Blocks) -> int:
    return -(-rows // blocks.rows)


def _linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    out: Tensor,
    norm: bool,
    eps: float,
    gelu: bool,
    tf32: bool,
) -> None:
    """Fill out (..., K) by the kernel for this width and type."""
    C = int(weight.shape[1])
    if configs.keeps_rows(C, x.dtype):
        _linear_rows(x, weight, bias, residual, out, x.numel() // C, norm, eps, gelu)
    else:
        _linear_blocks(x, weight, bias, residual, out, x.numel() // C, 1, 1, 1, norm, eps, gelu, tf32)


def _linear_rows(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    out: Tensor,
    rows: int,
    norm: bool,
    eps: float,
    gelu: bool,
) -> None:
    """Fill out (..., K); an operand that does not exist is replaced by one that will not be read."""
    K, C = int(weight.shape[0]), int(weight.shape[1])
    blocks = configs.linear_rows(C, K, LANES)
    first, second = configs.pieces(C)
    wrap_triton(linear_rows)[(_programs(rows, blocks),)](
        x=x,
        weight=weight.contiguous(),
        bias=x if bias is None else bias.contiguous(),
        residual=x if residual is None else residual.contiguous(),
        out=out,
        rows=rows,
        eps=eps,
        C=C,
        K=K,
        FIRST=first,
        SECOND=second,
        BLOCK_L=blocks.rows,
        BLOCK_K=blocks.columns,
        NORM=norm,
        HAS_BIAS=bias is not None,
        GELU=gelu,
        RESIDUAL=residual is not None,
        PRECISION="ieee",
        STAGES=blocks.stages,
        num_warps=blocks.warps,
    )


def _linear_blocks(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    out: Tensor,
    rows: int,
    H: int,
    W: int,
    neighbours: int,
    norm: bool,
    eps: float,
    gelu: bool,
    tf32: bool,
) -> None:
    """The same, rows cut into channels; a map (B, H, W, C) with four neighbours is merged."""
    K, C = int(weight.shape[0]), int(weight.shape[1]) // neighbours
    blocks = configs.linear_blocks(C, K, x.dtype, tf32, LANES)
    wrap_triton(linear_blocks)[(_programs(rows, blocks) * -(-K // blocks.columns),)](
        x=x,
        weight=weight.contiguous(),
        bias=x if bias is None else bias.contiguous(),
        residual=x if residual is None else residual.contiguous(),
        out=out,
        rows=rows,
        H=H,
        W=W,
        eps=eps,
        C=C,
        K=K,
        BLOCK_L=blocks.rows,
        BLOCK_K=blocks.columns,
        BLOCK_C=blocks.depth,
        NEIGHBOURS=neighbours,
        WHOLE=configs.is_whole(C, K, blocks),
        NORM=norm,
        HAS_BIAS=bias is not None,
        GELU=gelu,
        RESIDUAL=residual is not None,
        PRECISION="tf32" if tf32 else "ieee",
        STAGES=blocks.stages,
        num_warps=blocks.warps,
    )
