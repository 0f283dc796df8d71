"""Peak memory sees what a call takes, and the exponent is the slope it says it is."""

import sys

import pytest
import torch

from swinkit.bench import linear, memory
from swinkit.bench.figures import draw_growth
from swinkit.bench.linear import exponent
from swinkit.bench.outcome import Unavailable
from swinkit.bench.workload import Workload

CPU = torch.device("cpu")
MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="the resident set is read from /proc")
@pytest.mark.parametrize("marked", [True, False])
def test_the_peak_of_a_call_is_seen(monkeypatch, marked):
    if not marked:
        monkeypatch.setattr(memory, "_reset_mark", lambda: False)  # as where the kernel does not let us

    def call():
        for _ in range(3):
            torch.ones(64 * MIB // 4).sum()

    before = memory.resident(CPU)
    assert 60 * MIB < memory.watch(call, CPU) - before < 130 * MIB
    assert memory.resident(CPU) - before < 32 * MIB


def test_a_process_that_fails_says_why(monkeypatch, tmp_path):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho 'RuntimeError: too large' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(Unavailable, match="could not be measured: RuntimeError: too large"):
        memory.peak_memory("swinkit/eager", Workload(model="toy", size=(112, 112)))
    points, missing = linear.growth(["toy"], [64], rounds=1, dtype="float32", device=CPU, threads=1)
    assert (points, missing) == ([], {"toy at 64": "RuntimeError: too large"})


def test_exponents_of_made_up_costs():
    sides = (224, 448, 1000, 2048)
    assert exponent({side: 3 * side**2 for side in sides}) == pytest.approx(1)
    assert exponent({side: 7e-9 * side**4 for side in sides}) == pytest.approx(2)
    assert exponent(dict.fromkeys(sides, 5.0)) == pytest.approx(0)
    noisy = {side: side**2 * (1 + 0.01 * (-1) ** number) for number, side in enumerate(sides)}
    assert exponent(noisy) == pytest.approx(1, abs=0.02)


def test_points_belong_to_their_model_by_size():
    points = [
        linear.Point(model=model, size=size, seconds=[2.0, 1.0], peak=5)
        for model, size in (("a", 448), ("b", 224), ("a", 224))
    ]
    found = linear.by_model(points)
    assert {name: [point.size for point in own] for name, own in found.items()} == {
        "b": [224],
        "a": [224, 448],
    }
    assert points[0].best == 1.0


def test_one_point_is_time_and_memory():
    point = linear.run_point(
        "toy", 64, rounds=2, dtype="float32", device=CPU, threads=torch.get_num_threads()
    )
    assert len(point.seconds) == 2
    assert point.best > 0


def test_the_figure_of_growth(tmp_path):
    draw_growth(tmp_path / "linear.png", {"a": {224: 1.0, 448: 4.0}}, {"a": {224: 10.0, 448: 40.0}})
    assert (tmp_path / "linear.png").stat().st_size > 5000
