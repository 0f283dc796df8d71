"""Whether torch.func or forward-mode differentiation is at work."""

from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad


def is_transformed() -> bool:
    """Whether code runs under vmap, jvp, grad or the like of torch.func, or at a forward-mode level."""
    return peek_interpreter_stack() is not None or forward_ad._current_level >= 0
