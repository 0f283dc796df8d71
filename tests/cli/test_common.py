"""Shared parts of the commands: parsing, devices, tables."""

import random
from dataclasses import dataclass

import numpy
import pytest
import torch
import tyro

from swinkit.cli.common import CommonArgs, parse, pick_device, print_table, progress, seed_everything, stderr
from swinkit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TrialArgs(CommonArgs):
    """Arguments of a command that only this test has.

    Attributes:
        source: a file.
        top_k: how many.
    """

    source: tyro.conf.Positional[str]
    top_k: int = 5


def parse_trial(*words, default=None):
    examples = ["swinkit trial a.jpg", "swinkit trial b.jpg --top-k 1"]
    return parse(
        TrialArgs, words, prog="swinkit trial", description="Try it.", examples=examples, default=default
    )


def test_parses_own_and_common_options():
    args = parse_trial("a.jpg", "--top-k", "2", "-v", "--device", "cpu", "--seed", "7")
    assert args == TrialArgs(source="a.jpg", top_k=2, verbose=True, device="cpu", seed=7)


def test_starts_from_a_default():
    assert parse_trial("--seed", "1", default=TrialArgs(source="b", top_k=9)) == TrialArgs(
        source="b", top_k=9, seed=1
    )


def test_help_shows_both_examples_and_field_docs(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_trial("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "examples:\n  swinkit trial a.jpg\n  swinkit trial b.jpg --top-k 1\n" in text
    assert "how many." in text


def test_a_wrong_option_suggests_the_right_one_in_one_line(capsys):
    with pytest.raises(InputError, match=r"^Unrecognized options: --top-kk, 3\. .*--top-k INT") as caught:
        parse_trial("a.jpg", "--top-kk", "3")
    assert "\n" not in str(caught.value)
    assert "│" not in str(caught.value)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_cpu_and_auto_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type in {"cpu", "cuda"}


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:", "cpu:0", "cuda:-1", ""])
def test_refuses_a_device_that_does_not_exist(name):
    with pytest.raises(InputError, match="auto, cpu, cuda or cuda:N; got"):
        pick_device(name)


def test_says_when_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="sees no CUDA GPU"):
        pick_device("cuda")


def test_says_which_gpus_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match=r"2 GPU\(s\), numbered from 0 to 1"):
        pick_device("cuda:2")


def test_tables_go_to_stdout_whole_and_literally(capsys):
    name = "photos/[red]street.jpg " + "x" * 90
    print_table(("file", "score"), [(name, 0.5), (None, "-")], title="scores")
    shown = capsys.readouterr()
    assert name in shown.out
    assert "scores" in shown.out
    assert not shown.err


def test_remarks_keep_a_long_path_whole(capsys):
    line = f"wrote {'deep/' * 60}answer.csv"
    stderr().print(line)
    assert capsys.readouterr().err == f"{line}\n"


def test_progress_goes_to_stderr(capsys):
    with progress() as bar:
        assert list(bar.track(range(3), description="reading")) == [0, 1, 2]
    assert capsys.readouterr().out == ""


def test_seeding_covers_python_numpy_and_torch():
    def draw():
        seed_everything(3)
        return random.random(), numpy.random.rand(), torch.rand(()).item()

    assert draw() == draw()
