"""The modules of a model once more, over the same weights."""

import copy
from typing import TypeVar

from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def twin(model: Model) -> Model:
    """Return a model of the same modules in evaluation mode, which holds the same numbers and hooks.

    Putting either into another mode, on another device or into another dtype leaves the other as it is.
    Numbers that change in place, as an optimizer changes them, change in both.
    """
    known: dict[int, object] = {}
    for module in model.modules():
        for name, value in vars(module).items():
            if name.endswith("_hooks"):
                known[id(value)] = value
            elif isinstance(value, Tensor):
                known[id(value)] = value.detach()
        for parameter in module.parameters(recurse=False):
            known[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
        for buffer in module.buffers(recurse=False):
            known[id(buffer)] = buffer.detach()
    return copy.deepcopy(model, known).eval()
