"""The comparison of all detectors: same budget, resumable, and the numbers are those of the run folders."""

import dataclasses
import importlib
import json
import os
from pathlib import Path

import pytest
from PIL import Image

import swinkit.train
from swinkit import create_detector, weights
from swinkit.backbones import SwinConfig
from swinkit.cli.main import main
from swinkit.errors import InputError
from swinkit.recipes.detection import bccd
from swinkit.train.detection_config import DetectConfig

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def compared():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("detectors_compared")


@pytest.fixture
def job(compared, monkeypatch):
    """The configuration that a detector's command line makes."""

    def make(head: str, epochs: int, folder: Path) -> DetectConfig:
        made: list[DetectConfig] = []

        def stop(config: DetectConfig, *, resume: bool) -> None:
            made.append(config)
            raise InputError("enough")

        with monkeypatch.context() as patch:
            patch.setattr(swinkit.train, "train", stop)
            assert main(compared.train_words(head, epochs, folder / "data", folder)) == 2
        return made[0]

    return make


@pytest.fixture
def finished(compared, job, tmp_path):
    """Write a run folder as training and evaluation leave it, with a tiny ATSS."""
    folder = tmp_path / "atss"
    (folder / "report").mkdir(parents=True)
    config = job("atss", 2, folder)
    (folder / "config.json").write_text(config.to_json())
    report = {"epochs": 2, "steps": 4, "best_epoch": 2, "seconds": 90.0, "device": "cpu", "precision": "fp32"}
    (folder / "report.json").write_text(json.dumps({**report, "folder": "/home/me"}))
    environment = {"command": "swinkit train /home/me", "cpu": "a chip", "commit": "abc"}
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "log.txt").write_text("2026-01-01 10:00:00 run: 2 epochs of 2 steps\n")
    (folder / "metrics.csv").write_text(METRICS)
    weights.save(tiny("atss"), folder / "model.safetensors")
    boxes = {"pictures": 3, "AP": 0.5, "AP50": 0.75, "AP75": None}
    per_class = [{"name": "RBC", "objects": 7, "ap": 0.25, "ap50": 0.5, "ap75": None, "recall": 1.0}]
    boxes["per_class"] = per_class
    (folder / "report" / "report.json").write_text(json.dumps({"boxes": boxes, "masks": None}))
    return folder


METRICS = """step,epoch,lr,loss,grad_norm,images_per_second,val_loss,val_box_ap,val_box_ap50
1,0.5,1e-4,3,1,2,,,
2,1,1e-4,2,1,4,,,
2,1,,,,,,,
3,1.5,1e-4,2,1,1,,,
4,2,1e-4,1,1,2,,,
4,2,,,,,,0.25,0.5
"""


def tiny(head: str):
    config = SwinConfig(
        img_size=(64, 64),
        embed_dim=8,
        depths=(1, 1, 1, 1),
        num_heads=(1, 1, 1, 1),
        window_size=4,
        window_policy="pad",
        out_indices=(0, 1, 2, 3),
    )
    names = ("RBC", "WBC", "Platelets")
    return create_detector(
        config,
        head=head,
        class_names=names,
        neck_channels=64,
        short_side=64,
        long_side=96,
        attention_impl="reference",
    )


def test_all_runs_are_alike_but_for_what_is_said(compared, job, tmp_path: Path) -> None:
    base = bccd()
    for head, entry in compared.DETECTORS.items():
        config = job(head, 5, tmp_path)
        assert (config.model.head, config.schedule.epochs) == (head, 5)
        assert compared.state_of(tmp_path / "none", compared.wanted(head, 5)) == "new"
        own = {name.split(".")[1] for name in entry.options} | {"head"}
        for item in dataclasses.fields(base.model):
            same = getattr(config.model, item.name) == getattr(base.model, item.name)
            assert same or item.name in own, item.name
        assert (config.augment, config.optimizer, config.data.batch_size) == (base.augment, base.optimizer, 4)
        assert dataclasses.replace(config.schedule, epochs=18) == base.schedule
        assert entry.why


def test_a_run_is_begun_gone_on_with_or_left_alone(compared, finished: Path, monkeypatch) -> None:
    said: list[list[str]] = []
    monkeypatch.setattr(compared, "swinkit", lambda words: said.append(words) or 0)
    data = Path("bccd")
    assert compared.train("atss", 2, data, finished) == 0
    assert said == []
    with pytest.raises(InputError, match=r"schedule.epochs 2, and 3 is asked for"):
        compared.train("atss", 3, data, finished)
    with pytest.raises(InputError, match=r"model.head atss, and sparse_rcnn is asked for"):
        compared.train("sparse_rcnn", 2, data, finished)
    (finished / "checkpoints").mkdir()
    (finished / "checkpoints" / "last.ckpt").touch()
    (finished / "report.json").write_text('{"epochs": 1}')
    assert compared.train("atss", 2, data, finished) == 0
    assert said.pop() == ["train", "--resume", str(finished)]
    (finished / "report.json").unlink()
    (finished / "checkpoints" / "last.ckpt").unlink()
    assert compared.train("atss", 2, data, finished) == 0
    assert said.pop() == compared.train_words("atss", 2, data, finished)
    assert not finished.exists()  # nothing but what was written before the first step
    finished.mkdir()
    (finished / "diary.txt").touch()
    with pytest.raises(InputError, match="is not a run folder"):
        compared.train("atss", 2, data, finished)


