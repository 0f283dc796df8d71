"""Window attention for a CPU: a few windows at a time, so that what they need stays in the cache.

Peers pad, roll and cut the whole map and keep scores, mask and weights of all its windows. Here the tokens of
a chunk of windows are gathered by their places in the map, attended to, and written back to their places:
each number of the map is read once and written once. Half types are multiplied in float32, which every
processor does well and few do for them.

Legend: B pictures, H W rows and columns of the map, h heads, d channels a head, N tokens a window, g windows
of a chunk.
"""

import torch
from torch import Tensor

from swinkit.ops.transformed import why_not_differentiated
from swinkit.ops.windows import Pair


def can_run(qkv: Tensor) -> str | None:
    """It is made for the caches of a CPU, and an exported program must not name an operator of ours."""
    if qkv.device.type != "cpu":
        return f"it is made for a CPU, not for {qkv.device.type}"
    if not qkv.is_floating_point():
        return f"it needs a floating dtype, got {qkv.dtype}"
    if torch.compiler.is_exporting():
        return "an exported program is to hold PyTorch's own operators only"
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
    """See `swinkit.ops.window_attention.window_attention`. It can be differentiated once."""
    from swinkit.ops.window_attention.chunked_op import forward_op  # noqa: PLC0415 - registers operators

    seed = torch.randint(2**31 - 1, (1,)) if dropout > 0 else None
    operands = [item for item in (qkv, bias_table, pad_qkv) if item is not None]
    keep = torch.is_grad_enabled() and any(item.requires_grad for item in operands)
    out, _, _ = forward_op(
        qkv, bias_table, pad_qkv, seed, list(window), list(shift), scale, appearance, dropout, keep
    )
    return out
