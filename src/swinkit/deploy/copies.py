"""Copies of a model's layers for its inference forms, in float64, to be rounded once."""

import torch
from torch import nn

from swinkit.deploy.folded import PooledOutput


def pooled_output(norm: nn.Module, head: nn.Module) -> PooledOutput:
    """What a classifier does with its last map: norm, mean over tokens, head, if it has one."""
    assert isinstance(norm, nn.LayerNorm)
    if isinstance(head, nn.Linear):
        return PooledOutput(plain_norm(norm), copy_linear(head, norm))
    return PooledOutput(copy_norm(norm), nn.Identity())


def copy_linear(layer: nn.Linear, norm: nn.LayerNorm | None = None) -> nn.Linear:
    """A copy of `layer` in float64, always with a bias, with the norm before it in its weights."""
    copy = nn.Linear(layer.in_features, layer.out_features, dtype=torch.float64)
    weight = layer.weight.double().cpu()
    total = torch.zeros(layer.out_features, dtype=torch.float64)
    if layer.bias is not None:
        total += layer.bias.double().cpu()
    if norm is not None:
        total += weight @ norm.bias.double().cpu()
        weight = weight * norm.weight.double().cpu()
    copy.weight.copy_(weight)
    copy.bias.copy_(total)
    return copy


def copy_norm(norm: nn.Module) -> nn.LayerNorm:
    """A copy of a norm, scale and shift included."""
    assert isinstance(norm, nn.LayerNorm)
    copy = nn.LayerNorm(list(norm.normalized_shape), eps=norm.eps, dtype=torch.float64)
    copy.load_state_dict(norm.state_dict())
    return copy


def plain_norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    """A norm without scale and shift."""
    return nn.LayerNorm(list(norm.normalized_shape), eps=norm.eps, elementwise_affine=False)