def test_a_newer_model_is_measured_again(compared, finished: Path, monkeypatch) -> None:
    said: list[list[str]] = []
    monkeypatch.setattr(compared, "swinkit", lambda words: said.append(words) or 3)
    report, model = finished / "report" / "report.json", finished / "model.safetensors"
    assert compared.evaluate(Path("bccd"), finished) == 0
    report.touch()
    before = report.stat().st_mtime
    os.utime(model, (before + 5, before + 5))
    assert compared.evaluate(Path("bccd"), finished) == 3
    assert said == [compared.eval_words(Path("bccd"), finished)]


def test_what_was_measured_is_what_stands_in_table_and_figure(compared, finished: Path) -> None:
    picture = Image.new("RGB", (96, 64), "red")
    row = compared.record("atss", 2, finished, [picture])
    assert "/home/me" not in json.dumps(row)
    assert row["commands"][0].startswith("swinkit train bccd --data bccd --out runs/detectors_compared/atss ")
    assert row["training_seconds"] == 2 + 1 + 4 + 2
    assert row["seconds_a_step"] == 2
    assert (row["loss_first"], row["loss_last"]) == (2, 2)
    assert row["validation"] == [{"epoch": 2.0, "training_seconds": 9.0, "AP": 0.25, "AP50": 0.5}]
    assert (row["wall_seconds"], row["sessions"]) == (90, 1)
    assert row["parameters"] == sum(p.numel() for p in tiny("atss").parameters())
    with (finished / "log.txt").open("a") as log:
        log.write("2026-01-01 11:00:00 run: 2 epochs of 2 steps\n")
    assert compared.record("atss", 2, finished, [picture])["wall_seconds"] is None
    results = {"epochs": 2, "detectors": {"atss": row}, "inference": {}}
    last = compared.table(results).splitlines()[-1]
    assert last.startswith("| ATSS | 50.0 | 75.0 | - | 25.0 | 9 s | 2.00 | ")
    assert last.endswith("| not measured | not measured |")
    turn = {"seconds": 0.1234, "ratio": 0.5}
    results["inference"] = {"detectors": {"atss": turn}}
    assert compared.table(results).endswith("| 123 | 0.50 |")
    compared.draw(finished / "new" / "figure.png", results)
    with Image.open(finished / "new" / "figure.png") as drawn:
        assert drawn.width > 1000


@pytest.mark.parametrize("head", ["atss", "reppoints_v2"])
def test_flops_as_run_are_those_of_the_other_script(compared, head: str, monkeypatch) -> None:
    """Of a detector without proposals both are the same, deformable convolutions included."""
    model = tiny(head).eval()
    counted = compared.count_flops(model, [Image.new("RGB", (96, 64)), Image.new("RGB", (96, 64))])
    other = importlib.import_module("detector_parameters_and_flops")
    monkeypatch.setattr(other, "SIZE", (64, 96))
    assert counted == other.count_flops(model.to("meta"))


def test_pictures_are_shown_in_turns(compared, monkeypatch) -> None:
    clock = [0.0]
    shown: list[str] = []

    def look(name: str, seconds: float):
        def see(picture: int) -> None:
            shown.append(f"{name}{picture}")
            clock[0] += seconds

        return see

    monkeypatch.setattr(compared.time, "perf_counter", lambda: clock[0])
    found = compared.in_turns({"a": look("a", 2.0), "b": look("b", 1.0)}, [0, 1, 2])
    assert shown == ["a0", "b0", "a0", "b0", "b1", "a1", "a2", "b2"]
    assert found["detectors"]["b"]["seconds"] == 1
    assert (found["detectors"]["b"]["ratio"], found["detectors"]["b"]["against"]) == (0.5, "a")


def test_results_of_another_budget_are_not_kept(compared, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert compared.earlier(path, 4)["detectors"] == {}
    written = {"epochs": 4, "detectors": {"sparse_rcnn": 1, "atss": 2}, "inference": {}}
    path.write_text(json.dumps({"results": written}))
    assert compared.earlier(path, 4) == written
    assert list(compared.in_order(written["detectors"])) == ["atss", "sparse_rcnn"]
    assert compared.earlier(path, 5)["detectors"] == {}


def test_nothing_to_draw_is_said(compared, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["detectors_compared.py", "--figure", "--out", str(tmp_path)])
    assert compared.main() == 2
    assert "run without --figure first" in capsys.readouterr().err
