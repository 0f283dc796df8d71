"""docs/deploy.md: the lines for somebody without swinkit run, and answer as the model does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import swinkit
from swinkit.data import eval_transform, open_picture
from swinkit.deploy import export
from swinkit.deploy.measure import relative_error
from swinkit.deploy.packages import missing

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deploy.md"


@pytest.mark.skipif(bool(missing("onnx") or missing("onnxruntime")), reason="onnxruntime is not installed")
def test_an_exported_file_is_used_as_the_page_says(classifier, make_picture, tmp_path):
    lines = PAGE.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if "import json, numpy" in line)
    stop = next(number for number in range(start, len(lines)) if not lines[number].startswith("    "))
    code = "\n".join(line[4:] for line in lines[start:stop])
    size = classifier.spec.preprocess.size
    export(classifier, tmp_path / "flowers.onnx", to="onnx", size=size)
    Image.open(make_picture(size=(300, 280))).save(tmp_path / "one.jpg")
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(json.dumps(logits[0].tolist()))"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer, logits = done.stdout.splitlines()
    picture = open_picture(tmp_path / "one.jpg")
    assert answer == swinkit.Predictor(classifier)(picture).name
    with torch.no_grad():
        expected = classifier(eval_transform(classifier.spec.preprocess)(picture)[None])
    assert relative_error([torch.tensor([json.loads(logits)])], [expected]) < 1e-3
