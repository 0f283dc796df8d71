"""The quick benchmarks run, agree with the published numbers, and notice when they do not."""

import importlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def parameters_and_flops():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("parameters_and_flops")


def test_parameters_and_flops_of_the_paper(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "parameters_and_flops.py"), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DIFFERS" not in done.stdout
    written = json.loads((tmp_path / "parameters_and_flops.json").read_text())
    assert {"device", "versions", "commit", "date"} <= set(written["environment"])
    rows = {row["model"]: row for row in written["results"]}
    assert len(rows) == 13
    assert rows["swin_tiny_patch4_window7_224"]["parameters"] == 28_288_354
    assert rows["swin_base_patch4_window12_384"]["parameters"] == 87_903_584


def test_a_wrong_number_is_noticed(parameters_and_flops):
    counts = {"parameters": 88_000_000, "parameters_formula": 88_000_000}
    right = parameters_and_flops.Row(
        model="swin_base_patch4_window7_224",
        size=224,
        flops=15_440_000_000,
        flops_formula=15_440_000_000,
        official=(88_000_000, 15_450_000_000),
        published=("Table 1", 88, 15.4),
        **counts,
    )
    assert right.problems() == []
    assert replace(right, flops_formula=15_440_000_001).problems() == ["formula"]
    assert replace(right, official=(88_000_001, 15_450_000_000)).problems() == ["official code"]
    assert replace(right, official=(88_000_000, 15_430_000_000)).problems() == ["official code"]
    assert replace(right, published=("Table 1", 88, 15.5)).problems() == ["paper's flops"]
    assert replace(right, published=("Table 1", 87, 15.4)).problems() == ["paper's parameters"]


def test_every_benchmark_explains_itself():
    """`make bench` lists them, and promises that --help works."""
    for path in sorted(BENCHMARKS.glob("*.py")):
        text = path.read_text()
        assert text.startswith('"""'), path.name
        if path.name not in {"common.py", "ahead_of_time.py"}:  # which others share
            assert re.search(rf"python (-m )?benchmarks[./]{path.stem}", text), (
                f"{path.name} lacks its command"
            )


def test_detectors_cost_what_the_paper_says(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "detector_parameters_and_flops.py"), "--out", str(tmp_path)]
    done = subprocess.run([*command, "--only", "swin_tiny"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "detector_parameters_and_flops.json").read_text())["results"]
    parameters = {row["parameters"] for row in rows}
    assert parameters == {47_794_602, 85_629_804, 35_734_356, 44_916_202, 109_741_154}


def test_upernet_s_parameters_and_flops_are_table_3_s():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        module = importlib.import_module("segmentation_parameters_and_flops")
    row = module.measure(*module.PUBLISHED[0])
    assert (row.parameters, row.problems()) == (59_941_862, [])
    assert replace(row, published_parameters=61).problems() == ["parameters"]
    assert replace(row, published_flops=1000).problems() == ["flops"]


def test_the_cost_of_eight_bits_is_measured_against_the_model():
    from swinkit.backbones import SwinConfig
    from swinkit.deploy.packages import missing
    from swinkit.models import create_model

    if missing("onnx") or missing("onnxruntime"):
        pytest.skip("onnx and onnxruntime are not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        int8 = importlib.import_module("int8_accuracy")
    config = SwinConfig(
        img_size=(8, 8),
        patch_size=2,
        embed_dim=8,
        depths=(1,),
        num_heads=(1,),
        window_size=4,
        out_indices=(0,),
    )
    model = create_model(config, num_classes=3).eval()
    images = torch.randn(12, 3, 8, 8)
    truth = model(images).argmax(dim=1)
    row = int8.measure(model, images[:4], images, truth)
    assert row["top1_model"] == row["top1_float32_onnx"] == row["float32_onnx_agrees"] == 1
    assert row["top1_change_int8"] == row["top1_int8_onnx"] - 1 <= 0


def test_the_cost_of_float8_is_measured_against_float32():
    from swinkit.backbones import SwinConfig
    from swinkit.models import create_model

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        float8 = importlib.import_module("float8_accuracy")
    config = SwinConfig(
        img_size=(8, 8),
        patch_size=1,
        embed_dim=16,
        depths=(1, 1, 1),
        num_heads=(1, 1, 1),
        window_size=4,
        out_indices=(2,),
    )
    model = create_model(config, num_classes=3).eval()
    images = torch.randn(12, 3, 8, 8)
    rows = float8.measure("small", model, images, model(images).argmax(dim=1))
    exact, half, last, every = rows[:4]
    assert (exact["largest_error"], exact["top1"], exact["same_class"]) == (0, 1, 1)
    assert 0 < half["error_of_norms"] < last["error_of_norms"] < 0.2
    assert [row["linear_layers_in_float8"] for row in rows] == [0, 0, 10, 14, 10, 14]
    assert every["form"] == "float8, all stages"
    assert all(row["top1"] == row["same_class"] <= 1 for row in rows)
    assert "top1" not in float8.measure("small", model, images)[0]


def test_what_a_run_measured_is_kept_as_it_was(tmp_path):
    run, report = tmp_path / "run", tmp_path / "report"
    for folder, name, facts in (
        (run, "report", {"folder": "/home/me/run", "epochs": 3, "seconds": 60.0}),
        (run, "environment", {"command": "swinkit train /home/me", "cpu": "a chip", "commit": None}),
        (run, "data", {"train": {"masks": 7, "classes": []}, "val": None}),
        (report, "report", {"data": "/home/me/test", "miou": 0.5}),
    ):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(facts))
    words = [sys.executable, str(BENCHMARKS / "record_run.py"), str(run), "--report", str(report)]
    words += ["--name", "roads", "--commit", "abc", "--out", str(tmp_path), "--command", "swinkit train"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "roads.json").read_text()
    assert "/home/me" not in text
    written = json.loads(text)
    assert written["environment"] == {"cpu": "a chip", "commit": "abc"}
    assert written["results"] == {
        "data": {"train": {"masks": 7}},
        "training": {"epochs": 3, "seconds": 60.0},
        "evaluation": {"miou": 0.5},
    }
    (report / "report.json").unlink()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "report.json is missing" in done.stderr
