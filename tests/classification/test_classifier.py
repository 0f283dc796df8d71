"""The classifier: head, pooling, and the specification it carries."""

import dataclasses

import pytest
import torch

from swinkit.backbones import SwinConfig, build_backbone
from swinkit.classification import Classifier, build_classifier
from swinkit.errors import InputError
from swinkit.spec import ClassifierConfig, ModelSpec, from_dict, to_dict

CONFIG = SwinConfig(
    img_size=(32, 32), embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4, out_indices=(1,)
)


def test_logits_are_the_head_on_the_mean_of_the_last_map():
    model = build_classifier(ModelSpec(config=ClassifierConfig(backbone=CONFIG, num_classes=5))).eval()
    images = torch.randn(2, 3, 32, 32)
    pooled = model.backbone(images)[-1].mean((2, 3))
    assert pooled.shape == (2, 16)
    torch.testing.assert_close(model.embed(images), pooled)
    torch.testing.assert_close(model(images), pooled @ model.head.weight.T + model.head.bias)


def test_zero_classes_means_features():
    model = Classifier(build_backbone(CONFIG), 0)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 16)


def test_reset_head_changes_head_and_specification():
    model = Classifier(build_backbone(CONFIG), 3).to(torch.float64)
    model.reset_head(2, ("cat", "dog"))
    assert model(torch.randn(1, 3, 32, 32, dtype=torch.float64)).shape == (1, 2)
    assert model.spec.class_names == ("cat", "dog")
    assert model.spec.config.num_classes == 2
    with pytest.raises(InputError, match="0 or more; got -1"):
        model.reset_head(-1)


def test_a_spec_of_another_model_is_refused():
    spec = ModelSpec(config=ClassifierConfig(backbone=CONFIG, num_classes=5))
    with pytest.raises(InputError, match="the spec describes another model"):
        Classifier(build_backbone(CONFIG), 4, spec=spec)


def test_spec_survives_json():
    spec = ModelSpec(
        name="mine",
        config=ClassifierConfig(
            backbone=dataclasses.replace(CONFIG, window_size=((4, 4), (2, 3))), num_classes=2
        ),
        class_names=("cat", "dog"),
    )
    assert from_dict(to_dict(spec)) == spec


def test_spec_refuses_what_it_does_not_know():
    data = to_dict(ModelSpec(config=ClassifierConfig(backbone=CONFIG)))
    with pytest.raises(InputError, match="unknown key 'colour' in ModelSpec"):
        from_dict({**data, "colour": "red"})
    with pytest.raises(InputError, match="unknown model kind 'resnet'"):
        from_dict({**data, "config": {"kind": "resnet"}})
    with pytest.raises(InputError, match="2 class names for a model of 1000 classes"):
        ModelSpec(class_names=("cat", "dog"))
