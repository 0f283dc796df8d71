"""`swinkit train`: names, aliases, suggestions, resuming."""

import json
from pathlib import Path
from typing import Any

import pytest

from swinkit.cli.main import main
from swinkit.weights.download import DownloadError

SETTINGS = """
--model custom --model.img-size 8 8 --model.patch-size 1 --model.embed-dim 8 --model.depths 1 1
--model.num-heads 1 2 --data.batch-size 128 --trainer.device cpu --schedule.epochs 1
--schedule.warmup-epochs 0
"""
SMALL = SETTINGS.split()


def test_recipe_with_overrides_runs_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["train", "digits", *SMALL, "--out", str(out), "--optimizer.lr=0.003"]) == 0
    printed = capsys.readouterr()
    assert "top-1" in printed.out
    assert "top-5" in printed.out
    assert str(out / "model.safetensors") in printed.out.replace("\n", "")
    config = json.loads((out / "config.json").read_text())
    assert config["optimizer"]["lr"] == 0.003
    assert config["model"]["depths"] == [1, 1]
    assert config["data"]["kind"] == "digits"

    assert main(["train", "--resume", str(out), "--schedule.epochs", "2"]) == 0
    assert json.loads((out / "report.json").read_text())["epochs"] == 2


def test_aliases_reach_their_settings(
    picture_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = picture_folder(count=8), tmp_path / "run"
    words = [
        *SMALL,
        "--data",
        str(folder),
        "--pretrained",
        "False",
        "--data.batch-size",
        "8",
        "--data.workers",
        "0",
    ]
    assert main(["train", "finetune", *words, f"--out={out}"]) == 0
    printed = capsys.readouterr()
    assert "top-1" in printed.out
    assert "top-5" not in printed.out + printed.err, "of two classes"
    config = json.loads((out / "config.json").read_text())
    assert config["data"]["path"] == str(folder)
    assert config["model"]["pretrained"] is False
    assert config["model"]["name"] == "custom"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["digitz"], "did you mean digits"),
        (["swin_tiny_imagenet_1k"], "did you mean swin_tiny_imagenet1k"),
        (["--data", "x"], "name a recipe first"),
        (["--resume"], "--resume needs the run folder"),
        (["--resume", "nowhere"], "nowhere is not a run folder"),
        (["finetune", "--data", "nowhere"], "nowhere"),
        (["digits", "--optimizer.lr", "-1"], "optimizer.lr must be above 0"),
        (["finetune", "--data", "nowhere", "--schedule.epochs", "2"], "add --schedule.warmup-epochs 0.5"),
    ],
)
def test_bad_words_are_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err


def test_without_network_training_may_start_from_scratch(
    picture_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise DownloadError("could not download it: go online.")

    monkeypatch.setattr("swinkit.train.build.create_model", offline)
    words = ["--data", str(picture_folder(count=4)), "--out", str(tmp_path / "run")]
    assert main(["train", "finetune", *words]) == 2
    said = "could not download it: go online, or train from scratch with --pretrained False."
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_unknown_setting_suggests_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits", "--optimizer.learning-rate", "1"]) == 2
    printed = capsys.readouterr()
    assert "--optimizer." in printed.out + printed.err


def test_list_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    from swinkit.recipes import RECIPES

    assert main(["train", "--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in RECIPES)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    general = capsys.readouterr().out
    assert general.count("swinkit train ") >= 3
    assert main(["train", "digits", "--help"]) == 0
    own = capsys.readouterr().out
    assert "--schedule.warmup-epochs" in own
    assert "Handwritten digits" in own
    assert all(f"{name} for" in " ".join(own.split()) for name in ("--data", "--model", "--pretrained"))
