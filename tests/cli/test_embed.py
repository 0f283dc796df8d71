"""`swinkit embed`: vectors to Parquet and npz."""

import numpy as np
import pytest

from swinkit import Predictor, load
from swinkit.cli.main import main


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def model(tmp_path, save_tiny):
    return save_tiny(tmp_path / "model.safetensors", ("ant", "bee", "cat"))


def test_npz_and_parquet_hold_the_models_vectors(capsys, tmp_path, picture_folder, model):
    parquet = pytest.importorskip("pyarrow.parquet")
    root = picture_folder()
    for name in ("v.npz", "v.parquet"):
        code, _, err = run(capsys, "embed", model, root, "--out", tmp_path / name, "--batch-size", 3)
        assert code == 0
        assert "wrote 8 vectors of 16 numbers" in err.replace("\n", " ")
    saved = np.load(tmp_path / "v.npz")
    table = parquet.read_table(tmp_path / "v.parquet").to_pydict()
    expected = list(Predictor(load(model)).embed(root))
    assert saved["paths"].tolist() == table["path"] == [str(path) for path, _ in expected]
    np.testing.assert_allclose(saved["vectors"], np.stack([vector for _, vector in expected]), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(table["vector"], dtype=np.float32), saved["vectors"])


def test_damaged_pictures_are_left_out(capsys, tmp_path, picture_folder, model):
    root = picture_folder()
    (root / "red" / "001.jpg").write_bytes(b"")
    code, _, err = run(capsys, "embed", model, root, "--out", tmp_path / "v.npz")
    assert code == 0
    assert "left out 1 of 8" in err
    assert len(np.load(tmp_path / "v.npz")["paths"]) == 7


def test_other_endings_are_refused(capsys, tmp_path, model):
    code, _, err = run(capsys, "embed", model, tmp_path, "--out", tmp_path / "v.txt")
    assert code == 2
    assert ".parquet or .npz" in err


def test_help_has_two_examples(capsys):
    code, out, _ = run(capsys, "embed", "--help")
    assert code == 0
    assert out.count("swinkit embed ") >= 2
