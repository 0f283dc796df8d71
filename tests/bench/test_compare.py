"""Comparisons of whole models: what is refused, who is named as missing, that peers are our equals."""

import dataclasses

import pytest
import torch
from torch import nn

import swinkit
from swinkit.bench import libraries
from swinkit.bench.check import needs_padding, unpadded_size
from swinkit.bench.compare import CANDIDATES, QUICK, Comparison, Row, choose, compare
from swinkit.bench.engines import INFERENCE, TRAINING
from swinkit.bench.figures import draw_comparisons
from swinkit.bench.outcome import Disagreement, Unavailable
from swinkit.bench.report import comparison_columns, comparison_data, comparison_rows
from swinkit.bench.timing import Spread
from swinkit.bench.workload import Workload
from swinkit.errors import InputError

TOY = Workload(model="toy", size=(112, 112), batch=1)


def absent(workload, ours):
    raise Unavailable("timm is not installed")


class Wrong(nn.Module):
    """Right but for one part in a thousand."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images) * 1.001


@pytest.mark.parametrize("library", ["timm", "torchvision", "huggingface"])
@pytest.mark.parametrize("step", ["inference", "training"])
def test_libraries_agree_with_ours(library, step):
    package = "transformers" if library == "huggingface" else library
    pytest.importorskip(package, reason="an optional peer")
    found = compare(dataclasses.replace(TOY, step=step), [f"{library}/eager"], rounds=1)
    assert found.missing == {}
    (row,) = found.rows
    assert 0 < row.error < 1e-4 or library == "huggingface"
    assert len(row.seconds) == 1


def test_maps_of_a_size_that_needs_padding():
    workload = dataclasses.replace(TOY, step="maps", size=(116, 132))
    found = compare(workload, ["torchvision/eager"], rounds=1)
    assert [row.name for row in found.rows] == ["torchvision/eager"]


def test_timm_is_compared_where_it_computes_the_same():
    """It rolls a map before it pads it, the published code after; the work is the same."""
    pytest.importorskip("timm", reason="an optional peer")
    workload = dataclasses.replace(TOY, size=(116, 132))
    assert not needs_padding(TOY)
    assert needs_padding(workload)
    assert unpadded_size(workload) == (224, 224)
    (row,) = compare(workload, ["timm/eager"], rounds=1).rows
    assert row.error < 1e-4
    assert row.note == "rolls before it pads: compared with ours at 224x224"
    (step,) = compare(dataclasses.replace(workload, step="training"), ["timm/eager"], rounds=1).rows
    assert step.error < 1e-4


def test_timm_is_refused_there_too(monkeypatch):
    pytest.importorskip("timm", reason="an optional peer")
    honest = libraries.LIBRARIES["timm"]
    monkeypatch.setitem(libraries.LIBRARIES, "timm", lambda *words: Wrong(honest(*words)))
    with pytest.raises(Disagreement, match=r"timm/eager: relative error 1.0e-03"):
        compare(dataclasses.replace(TOY, size=(116, 132)), ["timm/eager"], rounds=1)


def test_a_wrong_output_is_refused_before_anything_is_timed(monkeypatch):
    def wrong(workload, ours):
        return Wrong(libraries.LIBRARIES["swinkit"](workload, ours))

    def untimed(*args, **options):
        raise AssertionError("timed")

    monkeypatch.setitem(libraries.LIBRARIES, "torchvision", wrong)
    monkeypatch.setattr("swinkit.bench.compare.interleave", untimed)
    with pytest.raises(Disagreement, match=r"torchvision/eager: relative error 1.0e-03.*nothing was timed"):
        compare(TOY, ["torchvision/eager"], rounds=1)


def test_a_wrong_gradient_is_refused(monkeypatch):
    honest = libraries.LIBRARIES["swinkit"]
    built = []

    def second_is_wrong(workload, ours):
        built.append(1)
        if len(built) == 1:  # the one that says what is right
            return honest(workload, ours)
        model = honest(workload, ours)
        model.get_parameter("head.weight").register_hook(lambda gradient: gradient * 1.01)
        return model

    monkeypatch.setitem(libraries.LIBRARIES, "swinkit", second_is_wrong)
    with pytest.raises(Disagreement, match="its loss or a gradient differs"):
        compare(dataclasses.replace(TOY, step="training"), ["swinkit/eager"], rounds=1)


def test_nan_is_a_disagreement(monkeypatch):
    monkeypatch.setitem(INFERENCE, "eager", lambda *_: lambda: torch.full((1, 1000), float("nan")))
    with pytest.raises(Disagreement, match="error inf"):
        compare(TOY, ["swinkit/eager"], rounds=1)


def test_nan_in_a_later_map_is_a_disagreement(monkeypatch):
    """Python's `max` would see it in the first one only."""
    honest = INFERENCE["eager"]

    def spoilt(*words):
        call = honest(*words)
        return lambda: [x * (float("nan") if number == 1 else 1) for number, x in enumerate(call())]

    monkeypatch.setitem(INFERENCE, "eager", spoilt)
    with pytest.raises(Disagreement, match="error inf"):
        compare(dataclasses.replace(TOY, step="maps"), ["swinkit/eager"], rounds=1)


