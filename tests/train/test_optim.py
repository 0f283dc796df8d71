import pytest
import torch

from swinkit.backbones import SwinConfig, SwinMixerConfig
from swinkit.classification import build_classifier
from swinkit.spec import ClassifierConfig, ModelSpec
from swinkit.train.config import OptimizerConfig
from swinkit.train.optim import build_optimizer, layer_id, parameter_groups, stage_depths

SMALL = {
    "img_size": (32, 32),
    "embed_dim": 8,
    "depths": (1, 2),
    "num_heads": (1, 2),
    "window_size": 4,
    "out_indices": (1,),
}


def small_model(**options: object) -> torch.nn.Module:
    backbone = SwinConfig(**{**SMALL, **options})  # type: ignore[arg-type]
    return build_classifier(ModelSpec(config=ClassifierConfig(backbone=backbone, num_classes=3)))


def test_no_weight_decay_for_norms_biases_and_position_tables() -> None:
    model = small_model(position="both")
    groups = parameter_groups(model, OptimizerConfig(weight_decay=0.05), lr=1e-3)
    decays = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert set(decays) == {name for name, _ in model.named_parameters()}
    free = {name for name, decay in decays.items() if decay == 0}
    expected = {
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim == 1 or "absolute_pos_embed" in name or "relative_position_bias_table" in name
    }
    assert free == expected
    assert "backbone.absolute_pos_embed" in free
    assert decays["backbone.stages.1.downsample.reduction.weight"] == 0.05
    assert decays["head.weight"] == 0.05


def test_only_layer_norms_and_position_tables_are_spared_on_request() -> None:
    model = torch.nn.Module()
    model.backbone = small_model(position="both")
    model.head = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.LayerNorm(8))
    groups = parameter_groups(model, OptimizerConfig(weight_decay=0.05, no_decay="layer_norms"), lr=1e-3)
    decays = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert set(decays) == {name for name, _ in model.named_parameters()}
    free = {name for name, decay in decays.items() if decay == 0}
    assert {name for name in free if "norm" not in name} == {
        name for name in decays if name.endswith(("absolute_pos_embed", "relative_position_bias_table"))
    } | {"head.2.weight", "head.2.bias"}
    assert {name for name in decays if ".norm" in name} <= free
    assert decays["head.0.bias"] == decays["head.1.weight"] == decays["head.1.bias"] == 0.05
    assert decays["backbone.backbone.stages.0.blocks.0.attn.qkv.bias"] == 0.05


def test_spatial_mlp_of_the_mixer_decays_but_not_its_bias() -> None:
    backbone = SwinMixerConfig(**SMALL)  # type: ignore[arg-type]
    model = build_classifier(ModelSpec(config=ClassifierConfig(backbone=backbone, num_classes=3)))
    groups = parameter_groups(model, OptimizerConfig(weight_decay=0.05), lr=1e-3)
    decays = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert decays["backbone.stages.0.blocks.0.spatial_mlp.weight"] == 0.05
    assert decays["backbone.stages.0.blocks.0.spatial_mlp.bias"] == 0


def test_layers_are_numbered_from_the_picture_to_the_head() -> None:
    depths = (2, 2, 6, 2)
    assert layer_id("backbone.patch_embed.proj.weight", depths) == 0
    assert layer_id("backbone.patch_embed.norm.bias", depths) == 0
    assert layer_id("backbone.absolute_pos_embed", depths) == 0
    assert layer_id("backbone.stages.0.blocks.0.norm1.weight", depths) == 1
    assert layer_id("backbone.stages.1.downsample.reduction.weight", depths) == 3
    assert layer_id("backbone.stages.1.blocks.0.mlp.fc1.weight", depths) == 3
    assert layer_id("backbone.stages.2.blocks.5.attn.relative_position_bias_table", depths) == 10
    assert layer_id("backbone.stages.3.blocks.1.attn.qkv.weight", depths) == 12
    assert layer_id("backbone.norms.3.weight", depths) == 13
    assert layer_id("head.weight", depths) == 13


def test_layer_decay_gives_every_depth_its_learning_rate() -> None:
    model = small_model()
    assert stage_depths(model) == (1, 2)
    groups = parameter_groups(model, OptimizerConfig(layer_decay=0.5), lr=1.0)
    rates = {name: group["lr"] for group in groups for name in group["names"]}
    assert rates["head.weight"] == 1.0
    assert rates["backbone.stages.1.blocks.1.norm1.weight"] == 0.5
    assert rates["backbone.stages.1.downsample.norm.weight"] == 0.25
    assert rates["backbone.stages.0.blocks.0.attn.qkv.weight"] == 0.125
    assert rates["backbone.patch_embed.proj.weight"] == 0.0625


def test_frozen_parameters_are_left_out_and_both_optimisers_build() -> None:
    model = small_model()
    model.get_submodule("backbone.patch_embed").requires_grad_(False)
    names = {name for group in parameter_groups(model, OptimizerConfig(), lr=1.0) for name in group["names"]}
    assert not any("patch_embed" in name for name in names)
    assert isinstance(build_optimizer(model, OptimizerConfig(name="adamw")), torch.optim.AdamW)
    sgd = build_optimizer(model, OptimizerConfig(name="sgd", momentum=0.8, lr=0.1))
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.param_groups[0]["momentum"] == pytest.approx(0.8)


def test_decay_follows_the_shapes_before_sharding() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3))
    dimensions = {name: parameter.ndim for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.data = parameter.data.flatten()  # as FSDP leaves them
    groups = parameter_groups(model, OptimizerConfig(weight_decay=0.1), lr=1.0, dimensions=dimensions)
    assert {group["weight_decay"]: group["names"] for group in groups} == {0.1: ["0.weight"], 0.0: ["0.bias"]}
