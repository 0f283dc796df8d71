"""create_model and create_backbone: names, overrides, pretrained weights of any size, clear refusals."""

import dataclasses
from pathlib import Path

import pytest
import torch

from swinkit import InputError, create_backbone, create_model, load
from swinkit.backbones import SwinConfig, SwinMixerConfig
from swinkit.classification import Classifier
from swinkit.spec import Preprocess
from swinkit.weights import save

SMALL = SwinConfig(
    img_size=(32, 32), embed_dim=8, depths=(1, 2), num_heads=(1, 2), window_size=4, out_indices=(0, 1)
)


def classifier(path: Path) -> Classifier:
    model = load(path)
    assert isinstance(model, Classifier)
    return model


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small classifier of three classes, saved."""
    save(create_model(SMALL, class_names=("ant", "bee", "cat")), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def test_a_name_builds_the_variant():
    model = create_model("swin_tiny_patch4_window7_224", num_classes=5)
    assert sum(item.numel() for item in model.backbone.parameters()) == 28_288_354 - 769_000
    assert model(torch.randn(1, 3, 224, 224)).shape == (1, 5)
    assert model.spec.name == "swin_tiny_patch4_window7_224"
    assert model.spec.preprocess.size == (224, 224)


def test_overrides_reach_the_model():
    model = create_model(
        SMALL, num_classes=2, img_size=48, in_chans=1, position="both", shift=False, drop_path_rate=0.3
    )
    config = model.spec.config.backbone
    assert isinstance(config, SwinConfig)
    assert (config.img_size, config.in_chans, config.position, config.shift) == ((48, 48), 1, "both", False)
    assert config.drop_path_rate == 0.3
    assert model(torch.randn(1, 1, 48, 48)).shape == (1, 2)
    assert len(model.spec.preprocess.mean) == 1


def test_backbone_gives_all_stages_under_the_dense_policy():
    backbone = create_backbone(SMALL)
    assert backbone.config.window_policy == "pad"
    assert backbone.channels == (8, 16)
    assert [item.shape for item in backbone(torch.randn(1, 3, 33, 47))] == [(1, 8, 9, 12), (1, 16, 5, 6)]
    frozen = create_backbone(SMALL, frozen_stages=1)
    assert not frozen.patch_embed.proj.weight.requires_grad


def test_pretrained_path_keeps_the_head_and_the_classes(checkpoint):
    model = create_model(SMALL, pretrained=checkpoint).eval()
    images = torch.randn(2, 3, 32, 32)
    assert model.spec.class_names == ("ant", "bee", "cat")
    assert torch.equal(model(images), load(checkpoint)(images))


def test_other_classes_get_a_new_head_on_the_same_trunk(checkpoint):
    model, old = create_model(SMALL, pretrained=checkpoint, num_classes=7).eval(), classifier(checkpoint)
    images = torch.randn(2, 3, 32, 32)
    assert model(images).shape == (2, 7)
    assert model.spec.class_names == ()
    torch.testing.assert_close(model.embed(images), old.embed(images))


def test_other_window_and_size_interpolate_the_bias(checkpoint):
    model = create_model(SMALL, pretrained=checkpoint, img_size=64, window_size=8)
    table = model.get_parameter("backbone.stages.0.blocks.0.attn.relative_position_bias_table")
    old = load(checkpoint).get_parameter("backbone.stages.0.blocks.0.attn.relative_position_bias_table")
    expected = torch.nn.functional.interpolate(old.T.view(1, 1, 7, 7), size=(15, 15), mode="bicubic")
    torch.testing.assert_close(table, expected.view(1, 225).T)


def test_grey_pictures_take_colour_weights(checkpoint):
    """A grey model sees a grey picture as the colour model sees the same picture in three channels."""
    grey, colour = create_model(SMALL, pretrained=checkpoint, in_chans=1).eval(), classifier(checkpoint)
    image = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(grey.embed(image), colour.embed(image.expand(1, 3, 32, 32)))


def test_backbone_takes_a_classifier_s_weights(checkpoint):
    backbone = create_backbone(SMALL, pretrained=checkpoint, window_policy="clamp").eval()
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(backbone(images)[-1], classifier(checkpoint).backbone(images)[-1])


def test_wrong_names_are_answered_with_the_right_one():
    with pytest.raises(InputError, match="did you mean 'swin_tiny_patch4_window7_224'"):
        create_model("swin_tiny_patch4_window7_223")
    with pytest.raises(InputError, match="`swinkit models` lists the names"):
        create_model("zzz")
    with pytest.raises(InputError, match="give a checkpoint's path"):
        create_model(SMALL, pretrained=True)
    with pytest.raises(InputError, match="a Swin-Mixer has no position"):
        create_model(SwinMixerConfig(), position="none")


def test_weights_of_another_variant_are_refused(checkpoint):
    with pytest.raises(InputError, match="the weights do not fit"):
        create_model("swin_tiny_patch4_window7_224", pretrained=checkpoint)


def test_pretrained_keeps_how_pictures_are_prepared(tmp_path):
    model = create_model(SMALL, num_classes=2)
    preprocess = Preprocess(size=(32, 32), crop_ratio=None, mean=(0.3, 0.3, 0.3), std=(0.5, 0.5, 0.5))
    model.spec = dataclasses.replace(model.spec, preprocess=preprocess)
    save(model, tmp_path / "model.safetensors")
    again = create_model(SMALL, pretrained=tmp_path / "model.safetensors")
    assert again.spec.preprocess == preprocess
    larger = create_model(SMALL, pretrained=tmp_path / "model.safetensors", img_size=64)
    assert larger.spec.preprocess == dataclasses.replace(preprocess, size=(64, 64), crop_ratio=0.875)


def test_as_many_classes_of_other_names_get_a_new_head(checkpoint):
    old = classifier(checkpoint)
    same = create_model(SMALL, pretrained=checkpoint, class_names=("ant", "bee", "cat"))
    other = create_model(SMALL, pretrained=checkpoint, class_names=("car", "bus", "van"))
    assert torch.equal(same.get_parameter("head.weight"), old.get_parameter("head.weight"))
    assert not torch.equal(other.get_parameter("head.weight"), old.get_parameter("head.weight"))
    assert other.spec.class_names == ("car", "bus", "van")
