"""Window attention by compiled kernels for a CPU (`swinkit.ops.native`), float32 and bfloat16.

One window and head at a time, straight from the map and back: nothing is rolled, cut, or kept. On processors
with a matrix unit (AMX), bfloat16 is multiplied there; elsewhere in float32.
"""

import torch
from torch import Tensor

from swinkit.ops.transformed import why_not_differentiated
from swinkit.ops.window_attention import chunked
from swinkit.ops.windows import Pair

DTYPES = (torch.float32, torch.bfloat16)

SMALLEST = 1e-20
"""Scale from which on it computes: bias and masks are divided by it, and have to be numbers of float32."""


def can_run(qkv: Tensor) -> str | None:
    """It needs a CPU and a C++ compiler."""
    if qkv.device.type != "cpu":
        return f"it is made for a CPU, not for {qkv.device.type}"
    if qkv.dtype not in DTYPES:
        return f"it needs float32 or bfloat16, got {qkv.dtype}"
    if torch.compiler.is_exporting():
        return "an exported program is to hold PyTorch's own operators only"
    return why_not_differentiated() or _why_not()


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
    """See `swinkit.ops.window_attention.window_attention`. It can be differentiated once.

    Dropout of weights, attention without q k^T and a scale that is not above 1e-20 are left to "chunked".
    """
    if dropout > 0 or not appearance or not scale > SMALLEST:
        return chunked.attend(
            qkv,
            bias_table,
            window=window,
            shift=shift,
            pad_qkv=pad_qkv,
            scale=scale,
            appearance=appearance,
            dropout=dropout,
        )
    from swinkit.ops.window_attention.native_op import forward_op  # noqa: PLC0415 - registers operators

    return forward_op(qkv, bias_table, pad_qkv, list(window), list(shift), scale)


@torch.compiler.assume_constant_result
def _why_not() -> str | None:
    """Why there are no compiled kernels; None when there are."""
    from swinkit.ops.native.library import why_not  # noqa: PLC0415 - compiles

    return why_not()
