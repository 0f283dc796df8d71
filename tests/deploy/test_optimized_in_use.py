"""What else of the library takes an optimised model: scores, saving, export."""

import numpy as np
import pytest
import torch
from PIL import Image

import swinkit
from swinkit.backbones import SwinConfig
from swinkit.deploy import export, optimize
from swinkit.evaluate import evaluate_classifier
from swinkit.evaluate.segmentation import evaluate_segmenter
from swinkit.weights import save


def test_scores_of_a_classifier(classifier):
    images, labels = torch.randn(5, 3, 32, 32), torch.tensor([0, 1, 2, 3, 4])
    batches = list(zip(images.split(2), labels.split(2), strict=True))
    fast = optimize(classifier, images[:2], engines=["eager"])
    expected = evaluate_classifier(classifier, batches)
    for device in (None, "cpu"):
        report = evaluate_classifier(fast, batches, device)
        assert report.top1 == expected.top1
        assert report.loss == pytest.approx(expected.loss, rel=1e-5)
    with pytest.raises(swinkit.InputError, match="optimised for cpu and stays there"):
        evaluate_classifier(fast, batches, "meta")


def test_scores_of_a_segmenter():
    config = SwinConfig(
        img_size=(32, 32), embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2), window_size=4
    )
    model = swinkit.create_segmenter(config, num_classes=3).eval()
    fast = optimize(model, torch.randn(1, 3, 32, 32), engines=["eager"])
    rows = np.random.default_rng(0).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    data = [(Image.fromarray(rows), rows[..., 0] % 3)]
    assert evaluate_segmenter(fast, data).scores.aacc == pytest.approx(
        evaluate_segmenter(model, data).scores.aacc, abs=1e-3
    )
    assert swinkit.Predictor(fast)(data[0][0]).mask.shape == (40, 36)


def test_what_holds_no_weights_is_not_written(classifier, images, tmp_path):
    fast = optimize(classifier, images, engines=["eager"])
    with pytest.raises(swinkit.InputError, match="holds no weights: save the model it was made from"):
        save(fast, tmp_path / "fast.safetensors")
    with pytest.raises(swinkit.InputError, match="is not exported: give the one it was made from"):
        export(fast, tmp_path / "fast.onnx", to="onnx")
    assert not list(tmp_path.iterdir())
