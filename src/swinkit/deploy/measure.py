"""Comparing outputs and times."""

import math
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor


def output_list(value: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Logits or maps as a list."""
    return [value] if isinstance(value, Tensor) else list(value)


def relative_error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest difference of any output, relative to that output's largest value.

    Infinite where a number is NaN, a shape is another, or an output is missing.
    """
    if len(found) != len(expected):
        return math.inf
    return worst(_difference(a, b) for a, b in zip(found, expected, strict=True))


def worst(errors: Iterable[float]) -> float:
    """The largest error, 0 of none; infinite if one is NaN, which `max` alone sees only where it is first."""
    return max((math.inf if math.isnan(error) else error for error in errors), default=0.0)


def _difference(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        return math.inf
    if not expected.numel():
        return 0.0
    found, expected = (item.detach().cpu().double() for item in (found, expected))
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12)).item()


def in_turns(runs: Sequence[Callable[[Tensor], object]], example: Tensor, rounds: int) -> list[list[float]]:
    """Seconds of every run of each, after one to warm up.

    They take turns, so that whatever else the machine does meets all of them alike.
    """
    seconds: list[list[float]] = [[] for _ in runs]
    for round_ in range(rounds + 1):
        for run, own in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            run(example)
            if example.is_cuda:
                torch.cuda.synchronize(example.device)
            if round_:
                own.append(time.perf_counter() - start)
    return seconds
