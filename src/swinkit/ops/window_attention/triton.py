"""Window attention as Triton kernels: nothing is padded, rolled or cut in memory; see README.md for how.

This module imports no Triton: `attend` does, when it is first called.
"""

import torch
from torch import Tensor

from swinkit.ops.transformed import why_not_differentiated
from swinkit.ops.triton_support import DTYPES, missing, tf32
from swinkit.ops.window_attention.triton_configs import MAX_CHANNELS
from swinkit.ops.windows import Pair


def can_run(qkv: Tensor) -> str | None:
    """It needs a GPU, or TRITON_INTERPRET=1 for a CPU, which serves tests only."""
    reason = missing(qkv.device.type)
    if reason is not None:
        return reason
    if qkv.dtype not in DTYPES:
        return f"it needs float16, bfloat16 or float32, got {qkv.dtype}"
    if qkv.shape[-1] > MAX_CHANNELS:
        return f"it needs at most {MAX_CHANNELS} channels a head, got {qkv.shape[-1]}"
    return why_not_differentiated()


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
    """See `swinkit.ops.window_attention.window_attention`.

    float32 is multiplied exactly, unless `torch.set_float32_matmul_precision` asks for TF32.
    """
    from swinkit.ops.window_attention.triton_op import forward_op  # noqa: PLC0415 - the first use of Triton

    seed = torch.randint(2**31 - 1, (1,), device=qkv.device) if dropout > 0 else None
    out, _ = forward_op(
        qkv, bias_table, pad_qkv, seed, list(window), list(shift), scale, appearance, dropout, tf32()
    )
    return out
