"""`swinkit predict`: table, JSON, CSV, annotated pictures, and damaged files among good ones."""

import csv
import io
import json

import pytest

from swinkit.cli.main import main
from swinkit.data import open_picture


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def model(tmp_path, save_tiny):
    return save_tiny(tmp_path / "model.safetensors", ("ant", "bee", "cat"))


def test_table_is_the_default(capsys, picture_folder, model):
    code, out, _ = run(capsys, "predict", model, picture_folder())
    assert code == 0
    assert out.count(".jpg") == 8
    assert "class" in out


def test_json_and_csv_on_stdout(capsys, picture_folder, model):
    root = picture_folder()
    code, out, _ = run(capsys, "predict", model, root, "--format", "json", "--top-k", 2)
    assert code == 0
    results = json.loads(out)
    assert len(results) == 8
    assert [len(result["predictions"]) for result in results] == [2] * 8
    _, out, _ = run(capsys, "predict", model, root / "red", "--format", "csv", "--top-k", 1)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 4
    assert rows[0]["name"] == results[4]["predictions"][0]["name"]
    assert float(rows[0]["probability"]) == pytest.approx(
        results[4]["predictions"][0]["probability"], abs=1e-5
    )


def test_files_and_folders_for_the_answer(capsys, tmp_path, picture_folder, model):
    root = picture_folder()
    code, out, err = run(capsys, "predict", model, root, "--out", tmp_path / "a" / "answer.csv")
    assert (code, out) == (0, "")
    assert "answer.csv" in err
    assert len((tmp_path / "a" / "answer.csv").read_text().splitlines()) == 1 + 8 * 3
    code, out, _ = run(capsys, "predict", model, root, "--out", tmp_path / "b", "--save-pictures")
    assert code == 0
    assert ".jpg" in out
    assert len(json.loads((tmp_path / "b" / "predictions.json").read_text())) == 8
    drawn = sorted((tmp_path / "b").glob("*.png"))
    assert len(drawn) == 8  # both classes have a 000.jpg
    assert open_picture(drawn[0]).width >= 320


def test_damaged_pictures_are_named_and_left_out(capsys, picture_folder, model):
    root = picture_folder()
    bad = root / "red" / "001.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    code, out, err = run(capsys, "predict", model, root, "--format", "json")
    assert code == 0
    assert len(json.loads(out)) == 7
    assert "left out 1 of 8 pictures" in err
    assert err.count("001.jpg") == 1
    code, out, err = run(capsys, "predict", model, bad)
    assert (code, out) == (2, "")
    assert "001.jpg is truncated" in err
    (root / "blue" / "000.jpg").write_bytes(b"")
    code, _, err = run(capsys, "predict", model, bad, root / "blue" / "000.jpg")
    assert code == 2
    assert "none of the 2 pictures" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere.jpg"], "nowhere.jpg does not exist"),
        (["nothing-*.jpg"], "no picture matches"),
        ([], "nothing to predict"),
        ([".", "--save-pictures"], "needs a folder"),
        ([".", "--out", "x.json", "--format", "csv"], "does not fit"),
    ],
)
def test_bad_words(capsys, model, words, sentence):
    code, out, err = run(capsys, "predict", model, *words)
    assert (code, out) == (2, "")
    assert sentence in err


def test_help_has_two_examples(capsys):
    code, out, _ = run(capsys, "predict", "--help")
    assert code == 0
    assert out.count("swinkit predict ") >= 2
