"""Every form a picture may come in gives the same answer; damaged ones are named."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import swinkit
from swinkit import Predictor
from swinkit.backbones import SwinConfig
from swinkit.classification import build_classifier
from swinkit.data import eval_transform, open_picture
from swinkit.deploy.engines import can_run
from swinkit.errors import InputError
from swinkit.spec import ClassifierConfig, ModelSpec, Preprocess


def tiny(num_classes=3, names=("ant", "bee", "cat")) -> Any:
    backbone = SwinConfig(
        img_size=(32, 32), embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4, out_indices=(1,)
    )
    spec = ModelSpec(
        config=ClassifierConfig(backbone=backbone, num_classes=num_classes),
        class_names=names,
        preprocess=Preprocess(size=(32, 32)),
    )
    torch.manual_seed(0)
    model = build_classifier(spec)
    if num_classes:
        torch.nn.init.normal_(model.get_parameter("head.weight"))  # so that pictures differ in their answer
    return model


def test_a_file_gives_what_the_model_gives(make_picture):
    model = tiny()
    path = make_picture(size=(50, 40))
    result = Predictor(model)(path)
    with torch.inference_mode():
        picture = open_picture(path)
        logits = model.eval()(eval_transform(model.spec.preprocess)(picture)[None])
    probabilities = logits.softmax(1)[0]
    assert result.path == path
    assert result.size == (50, 40)
    assert result.top[0].index == int(probabilities.argmax())
    assert result.name == model.spec.class_names[result.top[0].index]
    assert [item.probability for item in result.top] == pytest.approx(sorted(probabilities.tolist())[::-1])
    assert result.to_dict()["predictions"][0]["name"] == result.name


def test_every_form_of_a_picture(make_picture):
    predict = Predictor(tiny(), top_k=1)
    path = make_picture()
    picture = open_picture(path)
    array = np.asarray(picture)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    expected = predict(path)
    for form in (str(path), picture, array, tensor, tensor.float() / 255):
        result = predict(form)
        assert result.top[0].index == expected.top[0].index
        assert result.probability == pytest.approx(expected.probability, abs=1e-6)
        assert result.size == expected.size
    grey = array[:, :, 0]
    assert predict(grey).probability == predict(np.stack([grey] * 3, axis=2)).probability
    assert predict(torch.from_numpy(grey.copy())[None]).probability == predict(grey).probability
    assert predict(Image.fromarray(grey.astype(np.uint16) * 257)).probability == predict(grey).probability


def test_arrays_of_other_shapes_and_types_are_refused():
    predict = Predictor(tiny())
    wrong = [
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((4, 4, 2), dtype=np.uint8),
        np.zeros((2, 4, 4, 3), dtype=np.uint8),
        torch.zeros(4, 4, 3, dtype=torch.uint8),
        torch.full((3, 4, 4), 1.5),
    ]
    for item in wrong:
        with pytest.raises(InputError, match=r"a (float )?picture (array|tensor) must be"):
            predict(item)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_folders_patterns_and_lists_keep_their_order(picture_folder, batch_size):
    predict = Predictor(tiny(), batch_size=batch_size)
    root = picture_folder()
    paths = sorted(root.rglob("*.jpg"))
    results = predict(root)
    assert [result.path for result in results] == paths
    assert [result.path for result in predict(str(root / "red" / "*.jpg"))] == paths[4:]
    alone = [predict(path).probability for path in paths]
    assert [result.probability for result in results] == pytest.approx(alone, abs=1e-5)
    assert isinstance(predict([paths[0]]), list)
    assert len(predict([root / "red", open_picture(paths[0])])) == 5


def test_streams_read_only_as_far_as_needed(make_picture):
    path = make_picture()
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield path

    stream = Predictor(tiny(), batch_size=2).stream(endless())
    for _ in range(4):
        next(stream)
    assert taken <= 8


def test_a_damaged_picture_among_good_ones_is_named(picture_folder, caplog):
    root = picture_folder()
    bad = root / "red" / "001.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    predict = Predictor(tiny(), batch_size=2)
    results = predict(root)
    assert len(results) == 7
    assert bad not in [result.path for result in results]
    assert sum("001.jpg" in record.message for record in caplog.records) == 1
    errors: list[InputError] = []
    assert len(list(predict.stream(root, on_bad=errors.append))) == 7
    assert "001.jpg" in str(errors[0])
    with pytest.raises(InputError, match=r"001\.jpg is truncated"):
        predict(bad)
    with pytest.raises(InputError, match="does not exist"):
        predict(root / "nowhere.jpg")


def test_odd_pictures(tmp_path):
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    Image.new("RGBA", (9, 3)).save(tmp_path / "clear.png")
    Image.new("L", (2000, 1)).save(tmp_path / "thin.png")
    assert [result.size for result in Predictor(tiny())(tmp_path)] == [(3, 9), (1, 1), (1, 2000)]


def test_annotated_picture(tmp_path, make_picture):
    path = make_picture(size=(40, 48))
    result = Predictor(tiny())(path)
    result.save(tmp_path / "out" / "drawn.png")
    drawn = open_picture(tmp_path / "out" / "drawn.png")
    assert drawn.width >= 320
    assert drawn.height > 40 * 7  # enlarged, and the classes below
    assert result._repr_png_().startswith(b"\x89PNG")
    memory = Predictor(tiny())(open_picture(path))
    assert memory.draw().tobytes() == result.draw().tobytes()
    with pytest.raises(InputError, match=r"picture format of .*drawn\.xyz"):
        result.save(tmp_path / "drawn.xyz")


def test_embeddings(picture_folder):
    model = tiny(num_classes=0, names=())
    predict = Predictor(model)
    pairs = list(predict.embed(picture_folder()))
    assert len(pairs) == 8
    assert pairs[0][1].shape == (16,)
    assert pairs[0][1].dtype == np.float32
    with pytest.raises(InputError, match="no classes"):
        list(predict.stream(picture_folder()))


def test_half_precision_models_and_nameless_classes(make_picture):
    model = tiny(names=()).bfloat16()
    result = Predictor(model)(make_picture())
    assert result.name == str(result.top[0].index)


def test_other_modules_are_refused():
    with pytest.raises(InputError, match=r"a classifier was expected.*got Linear"):
        Predictor(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="at least 1"):
        Predictor(tiny(), top_k=0)


def test_weights_that_are_not_numbers_give_no_answer(make_picture):
    model = tiny()
    torch.nn.init.constant_(model.get_parameter("head.weight"), float("nan"))
    with pytest.raises(InputError, match="outputs are not finite: its weights hold NaN or infinity"):
        Predictor(model)(make_picture())


@pytest.mark.parametrize("engine", ["plain", "eager", "openvino"])
def test_an_optimised_classifier_predicts_the_same(engine, picture_folder, monkeypatch, tmp_path):
    """One form serves all batches, the last and smaller one too."""
    monkeypatch.setenv("SWINKIT_CACHE", str(tmp_path / "cache"))
    model = tiny().eval()
    reason = can_run(engine, model, torch.device("cpu"), torch.float32)
    if reason is not None:
        pytest.skip(reason)
    fast = swinkit.optimize(model, torch.randn(3, 3, 32, 32), engines=[engine], dtype=torch.float32)
    folder = picture_folder()
    expected, found = Predictor(model)(folder), Predictor(fast)(folder)
    assert len(found) == 8
    for a, b in zip(expected, found, strict=True):
        assert (a.path, a.name) == (b.path, b.name)
        assert b.probability == pytest.approx(a.probability, abs=1e-5)
    assert len(fast._forms) == 1
    with pytest.raises(InputError, match="gives no vectors: use the model it was made from"):
        list(Predictor(fast).embed(folder))
    with pytest.raises(InputError, match="was optimised for cpu and stays there; got device meta"):
        Predictor(fast, device="meta")
    maps = swinkit.optimize(model.backbone, torch.randn(3, 3, 32, 32), engines=["plain"])
    with pytest.raises(InputError, match="a classifier was expected"):
        Predictor(maps)
