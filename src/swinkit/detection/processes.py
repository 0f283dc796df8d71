"""Numbers that all processes of a distributed training share."""

import torch
import torch.distributed
from torch import Tensor


def mean_over_processes(value: Tensor | float, like: Tensor) -> Tensor:
    """Return the mean of a number over all processes of a distributed training, so that losses weigh alike.

    Args:
        value: this process's.
        like: gives the device and the type.
    """
    mean = torch.as_tensor(value, dtype=like.dtype, device=like.device).detach().clone()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(mean)
        mean = mean / torch.distributed.get_world_size()
    return mean