def test_nan_in_the_last_gradient_is_a_disagreement(monkeypatch):
    honest = libraries.LIBRARIES["torchvision"]

    def spoilt(workload, ours):
        model = honest(workload, ours)
        model.get_parameter("head.bias").register_hook(lambda gradient: gradient * float("nan"))
        return model

    monkeypatch.setitem(libraries.LIBRARIES, "torchvision", spoilt)
    with pytest.raises(Disagreement, match="error inf"):
        compare(dataclasses.replace(TOY, step="training"), ["torchvision/eager"], rounds=1)


def test_who_cannot_run_is_named(monkeypatch):
    monkeypatch.setitem(libraries.LIBRARIES, "timm", absent)
    names = [
        "swinkit/eager",
        "swinkit/reduce-overhead",
        "swinkit/fused",
        "swinkit/fused-graphs",
        "timm/eager",
    ]
    found = compare(TOY, names, rounds=1)
    assert found.baseline == "swinkit/eager"  # the one asked for is not there
    assert found.missing == {
        "swinkit/reduce-overhead": "CUDA graphs need a GPU",
        "swinkit/fused": "it is for cuda, not for cpu",
        "swinkit/fused-graphs": "it is for cuda, not for cpu",
        "timm/eager": "timm is not installed",
    }
    cells = {row[0]: row[1] for row in comparison_rows(found)}
    assert cells["timm/eager"] == "left out: timm is not installed"
    assert comparison_data(found)["left_out"] == found.missing


def test_times_stand_where_memory_cannot_be_measured():
    def fail(name, workload):
        raise Unavailable("its memory could not be measured: killed")

    (row,) = compare(TOY, ["swinkit/eager"], rounds=1, memory=fail).rows
    assert (row.memory, row.note) == (None, "its memory could not be measured: killed")


def test_our_one_call_is_asked_for_the_precision_and_says_what_it_chose(monkeypatch):
    asked = []

    class Fast:
        engine = "a better one"

        def __init__(self, model):
            self.model = model

        def __call__(self, images):
            with torch.inference_mode():
                return self.model(images)

    def optimize(model, example, **options):
        asked.append((example.dtype, options))
        return Fast(model)

    monkeypatch.setattr(swinkit, "optimize", optimize, raising=False)
    (row,) = compare(dataclasses.replace(TOY, dtype="bfloat16"), ["swinkit/optimize"], rounds=1).rows
    assert row.note == "chose a better one"
    assert asked == [(torch.float32, {"dtype": torch.bfloat16, "remember": False})]


def test_float8_is_named_where_it_does_not_run():
    found = compare(TOY, ["swinkit/float8"], rounds=1)
    assert found.missing == {"swinkit/float8": "it is for cuda, not for cpu"}
    assert "swinkit/float8" not in choose(QUICK)


def test_float8_runs_its_engines_and_may_be_further_off(monkeypatch):
    asked = []

    class Fast:
        engine = "float8-inductor"

        def __init__(self, model, factor):
            self.model, self.factor = model, factor

        def __call__(self, images):
            with torch.inference_mode():
                return self.model(images) * self.factor

    def optimize(model, example, **options):
        asked.append(options)
        return Fast(model, factor)

    monkeypatch.setattr(swinkit, "optimize", optimize)
    able = lambda name, *_: None if name != "float8-graphs" else "no"  # noqa: E731
    monkeypatch.setattr("swinkit.bench.engines.can_run", able)
    factor = 1.1
    (row,) = compare(TOY, ["swinkit/float8"], rounds=1).rows
    assert row.note == "chose float8-inductor"
    assert row.error == pytest.approx(0.1, abs=1e-4)
    assert asked[0]["engines"] == ["float8", "float8-inductor"]
    assert asked[0]["max_error"] == 0.2
    factor = 1.3
    with pytest.raises(Disagreement, match=r"swinkit/float8: relative error 3\.0e-01, allowed 2e-01"):
        compare(TOY, ["swinkit/float8"], rounds=1)


