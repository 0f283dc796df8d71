"""Where the fused kernels can run. This module imports no Triton: `api.py` does, when they first run."""

import torch
from torch import Tensor

from swinkit.ops.triton_support import DTYPES, missing


def can_run(*operands: Tensor | None) -> str | None:
    """They need a GPU, or TRITON_INTERPRET=1 for a CPU, which serves tests only, and give no gradients."""
    given = [item for item in operands if item is not None]
    x = given[0]
    reason = missing(x.device.type)
    if reason is not None:
        return reason
    if x.dtype not in DTYPES:
        return f"they need float16, bfloat16 or float32, got {x.dtype}"
    if any(item.dtype != x.dtype or item.device != x.device for item in given):
        return f"they need every operand in {x.dtype} on {x.device}"
    if torch.is_grad_enabled() and any(item.requires_grad for item in given):
        return "they have no gradients: call under torch.no_grad()"
    return None
