"""What `optimize` tried and chose."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One engine in one dtype.

    Attributes:
        engine: its name.
        dtype: what it computes in.
        milliseconds: the quickest of the timed runs of the example; None when it was not timed.
        error: largest difference from the model in float32, relative to its largest output.
        reason: why it was not timed; empty when it was.
    """

    engine: str
    dtype: str
    milliseconds: float | None
    error: float | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was chosen, and from what. Printing it gives a table.

    Attributes:
        engine: the choice.
        dtype: what it computes in.
        error: its largest difference from the model in float32, relative to the largest output.
        milliseconds: its time for the example.
        shape: of the example (B, in_chans, H, W).
        remembered: whether the choice was measured earlier on this machine; then only it ran now.
        candidates: all that were considered, the choice included.
    """

    engine: str
    dtype: str
    error: float
    milliseconds: float
    shape: tuple[int, ...]
    remembered: bool
    candidates: tuple[Candidate, ...]

    @classmethod
    def of(
        cls, best: Candidate, tried: Sequence[Candidate], example: Tensor, known: "Report | None"
    ) -> "Report":
        """The report of a choice; `known` is the remembered one, if this choice comes from there."""
        assert best.error is not None
        assert best.milliseconds is not None
        candidates = list(tried)
        if known is not None:
            candidates += [
                item for item in known.candidates if (item.engine, item.dtype) != (best.engine, best.dtype)
            ]
        return cls(
            engine=best.engine,
            dtype=best.dtype,
            error=best.error,
            milliseconds=best.milliseconds,
            shape=tuple(example.shape),
            remembered=known is not None,
            candidates=tuple(candidates),
        )

    def __str__(self) -> str:
        lines = [f"{self.engine} in {short(self.dtype)} for {'x'.join(map(str, self.shape))}"]
        if self.remembered:
            lines[0] += " (remembered; the other times are from then)"
        for item in sorted(self.candidates, key=lambda item: item.milliseconds or float("inf")):
            name = f"  {item.engine:<18}{short(item.dtype):<10}"
            if item.milliseconds is None:
                lines.append(f"{name}{item.reason}")
            else:
                lines.append(f"{name}{item.milliseconds:9.2f} ms   error {item.error:.1e}")
        return "\n".join(lines)


def short(dtype: object) -> str:
    """A dtype without "torch."."""
    return str(dtype).removeprefix("torch.")
