"""`swinkit quickstart`, shortened to one epoch: what it writes, and that what it tells to try next works."""

import json
import shlex
from pathlib import Path

import pytest

from swinkit.cli.main import main
from swinkit.cli.quickstart import _free, next_commands


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quick") / "run"
    assert main(["quickstart", "--epochs", "1", "--device", "cpu", "--out", str(folder)]) == 0
    return folder


def test_writes_model_and_figures(quick: Path) -> None:
    for name in ("curve.png", "predictions.png", "windows.png"):
        assert (quick / name).read_bytes()[:4] == b"\x89PNG", name
    assert (quick / "model.safetensors").is_file()
    assert json.loads((quick / "report.json").read_text())["epochs"] == 1
    assert len(list((quick / "digits").glob("*.png"))) == 6


def test_the_commands_to_try_next_work(quick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in next_commands(quick):
        program, *words = shlex.split(command)
        assert program == "swinkit"
        assert main(words) == 0, command
        assert capsys.readouterr().out


def test_a_second_run_gets_a_folder_of_its_own(quick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _free(quick) == quick.with_name("run-2")
    assert _free(quick.with_name("new")) == quick.with_name("new")
    assert main(["quickstart", "--epochs", "1", "--out", str(quick)]) == 2
    assert "not empty" in capsys.readouterr().err


def test_bad_device_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["quickstart", "--device", "tpu", "--out", str(tmp_path / "x")]) == 2
    assert "--device must be auto, cpu or cuda" in capsys.readouterr().err
