"""How our Triton kernels become PyTorch operators. This module is the first to import Triton."""

from collections.abc import Callable
from typing import Any

import torch
from triton import knobs

LANES = 32 if torch.version.hip is None else 64
"""Threads of a warp: AMD's chips for computing have twice as many."""

INTERPRETED = bool(knobs.runtime.interpret)
"""Whether this process runs kernels in Triton's interpreter."""


def operator(name: str, fake: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Register a function of launches as operator `name`; `fake` gives its shapes where it is opaque.

    A `triton_op` lets torch.compile see the kernels, and torch.export keeps it whole. Triton's interpreter
    runs kernels in numpy, which no tracer can follow: under TRITON_INTERPRET=1 it is an opaque `custom_op`.
    """

    def register(function: Callable[..., Any]) -> Any:
        if not INTERPRETED:
            return torch.library.triton_op(name, function, mutates_args=())
        opaque = torch.library.custom_op(name, function, mutates_args=())
        opaque.register_fake(fake)
        return opaque

    return register
