"""What the backward passes of window attention's operators share."""

from collections.abc import Sequence

import torch
from torch import Tensor


def empty_gradients(like: Tensor, bias_table: Tensor | None, pad_qkv: Tensor | None) -> tuple[Tensor, Tensor]:
    """Room for the gradients of the bias table and the padding's token; empty where there is none."""
    return (
        like.new_empty(0) if bias_table is None else torch.empty_like(bias_table),
        like.new_empty(0) if pad_qkv is None else torch.empty_like(pad_qkv),
    )


def needed_gradients(needed: Sequence[bool], grads: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """What autograd wants back: the gradients of the first operands where needed, None for the rest."""
    given = [grad if need else None for grad, need in zip(grads, needed[: len(grads)], strict=True)]
    return (*given, *(None for _ in needed[len(grads) :]))
