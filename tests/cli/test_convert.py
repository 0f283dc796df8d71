"""`swinkit convert`."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import swinkit
from golden_cases import ROOT
from swinkit.classification import Classifier
from swinkit.cli.convert import ConvertArgs, main
from swinkit.weights import FORMATS, detect_format, load, read_state_dict

OFFICIAL = ROOT / "golden" / "cls-official" / "weights.safetensors"


def _load(path: Path) -> Classifier:
    model = load(path)
    assert isinstance(model, Classifier)
    return model


@pytest.mark.parametrize(
    ("fmt", "suffix"),
    [
        ("swinkit", "safetensors"),
        ("timm", "safetensors"),
        ("timm", "pth"),
        ("torchvision", "pth"),
        ("huggingface", "safetensors"),
        ("official", "pth"),
    ],
)
def test_every_format_computes_the_same(
    fmt: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"out_112.{suffix}"
    assert main([str(OFFICIAL), "--out", str(out), "--format", fmt]) == 0
    assert fmt in capsys.readouterr().out
    assert detect_format(read_state_dict(out)[0]) == fmt
    image = torch.randn(1, 3, 112, 112)
    with torch.no_grad():
        assert torch.allclose(_load(out)(image), _load(OFFICIAL)(image), atol=1e-6)


def test_official_there_and_back_is_identical(tmp_path: Path) -> None:
    main([str(OFFICIAL), "--out", str(tmp_path / "own.safetensors")])
    main([str(tmp_path / "own.safetensors"), "--out", str(tmp_path / "back.pth"), "--format", "official"])
    back, before = read_state_dict(tmp_path / "back.pth")[0], load_file(OFFICIAL)
    assert back.keys() == before.keys()
    assert all(torch.equal(back[key], value) for key, value in before.items())


def test_our_format_is_a_safetensors_file(tmp_path: Path) -> None:
    with pytest.raises(swinkit.InputError, match=r"ends in \.safetensors"):
        main([str(OFFICIAL), "--out", str(tmp_path / "own.pth")])


def test_a_format_that_cannot_hold_the_model(tmp_path: Path) -> None:
    mixer = ROOT / "golden" / "swin-mixer-official" / "weights.safetensors"
    with pytest.raises(swinkit.InputError, match="no place for stages"):
        main([str(mixer), "--out", str(tmp_path / "x.pth"), "--format", "timm"])


def test_the_option_offers_every_format() -> None:
    assert set(ConvertArgs.__annotations__["format"].__args__) == FORMATS.keys()
