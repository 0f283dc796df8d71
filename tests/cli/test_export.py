"""`swinkit export`."""

import pytest
import torch

import swinkit
from swinkit.cli.export import main
from swinkit.deploy.export import READERS
from swinkit.deploy.packages import missing

pytestmark = pytest.mark.skipif(
    bool(missing("onnx") or missing("onnxruntime")), reason="onnx and onnxruntime are not installed"
)


def test_a_checkpoint_becomes_a_file_that_computes_the_same(save_tiny, make_picture, tmp_path, capsys):
    checkpoint = save_tiny(tmp_path / "tiny.safetensors", ("cat", "dog"))
    out = tmp_path / "tiny.onnx"
    words = [str(checkpoint), "--to", "onnx", "--out", str(out)]
    assert main([*words, "--picture", str(make_picture())]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{out} (onnx, ")
    assert "differs from the model by" in captured.err
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = swinkit.load(checkpoint)(images)
    torch.testing.assert_close(READERS["onnx"](out)(images)[0], expected, rtol=1e-4, atol=1e-5)


def test_the_backbone_in_any_size_checked_on_a_digit(save_tiny, tmp_path, capsys):
    checkpoint = save_tiny(tmp_path / "tiny.safetensors", ("cat", "dog"))
    out = tmp_path / "tiny.onnx"
    assert main([str(checkpoint), "--to", "onnx", "--out", str(out), "--dynamic", "--backbone"]) == 0
    assert READERS["onnx"](out)(torch.randn(1, 3, 40, 64))[0].shape == (1, 16, 5, 8)
    assert "1x3x32x32, 3x3x32x32, 1x3x45x16" in capsys.readouterr().err


def test_eight_bits(save_tiny, picture_folder, tmp_path):
    checkpoint = save_tiny(tmp_path / "tiny.safetensors", ("cat", "dog"))
    out = tmp_path / "tiny.onnx"
    words = [
        str(checkpoint),
        "--to",
        "onnx",
        "--out",
        str(out),
        "--int8",
        "--calibrate",
        str(picture_folder()),
    ]
    assert main(words) == 0
    assert out.stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--int8"], "--int8 and --calibrate FOLDER go together"),
        (["--size", "0", "32"], "--size is a height and a width"),
        (["--to", "torch", "--dynamic"], "a file for torch ends in .pt2"),
    ],
)
def test_rejects(words, message, save_tiny, tmp_path):
    checkpoint = save_tiny(tmp_path / "tiny.safetensors", ("cat", "dog"))
    with pytest.raises(swinkit.InputError, match=message):
        main([str(checkpoint), "--to", "onnx", "--out", str(tmp_path / "x.onnx"), *words])
