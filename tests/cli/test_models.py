"""`swinkit models`."""

import json
from pathlib import Path

import pytest

import swinkit
from swinkit.cli.models import main
from swinkit.weights.catalog import CATALOG


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWINKIT_CACHE", str(tmp_path))


def test_table_shows_size_cost_and_score(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--filter", "swin_tiny_patch4_window7_224.ms_in1k"]) == 0
    out = capsys.readouterr().out
    for cell in ("28.3M", "4.5G", "224x224", "81.2", "official, timm", "no"):
        assert cell in out


def test_json_lists_every_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(CATALOG)
    large = next(row for row in rows if row["name"] == "swin_large_patch4_window12_384.ms_in22k_ft_in1k")
    assert large["parameters"] == 196_735_516
    assert large["top1"] == 87.3
    assert large["default_for"] == "swin_large_patch4_window12_384"


def test_a_cached_file_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "swin_t-704ceda3.pth").touch()
    main(["--filter", "*tv_in1k", "--json"])
    cached = {row["name"]: row["cached"] for row in json.loads(capsys.readouterr().out)}
    assert cached["swin_tiny_patch4_window7_224.tv_in1k"] == str(tmp_path / "swin_t-704ceda3.pth")
    assert cached["swin_small_patch4_window7_224.tv_in1k"] is None


def test_nothing_fits() -> None:
    with pytest.raises(swinkit.InputError, match="no published checkpoint fits 'resnet"):
        main(["--filter", "resnet*"])
