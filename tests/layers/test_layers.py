"""Embedding, merging, MLPs and blocks against what the paper says of each."""

import pytest
import torch
from torch import nn

from swinkit.layers import (
    Mlp,
    PatchEmbed,
    PatchMerging,
    SpatialMlp,
    SwinBlock,
    SwinMixerBlock,
    WindowAttention,
    initialise,
)


def test_patch_embed_is_a_linear_map_of_each_patch():
    embed = PatchEmbed(3, 8, (4, 4), norm=False)
    images = torch.randn(2, 3, 8, 12)
    tokens = embed(images)
    assert tokens.shape == (2, 2, 3, 8)
    assert embed.proj.bias is not None
    patch = images[1, :, 4:8, 8:12].flatten()
    torch.testing.assert_close(tokens[1, 1, 2], embed.proj.weight.flatten(1) @ patch + embed.proj.bias)


def test_patch_embed_pads_odd_pictures_with_zeros():
    embed = PatchEmbed(3, 8, (4, 4))
    images = torch.randn(1, 3, 6, 9)
    padded = torch.zeros(1, 3, 8, 12)
    padded[..., :6, :9] = images
    torch.testing.assert_close(embed(images), embed(padded))


def test_merging_concatenates_neighbours_in_the_official_order():
    merge = PatchMerging(2)
    nn.init.ones_(merge.norm.weight)
    x = torch.randn(1, 4, 6, 2)
    rows = [x[0, 2 + r, 4 + c] for r, c in ((0, 0), (1, 0), (0, 1), (1, 1))]
    expected = merge.reduction.weight @ nn.functional.layer_norm(torch.cat(rows), (8,))
    torch.testing.assert_close(merge(x)[0, 1, 2], expected)
    assert merge.reduction.bias is None


def test_merging_pads_odd_maps():
    merge = PatchMerging(2)
    x = torch.randn(1, 3, 5, 2)
    padded = torch.zeros(1, 4, 6, 2)
    padded[:, :3, :5] = x
    torch.testing.assert_close(merge(x), merge(padded))


def test_mlp_uses_the_exact_gelu():
    mlp = Mlp(4, 16)
    x = torch.randn(3, 4)
    hidden = mlp.fc1(x)
    expected = mlp.fc2(hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5)))
    torch.testing.assert_close(mlp(x), expected)


def test_spatial_mlp_is_one_linear_map_over_tokens_a_head():
    mlp = SpatialMlp(2, (3, 3))
    x = torch.randn(1, 6, 6, 8)
    out = mlp(x)
    window = x[0, 3:, :3].reshape(9, 2, 4)
    weight, bias = mlp.weight.view(2, 9, 9), mlp.bias
    assert bias is not None
    for head in range(2):
        expected = weight[head] @ window[:, head] + bias.view(2, 9)[head, :, None]
        torch.testing.assert_close(out[0, 3:, :3].reshape(9, 2, 4)[:, head], expected)


def test_spatial_mlp_shift_pads_with_zeros_and_never_wraps():
    mlp = SpatialMlp(1, (4, 4))
    x = torch.randn(1, 8, 8, 2)
    x[0, 0, 0] = float("nan")  # after padding by 2 it shares a window with the first 2 x 2 tokens only
    spoiled = torch.isnan(mlp(x, (2, 2))[0, ..., 0])
    assert spoiled[:2, :2].all()
    assert spoiled.sum() == 4
    assert mlp(torch.randn(1, 5, 7, 2), (2, 2)).shape == (1, 5, 7, 2)


@pytest.mark.parametrize("shifted", [False, True])
def test_block_is_equation_3(shifted):
    block = SwinBlock(8, WindowAttention(8, 2, (4, 4)), shifted=shifted, window_policy="pad")
    x = torch.randn(2, 8, 8, 8)
    middle = block.attn(block.norm1(x), (2, 2) if shifted else (0, 0)) + x
    torch.testing.assert_close(block(x), block.mlp(block.norm2(middle)) + middle)
    assert not torch.allclose(block.attn(x, (2, 2)), block.attn(x, (0, 0)))


def test_information_crosses_window_borders_only_through_the_shift():
    x = torch.zeros(1, 8, 8, 8, requires_grad=True)
    for shifted, reached in ((False, 16), (True, 16)):
        block = SwinBlock(8, WindowAttention(8, 2, (4, 4)), shifted=shifted, window_policy="pad")
        (gradient,) = torch.autograd.grad(block(x + torch.randn(1, 8, 8, 8))[0, 3, 3].sum(), x)
        touched = gradient[0].abs().sum(-1) > 0
        assert touched.sum() == reached
        assert touched[5, 5] == shifted


def test_drop_path_drops_whole_pictures_and_only_in_training():
    block = SwinBlock(8, WindowAttention(8, 2, (4, 4)), shifted=False, window_policy="pad", drop_path=0.5)
    x = torch.randn(64, 4, 4, 8)
    dropped = (block(x) == x).flatten(1).all(1).sum()
    assert 4 <= dropped <= 30  # both branches dropped: a quarter of 64
    block.eval()
    assert not (block(x) == x).flatten(1).all(1).any()


def test_mixer_block_mixes_tokens_then_channels():
    block = SwinMixerBlock(8, SpatialMlp(2, (4, 4)), shifted=True, window_policy="clamp")
    x = torch.randn(1, 8, 8, 8)
    middle = x + block.spatial_mlp(block.norm1(x), (2, 2))
    torch.testing.assert_close(block(x), middle + block.mlp(block.norm2(middle)))


def test_attention_without_appearance_ignores_queries_and_keys():
    attention = WindowAttention(8, 2, (4, 4), appearance=False)
    attention(torch.randn(1, 4, 4, 8)).square().sum().backward()
    gradient = attention.qkv.weight.grad
    assert gradient is not None
    assert not gradient[:16].any()
    assert gradient[16:].any()


def test_initialisation_draws_from_the_stated_distribution():
    linear, norm, spatial = nn.Linear(64, 256), nn.LayerNorm(256), SpatialMlp(4, (7, 7))
    nn.init.constant_(norm.weight, 3.0)
    model = nn.Sequential(linear, norm, spatial)
    initialise(model, "paper")
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert spatial.weight.std().item() == pytest.approx(0.02, rel=0.1)
    initialise(model, "xavier")
    assert linear.weight.std().item() == pytest.approx((2 / (64 + 256)) ** 0.5, rel=0.05)
    assert spatial.weight.std().item() == pytest.approx((2 / (49 + 49)) ** 0.5, rel=0.05)
    assert not linear.bias.any()
    assert torch.equal(norm.weight, torch.full((256,), 3.0))
