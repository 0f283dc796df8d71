"""Whether torch.func or forward-mode differentiation is at work."""

import torch
from torch._C._functorch import TransformType, get_interpreter_stack, peek_interpreter_stack
from torch.autograd import forward_ad


def is_transformed() -> bool:
    """Whether code runs under vmap, jvp, grad or the like of torch.func, or at a forward-mode level."""
    return peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def why_not_differentiated() -> str | None:
    """Return why operators of ours cannot run under torch.func's grad and jvp or at a forward-mode level.

    None elsewhere. They know their gradient only as `backward` asks for it; a tangent would silently be zero.
    """
    if not _is_differentiated():
        return None
    return "torch.func and forward mode differentiate PyTorch's own operators only"


@torch.compiler.assume_constant_result  # a compiled program is made for one stack of transforms
def _is_differentiated() -> bool:
    kinds = [level.key() for level in get_interpreter_stack() or ()]
    return forward_ad._current_level >= 0 or TransformType.Grad in kinds or TransformType.Jvp in kinds
