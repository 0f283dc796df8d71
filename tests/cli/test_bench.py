"""`swinkit bench`: what it says, refuses and writes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from swinkit.bench import libraries
from swinkit.bench.linear import Point
from swinkit.bench.outcome import Disagreement
from swinkit.cli.bench import SUBJECTS, parse_sizes
from swinkit.cli.main import main


def test_help_names_the_subjects(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(subject in text for subject in SUBJECTS)
    assert "swinkit bench --table --rows cpu-inference-fp32" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "swin"], "unknown model 'swin'"),
        (["attention", "--model", "swin"], "unknown model 'swin'"),
        (["table8", "--model", "swin"], "unknown model 'swin'"),
        (["--size", "big"], "--size takes pixels, 224 or HxW such as 800x1216; got 'big'"),
        (["--size", "0"], "--size takes pixels"),
        (["--rounds", "-1"], "numbers from 0 up"),
        (["attention", "--batch", "0"], "--batch takes numbers of pictures, from 1 up"),
        (["--out", f"{__file__}/below"], "cannot be written to, because of"),
        (["--candidates", "tim/*"], "no candidate fits 'tim/*'"),
        (["--baseline", "tim"], "no candidate fits 'tim'"),
        (["--rows", "cpu-memory"], "add --table"),
        (["--table", "--rows", "cpu"], "there is no row 'cpu'"),
        (["linear", "--table"], "--table measures its own rows"),
        (["linear", "--size", "224"], "an exponent needs two sizes"),
        (["linear", "--size", "224x100", "448"], "square pictures"),
        (["linear", "--dtype", "float32", "bfloat16"], "one precision at a time"),
        (["attention", "--step", "training"], "--step means nothing to attention: leave it out"),
        (["attention", "--candidates", "timm/eager"], "--candidates means nothing to attention"),
        (["table5", "--size", "112"], "--size means nothing to table5"),
        (["linear", "--batch", "2"], "--batch means nothing to linear"),
        (["--table", "--batch", "4"], "--batch means nothing to --table, whose rows say what they measure"),
        (["--table", "--no-memory"], "--no-memory means nothing to --table"),
        (["everything"], "everything"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert not shown.out


def test_models_are_compared_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swinkit.bench.memory.peak_memory", lambda name, workload: 3 * 2**20)
    words = "--model toy --size 112 --batch 1 --rounds 2 --device cpu --candidates torchvision/eager"
    words += " swinkit/eager swinkit/reduce-overhead --baseline torchvision/eager"
    assert main(["bench", *words.split(), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "times as fast as torchvision/eager" in out
    assert "left out: CUDA graphs need a GPU" in out
    written = json.loads((tmp_path / "models.json").read_text())
    assert {"device", "threads", "versions", "commit", "date"} <= set(written["environment"])
    (result,) = written["results"]
    assert [found["name"] for found in result["candidates"]] == ["swinkit/eager", "torchvision/eager"]
    assert [len(found["seconds"]) for found in result["candidates"]] == [2, 2]
    assert result["candidates"][0]["peak_bytes"] == 3 * 2**20
    assert result["left_out"] == {"swinkit/reduce-overhead": "CUDA graphs need a GPU"}
    assert (tmp_path / "models.png").is_file()


def test_a_disagreement_is_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Callable[..., object]:
        raise Disagreement("timm/eager differs; nothing was timed.")

    monkeypatch.setitem(libraries.LIBRARIES, "timm", refuse)
    words = ["--model", "toy", "--size", "112", "--batch", "1", "--candidates", "timm/eager"]
    assert main(["bench", *words, "--out", str(tmp_path)]) == 1
    assert "swinkit: timm/eager differs; nothing was timed." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_table_says_what_was_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = ["--table", "--rows", "gpu-training", "gpu-attention-eager", "--device", "cpu"]
    assert main(["bench", *words, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("not measured: needs a GPU") == 2
    rows = json.loads((tmp_path / "table_gpu-training_gpu-attention-eager.json").read_text())["results"]
    assert [(row["row"], row["verdict"]) for row in rows] == [
        ("gpu-attention-eager", "not measured"),
        ("gpu-training", "not measured"),
    ]


def test_growth_is_fitted_and_the_missing_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_up(models: list[str], sizes: list[int], **_: object) -> tuple[list[Point], dict[str, str]]:
        points = [Point(model=models[0], size=size, seconds=[1e-6 * size**2], peak=size**3) for size in sizes]
        return points, {f"{models[1]} at 448": "out of memory"}

    monkeypatch.setattr("swinkit.bench.linear.growth", made_up)
    assert main(["bench", "linear", "--model", "toy", "--size", "224", "448", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "1.000" in out
    assert "1.500" in out
    assert "left out: out of memory" in out
    (found,) = json.loads((tmp_path / "linear.json").read_text())["results"]["models"]
    assert found["exponent_of_time"] == pytest.approx(1)
    assert (tmp_path / "linear.png").is_file()


def test_sizes() -> None:
    assert parse_sizes(("224", "800x1216")) == [(224, 224), (800, 1216)]
