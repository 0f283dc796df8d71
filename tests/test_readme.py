"""README.md: its Python runs, its commands exist and parse, its pictures and links are there."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from swinkit.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()

CHEAP = (
    "swinkit --help",
    "swinkit doctor",
    "swinkit models",
    "swinkit train --help",
    "swinkit predict --help",
)
"""Commands that run here in full; the others are parsed."""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def commands():
    """Every `swinkit ...` of the shell blocks and of the tables, without its remark."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    lines += re.findall(r"`(swinkit [a-z][^`]*)`", TEXT)
    found = [re.split(r"\s+#", line)[0].strip() for line in lines if line.startswith("swinkit ")]
    return sorted({line for line in found if "COMMAND" not in line})


class ParsedError(BaseException):
    """The words fitted the command; nothing else was done. No Exception: no command swallows it."""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with what the examples expect: pictures, and a small trained-looking run."""
    import swinkit
    from swinkit.weights import save

    monkeypatch.chdir(tmp_path)
    for folder, name in (("photos", "one"), ("flowers/rose", "a"), ("flowers/tulip", "b")):
        (tmp_path / folder).mkdir(parents=True)
        noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / folder / f"{name}.jpg")
    model = swinkit.create_model("swin_tiny_patch4_window7_224", num_classes=2, class_names=("rose", "tulip"))
    (tmp_path / "runs" / "flowers").mkdir(parents=True)
    save(model, tmp_path / "runs" / "flowers" / "model.safetensors")
    return tmp_path


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_runs(number, workplace):
    exec(compile(blocks("python")[number], f"README.md block {number + 1}", "exec"), {"__name__": "readme"})


def test_there_are_blocks_to_run():
    assert len(blocks("python")) >= 4
    assert len(blocks("sh")) >= 4
    assert len(commands()) >= 10


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line, monkeypatch, capsys):
    parse = tyro.cli

    def parse_and_stop(*args, **kwargs):
        parse(*args, **kwargs)
        raise ParsedError

    monkeypatch.setattr(tyro, "cli", parse_and_stop)
    words = shlex.split(line)[1:]
    if words[0].startswith("-") or "--help" in words:
        assert main(words) == 0
        return
    if "--resume" in words:  # reads the run folder before the other words
        assert main(words) == 2
        assert "is not a run folder" in capsys.readouterr().err
        return
    with pytest.raises(ParsedError):
        pytest.fail(f"exit code {main(words)}: {capsys.readouterr().err}")


@pytest.mark.parametrize("line", CHEAP)
def test_cheap_commands_run(line, capsys):
    assert line in commands()
    assert main(shlex.split(line)[1:]) == 0
    assert capsys.readouterr().out


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md"):
        used = set(
            re.findall(r"^\s*make ([a-z]+)|`make ([a-z]+)`", (ROOT / name).read_text(), flags=re.MULTILINE)
        )
        assert {one or other for one, other in used} <= targets


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CONVENTIONS.md", "ARCHITECTURE.md"])
def test_links_and_pictures_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text()):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_named_scripts_exist():
    for script in re.findall(r"python (benchmarks/\w+\.py)", TEXT):
        assert (ROOT / script).is_file(), script
