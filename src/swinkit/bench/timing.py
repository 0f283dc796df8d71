"""Candidates in turn on one machine, and what their times say of each other."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

TURN = 0.05
"""Seconds a turn lasts at least: quicker calls are repeated, so that the clock and a hiccup weigh less."""
MOST_REPEATS = 200
BUDGET = 300.0
"""Seconds after which no round is begun, once there are `FEWEST_ROUNDS`."""
FEWEST_ROUNDS = 5


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The median and quartiles of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, lower, upper)

    def text(self, digits: int = 2) -> str:
        """As a table shows it: median (lower quartile to upper quartile)."""
        return f"{self.median:.{digits}f} ({self.lower:.{digits}f} to {self.upper:.{digits}f})"


def interleave(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    device: torch.device,
    turn: float = TURN,
    budget: float = BUDGET,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds a call of each candidate, once a round, all in one process.

    A round gives every candidate one turn; the round after starts with the next one, so that no candidate
    always runs behind the same other. Everybody has one round that is not counted, which also finds how many
    calls make a turn of `turn` seconds.

    Args:
        calls: name -> what to time, ready to run (compiled, on its device).
        rounds: numbers per candidate, at most.
        device: CUDA devices are waited for before the clock is read.
        turn: least seconds of a turn.
        budget: seconds after which it is enough, once there are `FEWEST_ROUNDS` rounds.
        clock: for the tests.

    Returns:
        Name -> up to `rounds` times, as many for each; the times of one index are neighbours and may be
        divided by one another.
    """

    def seconds(call: Callable[[], object], repeats: int) -> float:
        synchronise(device)
        start = clock()
        for _ in range(repeats):
            call()
        synchronise(device)
        return (clock() - start) / repeats

    names = list(calls)
    once = {name: seconds(calls[name], 1) for name in names}
    repeats = {
        name: min(MOST_REPEATS, max(1, round(turn / value))) if value > 0 else 1
        for name, value in once.items()
    }
    times: dict[str, list[float]] = {name: [] for name in names}
    begun = clock()
    for number in range(rounds):
        if number >= FEWEST_ROUNDS and clock() - begun > budget:
            break
        start = number % len(names) if names else 0
        for name in names[start:] + names[:start]:
            times[name].append(seconds(calls[name], repeats[name]))
    return times


def speedup(baseline: Sequence[float], other: Sequence[float]) -> Spread:
    """How many times faster than the baseline: quotients of neighbouring turns, with quartiles."""
    return Spread.of([theirs / ours for theirs, ours in zip(baseline, other, strict=True)])


def fastest(times: Mapping[str, Sequence[float]], names: Sequence[str]) -> str | None:
    """The name with the smallest median among `names`, or None when none of them was timed."""
    timed = [name for name in names if name in times]
    return min(timed, key=lambda name: statistics.median(times[name])) if timed else None


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Give torch `count` CPU threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def synchronise(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
