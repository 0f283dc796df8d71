"""ATSS and RepPoints v2 from the command line: trained, described, scored, used, converted."""

import csv
import json
from pathlib import Path

import pytest

from swinkit.cli.main import main
from swinkit.detection.atss import AtssDetector
from swinkit.detection.reppoints_v2 import RepPointsV2Detector
from swinkit.weights import load

KINDS = {"atss": AtssDetector, "reppoints_v2": RepPointsV2Detector}
SMALL = "--model.embed-dim 8 --model.depths 1 1 1 1 --model.num-heads 1 1 2 2 --model.channels 32"
QUICK = "--model.short-side 64 --augment.short-sides 64 --augment.crop-probability 0 --trainer.max-steps 1"
PLAIN = "--pretrained False --model custom --device cpu --data.workers 0 --select.score 0"


def words(data: Path, out: Path, head: str) -> list[str]:
    return f"train detect --data {data} --out {out} --model.head {head} {SMALL} {QUICK} {PLAIN}".split()


@pytest.mark.parametrize("head", KINDS)
def test_every_command_takes_a_dense_detector(head: str, object_folder, tmp_path: Path, capsys) -> None:
    """The data have outlines; these detectors learn the boxes and leave the outlines."""
    data, run, out = object_folder(4), tmp_path / "run", tmp_path / "out"
    assert main(words(data, run, head)) == 0
    assert isinstance(load(run), KINDS[head])
    report = json.loads((run / "report.json").read_text())
    assert "box_ap" in report
    assert "mask_ap" not in report
    capsys.readouterr()
    assert main(["info", str(run), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["task"], facts["class_names"], facts["fits"]) == ("detection", ["square", "disk"], True)
    assert main(["eval", str(run), "--split", "val", "--out", str(tmp_path / "report")]) == 0
    assert json.loads((tmp_path / "report" / "report.json").read_text())["boxes"]["pictures"] == 4
    photos = str(data / "val")
    assert main(["predict", str(run), photos, "--out", str(out), "--save-pictures", "--score", "0"]) == 0
    assert len(list((out / "pictures").glob("*.png"))) == 4
    capsys.readouterr()
    seen = ["--format", "csv", "--only", "disk", "--score", "0", "--flip", "--scales", "1", "1.5"]
    assert main(["predict", str(run), f"{photos}/0.png", *seen]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert {row["name"] for row in rows} <= {"disk"}
    theirs = tmp_path / "theirs.pth"
    assert main(["convert", str(run), "--out", str(theirs), "--format", f"official_{head}"]) == 0
    capsys.readouterr()
    assert main(["info", str(theirs), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["format"], facts["fits"]) == (f"official_{head}", True)


def test_outlines_cannot_be_asked_for(object_folder, tmp_path: Path, capsys) -> None:
    command = [*words(object_folder(4), tmp_path / "run", "atss"), "--model.masks", "True"]
    assert main(command) == 2
    assert "atss finds boxes only: leave --model.masks out" in " ".join(capsys.readouterr().err.split())
    assert main([*words(tmp_path / "shapes", tmp_path / "run", "atss"), "--model.channels", "48"]) == 2
    assert "multiple of the 32 groups" in " ".join(capsys.readouterr().err.split())
