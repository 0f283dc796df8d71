"""`swinkit eval`: the table, the files, the data of a run folder, and classes that do not fit."""

import json
from pathlib import Path

import pytest

from swinkit.cli.main import main
from swinkit.data import DataConfig, open_dataset, open_picture


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def model(tmp_path, save_tiny):
    return save_tiny(tmp_path / "model.safetensors", ("blue", "red"))


def test_table_and_files(capsys, tmp_path, picture_folder, model):
    root = picture_folder()
    code, out, _ = run(capsys, "eval", model, "--data", root, "--out", tmp_path / "out", "--workers", 0)
    assert code == 0
    assert "top-1 %" in out
    assert "blue" in out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["count"] == 8
    assert report["split"] == "all"
    assert f"{100 * report['top1']:.2f}" in out
    assert sum(map(sum, report["confusion"])) == 8
    for name in ("confusion.png", "worst.png"):
        assert open_picture(tmp_path / "out" / name).width > 100


def test_class_order_goes_by_name(capsys, tmp_path, picture_folder, save_tiny):
    """The same weights with their classes the other way round are right where they were wrong."""
    root = picture_folder()
    for number in range(3):  # an odd number is left
        (root / "red" / f"00{number}.jpg").unlink()
    scores = []
    for number, names in enumerate((("blue", "red"), ("red", "blue"))):
        model = save_tiny(tmp_path / f"{number}.safetensors", names)
        assert (
            run(capsys, "eval", model, "--data", root, "--out", tmp_path / str(number), "--workers", 0)[0]
            == 0
        )
        scores.append(json.loads((tmp_path / str(number) / "report.json").read_text())["top1"])
    assert scores[0] + scores[1] == pytest.approx(1)
    assert scores[0] != scores[1]


def test_wrong_classes_are_bad_input(capsys, tmp_path, picture_folder, model, save_tiny):
    root = picture_folder(("blue", "green", "red"), root="three")
    code, out, err = run(capsys, "eval", model, "--data", root, "--workers", 0)
    assert (code, out) == (2, "")
    assert "3 classes and the model 2" in err
    assert "'green'" in err
    nameless = save_tiny(tmp_path / "nameless.safetensors", (), num_classes=2)
    code, _, err = run(capsys, "eval", nameless, "--data", root, "--workers", 0)
    assert code == 2
    assert "3 classes and the model 2" in err


def test_the_split_is_test_then_val(capsys, tmp_path, picture_folder, model):
    picture_folder(root="d/train", count=2)
    root = picture_folder(root="d/val", count=3).parent
    assert " val " in run(capsys, "eval", model, "--data", root, "--workers", 0)[1]
    picture_folder(root="d/test", count=1)
    assert " test " in run(capsys, "eval", model, "--data", root, "--workers", 0)[1]
    assert " train " in run(capsys, "eval", model, "--data", root, "--split", "train", "--workers", 0)[1]


def test_a_run_folder_knows_its_data(capsys, tmp_path, picture_folder, save_tiny):
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    save_tiny(run_folder / "model.safetensors", ("blue", "red"))
    data = {"kind": "auto", "path": str(picture_folder(count=10)), "val_fraction": 0.2, "workers": 0}
    (run_folder / "config.json").write_text(json.dumps({"data": data}))
    code, _, _ = run(capsys, "eval", run_folder, "--out", tmp_path / "out", "--workers", 0)
    assert code == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["split"], report["count"]) == ("val", 4)


def test_data_of_the_training_is_measured_where_held_out(capsys, tmp_path, picture_folder, save_tiny):
    run_folder, root = tmp_path / "run", picture_folder(count=10)
    run_folder.mkdir()
    save_tiny(run_folder / "model.safetensors", ("blue", "red"))

    def measure(data, path, **settings):
        written = {"kind": "auto", "path": str(path), "workers": 0, **settings}
        (run_folder / "config.json").write_text(json.dumps({"data": written}))
        words = ("eval", run_folder, "--data", data, "--out", tmp_path / "out", "--workers", 0, "--worst", 20)
        code, out, err = run(capsys, *words)
        assert code == 0
        return json.loads((tmp_path / "out" / "report.json").read_text()), out, err

    report, out, err = measure(root / ".." / root.name, root, val_fraction=0.3, split_seed=5)
    assert (report["split"], report["count"]) == ("val", 6)
    assert "val (held out)" in out
    assert "was trained on" in err
    held = set(open_dataset(DataConfig(path=root, val_fraction=0.3, split_seed=5), "val").paths)
    assert report["worst"]
    assert {Path(case["path"]).resolve() for case in report["worst"]} <= {path.resolve() for path in held}

    report, _, err = measure(root, root, val_fraction=0.0)
    assert (report["split"], report["count"]) == ("all", 20)
    assert "what it learned from" in err
    report, out, err = measure(picture_folder(root="others", count=3), root, val_fraction=0.3)
    assert (report["split"], report["count"]) == ("all", 6)
    assert "trained on" not in err


def test_top_5_of_a_few_classes_is_left_out(capsys, picture_folder, model, save_tiny, tmp_path):
    out = run(capsys, "eval", model, "--data", picture_folder(), "--workers", 0)[1]
    assert "top-1 %" in out
    assert "top-2 %" not in out
    names = ("a", "b", "c", "d", "e", "f")
    model = save_tiny(tmp_path / "six.safetensors", names)
    out = run(capsys, "eval", model, "--data", picture_folder(names, root="six"), "--workers", 0)[1]
    assert "top-5 %" in out


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: None, "does not exist"),
        (lambda root: root.mkdir(), "is empty"),
        (lambda root: (root / "blue").mkdir(parents=True), "no pictures in class 'blue'"),
    ],
)
def test_bad_folders(capsys, tmp_path, model, make, sentence):
    make(tmp_path / "data")
    code, out, err = run(capsys, "eval", model, "--data", tmp_path / "data")
    assert (code, out) == (2, "")
    assert sentence in err.replace("\n", " ")
    assert "Traceback" not in err


def test_no_data_at_all(capsys, model):
    code, _, err = run(capsys, "eval", model)
    assert code == 2
    assert "add --data FOLDER" in err


def test_truncated_picture(capsys, picture_folder, model):
    root = picture_folder()
    bad = root / "red" / "001.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    code, _, err = run(capsys, "eval", model, "--data", root, "--workers", 0)
    assert code == 2
    assert "001.jpg" in err
    code, out, _ = run(capsys, "eval", model, "--data", root, "--workers", 0, "--skip-bad-pictures")
    assert code == 0
    assert " 7 " in out


def test_help_has_two_examples(capsys):
    code, out, _ = run(capsys, "eval", "--help")
    assert code == 0
    assert out.count("swinkit eval ") >= 2
