"""The bars: every row is there, verdicts follow the numbers, and what was not measured says so."""

import dataclasses

import pytest

from swinkit.bench import bars
from swinkit.bench.bars import BARS
from swinkit.bench.compare import Comparison, Row
from swinkit.bench.outcome import Disagreement, Unavailable
from swinkit.bench.rows import Outcome, Part, Setting, best_part
from swinkit.bench.timing import Spread, speedup
from swinkit.bench.workload import Workload
from swinkit.errors import InputError

SETTING = Setting(threads=1, rounds=1)


def part(median, kept=True):
    return Part(label="", value=Spread(median, median, median), ours="ours", against="theirs", kept=kept)


def outcome(*parts):
    return Outcome(name="row", parts=list(parts))


def test_the_rows_and_their_bars():
    assert {name: (row.needs, row.bar) for name, row in BARS.items()} == {
        "gpu-attention-eager": ("cuda", 3),
        "gpu-attention-compiled": ("cuda", 1.7),
        "gpu-inference-tiny": ("cuda", 1.5),
        "gpu-inference-base": ("cuda", 1.5),
        "gpu-training": ("cuda", 1.3),
        "gpu-backbone": ("cuda", 2),
        "cpu-inference-bf16": ("cpu", 1.15),
        "cpu-inference-fp32": ("cpu", 1.05),
        "cpu-training": ("cpu", 1.1),
        "cpu-attention": ("cpu", 1.5),
        "cpu-memory": ("cpu", 0.6),
        "cost-exponent": ("cpu", 1.05),
    }
    assert [name for name, row in BARS.items() if row.most] == ["cpu-memory", "cost-exponent"]


def test_the_worst_part_decides():
    row = BARS["cpu-attention"]
    assert row.verdict(outcome(part(1.5), part(9))) == "met"
    assert row.verdict(outcome(part(1.49), part(9))) == "missed"
    assert row.verdict(outcome(part(9, kept=False))) == "missed"
    assert row.verdict(outcome()) == ""
    most = BARS["cpu-memory"]
    assert (most.verdict(outcome(part(0.6))), most.verdict(outcome(part(0.5), part(0.7)))) == (
        "met",
        "missed",
    )


@pytest.mark.parametrize("name", [name for name, row in BARS.items() if row.needs == "cuda"])
def test_gpu_rows_say_that_they_need_one(monkeypatch, name):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = bars.run(name, SETTING)
    assert (found.parts, found.reason) == ([], "not measured: needs a GPU")
    assert BARS[name].verdict(found) == ""


def test_a_row_without_peers_is_not_measured(monkeypatch):
    def fail(setting, device):
        raise Unavailable("timm is not installed")

    monkeypatch.setitem(BARS, "cpu-memory", dataclasses.replace(BARS["cpu-memory"], measure=fail))
    assert bars.run("cpu-memory", SETTING).reason == "not measured: timm is not installed"


def test_a_refused_row_leaves_the_others(monkeypatch):
    def fail(setting, device):
        raise Disagreement("timm/eager differs")

    monkeypatch.setitem(BARS, "cpu-memory", dataclasses.replace(BARS["cpu-memory"], measure=fail))
    found = bars.run("cpu-memory", SETTING)
    assert (found.refused, found.reason) == (True, "refused: timm/eager differs")
    assert bars.outcome_data("cpu-memory", found)["verdict"] == "not measured"


def test_only_what_is_missed_is_profiled():
    slow = dataclasses.replace(part(1.0), profile=lambda: "slow's operators")
    quick = dataclasses.replace(part(2.0), profile=lambda: "quick's operators")
    assert bars.profiles("cpu-attention", outcome(slow, quick)) == "slow's operators"
    assert bars.profiles("cpu-attention", outcome(quick)) == ""


def test_rows_are_picked_by_name():
    assert bars.choose([]) == list(BARS)
    assert bars.choose(["cost-exponent", "gpu-training"]) == ["gpu-training", "cost-exponent"]
    with pytest.raises(InputError, match="there is no row 'cpu': choose from gpu-attention-eager"):
        bars.choose(["cpu"])


def comparison(memory, **seconds):
    base = seconds["timm_eager"]
    rows = [
        Row(
            name=name.replace("_", "/"),
            seconds=values,
            error=0,
            speedup=speedup(base, values),
            memory=memory.get(name),
        )
        for name, values in seconds.items()
    ]
    return Comparison(workload=Workload(), baseline="timm/eager", rows=rows, missing={})


def test_our_one_call_counts_against_their_fastest():
    found = comparison({}, swinkit_optimize=[1.0], swinkit_eager=[0.5], timm_eager=[3.0], timm_compile=[2.0])
    best = best_part(found, ("swinkit/optimize", "swinkit/eager"), ("timm/eager", "timm/compile"))
    assert best is not None
    assert (best.ours, best.against, best.value.median) == ("swinkit/optimize", "timm/compile", 2.0)
    without = best_part(found, ("swinkit/eager",), ("timm/eager", "timm/compile"))
    assert without is not None
    assert (without.ours, without.value.median) == ("swinkit/eager", 4.0)
    assert best_part(found, ("swinkit/frozen",), ("timm/eager",)) is None


@pytest.mark.parametrize(("bytes_of_ours", "kept"), [(100, True), (101, False)])
def test_faster_with_more_memory_is_missed_where_memory_counts(bytes_of_ours, kept):
    memory = {"swinkit_eager": bytes_of_ours, "timm_eager": 100}
    found = comparison(memory, swinkit_eager=[1.0], timm_eager=[2.0])
    best = best_part(found, ("swinkit/eager",), ("timm/eager",))
    assert best is not None
    assert best.kept is kept
    assert (
        best.text()
        == f"2.00 (2.00 to 2.00) [swinkit/eager / timm/eager] memory {bytes_of_ours / 100:.2f} of theirs"
    )
    assert BARS["cpu-training"].verdict(outcome(best)) == ("met" if kept else "missed")


def test_of_ours_the_fastest_that_takes_no_more_memory_counts():
    memory = {"swinkit_eager": 101, "swinkit_compile": 99, "timm_eager": 100}
    found = comparison(memory, swinkit_eager=[1.0], swinkit_compile=[1.5], timm_eager=[3.0])
    best = best_part(found, ("swinkit/eager", "swinkit/compile"), ("timm/eager",))
    assert best is not None
    assert (best.ours, best.kept, best.value.median) == ("swinkit/compile", True, 2.0)


def test_memory_that_was_asked_for_and_not_measured_does_not_count_as_kept():
    found = comparison({"timm_eager": 100}, swinkit_eager=[1.0], timm_eager=[2.0])
    best = best_part(found, ("swinkit/eager",), ("timm/eager",))
    assert best is not None
    assert (best.kept, best.note) == (False, "memory not measured")
