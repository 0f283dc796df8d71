"""How the weights of linear maps start."""

import math
from typing import Literal

from torch import nn

Init = Literal["paper", "xavier"]


def initialise(model: nn.Module, scheme: Init = "paper") -> None:
    """Draw the weights of all linear and token-mixing layers of `model` anew and set their biases to zero.

    Args:
        model: any module; norms, convolutions over pixels and position tables are left as they are.
        scheme: "paper": a normal of standard deviation 0.02, cut at 2, as the published code. "xavier":
            uniform with variance 2 / (inputs + outputs) (Glorot and Bengio 2010), which lets models far
            narrower than the paper's learn from the first epoch on.
    """
    for module in model.modules():
        if not isinstance(module, (nn.Linear, nn.Conv1d)):
            continue
        if scheme == "paper":
            nn.init.trunc_normal_(module.weight, std=0.02)
        else:
            inputs = module.weight[0].numel()
            outputs = module.weight.shape[0] // (module.groups if isinstance(module, nn.Conv1d) else 1)
            bound = math.sqrt(6 / (inputs + outputs))
            nn.init.uniform_(module.weight, -bound, bound)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