def test_an_engine_that_fails_is_named_with_its_error(monkeypatch):
    def fail(model, images, workload):
        def call():
            raise RuntimeError("no such\n operator")

        return call

    monkeypatch.setitem(INFERENCE, "frozen", fail)
    found = compare(TOY, ["swinkit/frozen"], rounds=1)
    assert found.rows == []
    assert found.missing == {"swinkit/frozen": "RuntimeError: no such operator"}
    assert comparison_columns(found)[3] == "times as fast as the baseline"


def test_an_engine_that_fails_while_it_is_built_is_named(monkeypatch):
    def fail(*_):
        raise OSError("no compiler")

    monkeypatch.setitem(INFERENCE, "frozen", fail)
    monkeypatch.setitem(TRAINING, "compile", lambda model: fail)
    found = compare(TOY, ["swinkit/eager", "swinkit/frozen"], rounds=1)
    assert found.missing == {"swinkit/frozen": "OSError: no compiler"}
    training = dataclasses.replace(TOY, step="training")
    found = compare(training, ["swinkit/eager", "swinkit/compile"], rounds=1)
    assert found.missing == {"swinkit/compile": "OSError: no compiler"}
    assert [row.name for row in found.rows] == ["swinkit/eager"]


def test_a_library_that_computes_something_else_at_a_size_is_named():
    found = compare(dataclasses.replace(TOY, size=(48, 48)), ["torchvision/eager"], rounds=1)
    assert "cannot hold this model" in found.missing["torchvision/eager"]


def test_candidates_by_pattern():
    assert choose(["timm/on*", "swinkit/eager"]) == ["swinkit/eager", "timm/onnxruntime"]
    assert choose(["*"]) == list(CANDIDATES)
    with pytest.raises(InputError, match="no candidate fits 'tim/eager': choose from"):
        choose(["tim/eager"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "swin"}, "unknown model 'swin'"),
        ({"batch": 0}, "must be at least 1; got 0"),
        ({"size": (112, 114)}, "patch of 4x4 pixels; got 112x114"),
        ({"dtype": "int8"}, "dtype must be one of float32, bfloat16, float16; got 'int8'"),
    ],
)
def test_a_workload_is_checked(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(TOY, **change)


def test_weights_and_pictures_depend_on_the_seed_only():
    first, again = TOY.build().state_dict(), TOY.build().state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    other = dataclasses.replace(TOY, seed=1)
    assert not torch.equal(other.pictures(), TOY.pictures())


def made_up(batch, **seconds):
    rows = [
        Row(
            name=name.replace("_", "/"), seconds=values, error=1e-7, speedup=Spread(1, 0.9, 1.1), memory=2**21
        )
        for name, values in seconds.items()
    ]
    workload = dataclasses.replace(TOY, batch=batch)
    return Comparison(
        workload=workload, baseline="timm/eager", rows=rows, missing={"timm/openvino": "absent"}
    )


def test_the_table_shows_medians_speed_ratio_and_memory():
    found = made_up(4, swinkit_eager=[0.1, 0.2, 0.3], timm_eager=[0.2])
    assert comparison_rows(found) == [
        ("swinkit/eager", "200.0 (150.0 to 250.0)", "20.0", "1.00 (0.90 to 1.10)", "2", "1e-07"),
        ("timm/eager", "200.0 (200.0 to 200.0)", "20.0", "1.00 (0.90 to 1.10)", "2", "1e-07"),
        ("timm/openvino", "left out: absent", "-", "-", "-", "-"),
    ]


def test_figures_of_one_setting_and_of_a_sweep(tmp_path):
    one = made_up(1, swinkit_eager=[0.1], timm_eager=[0.2])
    draw_comparisons(tmp_path / "one.png", [one])
    draw_comparisons(tmp_path / "sweep.png", [one, made_up(8, swinkit_eager=[0.5])])
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("one.png", "sweep.png"))
