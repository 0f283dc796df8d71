"""`swinkit info`."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import swinkit
from golden_cases import ROOT
from swinkit.cli.info import main
from swinkit.spec import ClassifierConfig
from swinkit.weights import save

OFFICIAL = ROOT / "golden" / "cls-official" / "weights.safetensors"


def _facts(path: Path, capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, object]:
    assert main([str(path), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_published_file(capsys: pytest.CaptureFixture[str]) -> None:
    facts = _facts(OFFICIAL, capsys)
    state = load_file(OFFICIAL)
    learnt = [value.numel() for key, value in state.items() if "index" not in key and "mask" not in key]
    assert (facts["format"], facts["task"], facts["num_classes"]) == ("official", "classification", 5)
    assert facts["input_size"] == [112, 112]
    assert facts["parameters"] == sum(learnt)
    assert facts["keys"] == facts["keys_used"] == len(state)


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(OFFICIAL)]) == 0
    out = capsys.readouterr().out
    assert "official classification repository" in out
    assert "embed_dim 8, depths (2, 2, 2), window 7x7, 5 classes" in out


def test_our_own_file_with_class_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = swinkit.create_model("swin_tiny_patch4_window7_224", class_names=("ant", "bee"))
    save(model, tmp_path / "m.safetensors")
    facts = _facts(tmp_path / "m.safetensors", capsys)
    assert facts["class_names"] == ["ant", "bee"]
    assert facts["name"] == "swin_tiny_patch4_window7_224"
    assert isinstance(model.spec.config, ClassifierConfig)


def test_a_detector_names_what_is_beside_the_backbone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense = load_file(ROOT / "golden" / "backbone-dense-mmdet3" / "weights.safetensors")
    state = {f"backbone.{key}": value for key, value in dense.items()} | {"neck.w": torch.zeros(1)}
    save_file(state, tmp_path / "detector.safetensors")
    facts = _facts(tmp_path / "detector.safetensors", capsys)
    assert (facts["format"], facts["task"], facts["keys_unused"]) == ("mmdet3", "backbone", ["neck.w"])


def test_a_file_with_a_hole_is_found_wanting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = load_file(OFFICIAL)
    del state["norm.bias"]
    save_file(state, tmp_path / "hole.safetensors")
    facts = _facts(tmp_path / "hole.safetensors", capsys, code=1)
    assert facts["fits"] is False
    assert "norms.2.bias" in str(facts["problem"])
