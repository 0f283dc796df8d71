"""The inference form computes what the model computes, in every configuration."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import swinkit
from swinkit.backbones import SwinConfig, SwinMixerConfig, build_backbone
from swinkit.backbones.config import Position
from swinkit.classification import Classifier
from swinkit.deploy import fold
from swinkit.deploy.folded import FoldedAttention
from swinkit.deploy.orders import EMPTY, Gather, merging_order, mixer_order, raster_order, window_order
from swinkit.ops.windows import WindowPolicy, pad_map, partition

POLICIES = ("clamp", "clamp_axis", "pad", "pad_axis")
SIZES = ((32, 32), (28, 36), (17, 61), (5, 5))
"""Whole windows; padded at one side; odd maps, so that merging pads too; smaller than a window."""


def randomise(model: nn.Module) -> nn.Module:
    """Draw every parameter anew, norms and biases included, so that nothing folds to nothing."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


def maps(model: nn.Module, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        out = model(images)
    return [out] if isinstance(out, Tensor) else out


def check(model: nn.Module, size: tuple[int, int], tolerance: float = 1e-11) -> None:
    images = torch.randn(2, 3, *size, dtype=next(model.parameters()).dtype)
    expected, found = maps(model, images), maps(fold(model, size), images)
    assert len(expected) == len(found)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=tolerance, atol=tolerance)


def swin(
    policy: WindowPolicy = "clamp", shift: bool = True, position: Position = "relative", qkv_bias: bool = True
) -> SwinConfig:
    return SwinConfig(
        img_size=(32, 32),
        patch_size=2,
        embed_dim=8,
        depths=(2, 2, 1),
        num_heads=(1, 2, 2),
        window_size=4,
        shift=shift,
        position=position,
        qkv_bias=qkv_bias,
        window_policy=policy,
        out_indices=(0, 1, 2),
    )


@pytest.mark.parametrize(("policy", "size"), list(itertools.product(POLICIES, SIZES)))
def test_every_policy_and_size(policy, size):
    check(randomise(build_backbone(swin(policy))), size)


@pytest.mark.parametrize("position", ["absolute", "both", "none", "relative_without_appearance"])
@pytest.mark.parametrize("size", [(32, 32), (17, 61)])
def test_every_position(position, size):
    config = replace(swin(position=position), out_indices=(0, 2))
    check(randomise(build_backbone(config)), size)


@pytest.mark.parametrize("size", [(32, 32), (17, 61)])
def test_without_shift_and_without_bias(size):
    config = replace(swin("pad", shift=False, qkv_bias=False), out_indices=(0, 1, 2))
    check(randomise(build_backbone(config)), size)


@pytest.mark.parametrize(("policy", "size"), list(itertools.product(("clamp", "pad"), SIZES)))
def test_mixer(policy, size):
    config = SwinMixerConfig(
        img_size=(32, 32),
        patch_size=2,
        embed_dim=8,
        depths=(2, 2, 1),
        num_heads=(1, 2, 2),
        window_size=4,
        window_policy=policy,
        out_indices=(0, 1, 2),
    )
    check(randomise(build_backbone(config)), size)


@pytest.mark.parametrize("classes", [5, 0])
def test_classifier(classes):
    config = replace(swin(), out_indices=(2,))
    check(randomise(Classifier(build_backbone(config), classes)), (30, 32))


def test_oblong_windows_and_float32():
    config = replace(swin("pad"), window_size=(2, 3), patch_size=(2, 4), out_indices=(0, 1, 2))
    check(build_backbone(config).eval(), (21, 43), tolerance=1e-5)


def test_the_model_stays_as_it_is_and_the_fold_does_not_follow():
    model = randomise(build_backbone(swin()))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fold(model, (32, 32))
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    first = maps(folded, images)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    nn.init.zeros_(model.get_parameter("stages.0.blocks.0.mlp.fc1.weight"))
    assert torch.equal(first[0], maps(folded, images)[0])


def test_masks_are_not_repeated_where_nothing_is_masked():
    folded = fold(build_backbone(swin()), (32, 32))
    mixes = [module for module in folded.stages[0].modules() if isinstance(module, FoldedAttention)]
    assert [None if mix.offset is None else mix.offset.shape[1] for mix in mixes] == [1, 16]


def test_a_window_costs_one_gather_a_block():
    gathers = [
        module for module in fold(build_backbone(swin()), (32, 32)).modules() if isinstance(module, Gather)
    ]
    # stage 1: into windows after the stem, then into shifted ones; merging; the same; merging; three maps
    assert len(gathers) <= 2 + 1 + 1 + 1 + 3


def test_orders():
    grid = raster_order((5, 6)).view(1, 5, 6, 1) + 1
    padded = torch.roll(pad_map(grid, (6, 6)), (-1, -2), dims=(1, 2))
    assert torch.equal(window_order((5, 6), (3, 3), (1, 2)), partition(padded, (3, 3)).flatten() - 1)
    assert merging_order((3, 2), raster_order((2, 1))).tolist() == [0, 2, 1, 3, 4, EMPTY, 5, EMPTY]
    assert mixer_order((2, 2), (2, 2), (1, 1)).tolist()[:4] == [EMPTY, EMPTY, EMPTY, 0]


def test_a_gather_fills_empty_slots_with_zeros():
    move = Gather(torch.tensor([2, 0, 1]), torch.tensor([0, EMPTY, 2, 1]))
    assert move(torch.tensor([[[20.0], [1.0], [10.0]]])).flatten().tolist() == [1.0, 0.0, 20.0, 10.0]


def test_only_swins_fold():
    with pytest.raises(swinkit.InputError, match="a Linear is not a Swin"):
        fold(nn.Linear(2, 2), (32, 32))
    with pytest.raises(swinkit.InputError, match="needs pixels"):
        fold(build_backbone(swin()), (0, 32))
