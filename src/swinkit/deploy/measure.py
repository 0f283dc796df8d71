"""Comparing outputs."""

from collections.abc import Sequence

from torch import Tensor


def output_list(value: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Logits or maps as a list."""
    return [value] if isinstance(value, Tensor) else list(value)


def relative_error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest difference of any output, relative to that output's largest value; infinite for a NaN."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        error = (a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-30)
        worst = max(worst, float("inf") if bool(error.isnan()) else error.item())
    return worst
