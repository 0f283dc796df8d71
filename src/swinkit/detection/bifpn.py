"""Bidirectional feature pyramid (Tan et al., 2020), as RepPoints v2 is published with Swin.

Legend: B pictures, C channels, H W rows and columns of a level.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swinkit.detection.config_dense import BiFpnConfig
from swinkit.detection.dense import ConvGroupNorm

EPS = 1e-4
"""Added to the sum that weights are divided by."""


class WeightedSum(nn.Module):
    """A mean with learnt weights, then SiLU.

    Args:
        inputs: maps that come in.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(1, 1, 1, 1, inputs))

    def forward(self, maps: list[Tensor]) -> Tensor:
        weights = F.relu(self.weights)
        share = (weights / (weights.sum() + EPS)).flatten()
        total = maps[0] * share[0]
        for x, part in zip(maps[1:], share[1:], strict=True):
            total = total + x * part
        return F.silu(total)


class BiFpnBlock(nn.Module):
    """From coarse to fine and back once.

    Args:
        in_channels: of each level.
        channels: that come out of each level; a level that has as many already is taken as it is.
        groups: of the norms.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, groups: int) -> None:
        super().__init__()
        steps = range(len(in_channels) - 1)
        self.laterals = nn.ModuleList(
            nn.Identity()
            if count == channels
            else ConvGroupNorm(count, channels, groups=groups, kernel=1, relu=False)
            for count in in_channels
        )
        self.down = nn.ModuleList(WeightedSum(2) for _ in steps)
        self.down_convs = _convs(channels, groups, len(steps))
        self.up = nn.ModuleList(WeightedSum(3 if step < steps[-1] else 2) for step in steps)
        self.up_convs = _convs(channels, groups, len(steps))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map the levels (B, C_i, H_i, W_i), fine to coarse, to levels of equal channels."""
        laterals = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        levels = list(laterals)
        for i in range(len(levels) - 1, 0, -1):
            coarse = F.interpolate(levels[i], size=levels[i - 1].shape[2:], mode="nearest")
            levels[i - 1] = self.down_convs[i - 1](self.down[i - 1]([levels[i - 1], coarse]))
        last = len(levels) - 1
        for i in range(1, len(levels)):
            parts = [halve(levels[i - 1]), levels[i]] + ([laterals[i]] if i < last else [])
            levels[i] = self.up_convs[i - 1](self.up[i - 1](parts))
        return levels


class BiFpn(nn.Module):
    """Blocks one after the other.

    Args:
        in_channels: of each of the backbone's maps that are read, fine to coarse.
        config: the rest.
    """

    def __init__(self, in_channels: Sequence[int], config: BiFpnConfig) -> None:
        super().__init__()
        self.start, self.levels = config.start, config.levels
        first = [*in_channels, *[in_channels[-1]] * (config.levels - len(in_channels))]
        widths = [first, *[[config.channels] * config.levels] * (config.repeats - 1)]
        self.blocks = nn.ModuleList(BiFpnBlock(width, config.channels, config.groups) for width in widths)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map the backbone's maps (B, C_i, H_i, W_i) to `levels` maps (B, channels, H_i, W_i)."""
        levels = list(maps[self.start :])
        while len(levels) < self.levels:
            levels.append(halve(levels[-1]))
        for block in self.blocks:
            levels = block(levels)
        return levels


def halve(x: Tensor) -> Tensor:
    """Return the largest values of 3 x 3 points around every second point."""
    return F.max_pool2d(x, 3, stride=2, padding=1)


def _convs(channels: int, groups: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(ConvGroupNorm(channels, channels, groups=groups, relu=False) for _ in range(count))
