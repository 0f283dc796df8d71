"""Turns and statistics, on numbers that are given."""

import pytest
import torch

from swinkit.bench.timing import Spread, fastest, interleave, speedup

CPU = torch.device("cpu")


class Clock:
    """Time that passes only when a call says so."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def __call__(self):
        return self.now

    def task(self, name, seconds):
        def call():
            self.calls.append(name)
            self.now += seconds

        return call


def test_candidates_take_turns_and_each_begins_a_round():
    clock = Clock()
    calls = {name: clock.task(name, seconds) for name, seconds in (("a", 1.0), ("b", 2.0), ("c", 4.0))}
    times = interleave(calls, rounds=3, device=CPU, clock=clock)
    assert times == {"a": [1.0] * 3, "b": [2.0] * 3, "c": [4.0] * 3}
    assert "".join(clock.calls) == "abc" + "abc" + "bca" + "cab"  # the first round is not counted


def test_quick_calls_are_repeated_until_a_turn_is_long_enough():
    clock = Clock()
    times = interleave({"quick": clock.task("q", 0.125)}, rounds=2, device=CPU, turn=1.0, clock=clock)
    assert times == {"quick": [0.125, 0.125]}
    assert len(clock.calls) == 1 + 2 * 8


def test_slow_candidates_take_five_turns_and_no_more_than_they_need():
    clock = Clock()
    calls = {"slow": clock.task("slow", 10.0), "slower": clock.task("slower", 20.0)}
    times = interleave(calls, rounds=20, device=CPU, budget=60.0, clock=clock)
    assert {name: len(values) for name, values in times.items()} == {"slow": 5, "slower": 5}
    assert len(interleave(calls, rounds=20, device=CPU, budget=200.0, clock=clock)["slow"]) == 7
    assert len(interleave(calls, rounds=2, device=CPU, budget=1.0, clock=clock)["slow"]) == 2


def test_a_call_that_takes_no_time_is_not_repeated_for_ever():
    times = interleave({"none": Clock().task("n", 0.0)}, rounds=1, device=CPU, clock=Clock())
    assert times == {"none": [0.0]}


def test_median_and_quartiles():
    assert Spread.of([5, 1, 4, 2, 3]) == Spread(3, 2, 4)
    assert Spread.of([2.0]) == Spread(2, 2, 2)
    assert Spread(1.234, 1, 1.5).text() == "1.23 (1.00 to 1.50)"


def test_speedup_divides_neighbours_not_medians():
    slow_machine_in_round_2 = [2.0, 20.0, 2.0], [1.0, 10.0, 1.0]
    assert speedup(*slow_machine_in_round_2) == Spread(2, 2, 2)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        speedup([1.0, 2.0], [1.0])


def test_the_fastest_of_those_that_ran():
    times = {"a": [3.0, 3.0], "b": [1.0, 9.0, 1.0], "c": [0.1]}
    assert fastest(times, ["a", "b", "not there"]) == "b"
    assert fastest(times, ["not there"]) is None
