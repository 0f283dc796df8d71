"""What detectors that look at every point of the pyramid share.

Legend: B pictures, C channels, H W rows and columns of a level, K classes, N points of a level, R those that
are chosen.
"""

import itertools

import torch
from torch import Tensor, nn

from swinkit.detection.config import SelectConfig
from swinkit.detection.select import select_detections
from swinkit.detection.structures import Detections

RARE = -4.59511985013459
"""Logit of the probability 0.01 that every class starts with: most points hold no object."""


class GroupNorm(nn.GroupNorm):
    """torch's, also for a group of a single value, as the coarsest level of a small picture can have; torch
    refuses it."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class ConvGroupNorm(nn.Module):
    """A convolution, group norm, ReLU if wanted.

    Args:
        in_channels: that come in.
        channels: that go out.
        groups: of the norm.
        kernel: side of the convolution.
        relu: whether negative values become 0.
        std: deviation of the convolution's random start; None: as its fan-out asks.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        groups: int,
        kernel: int = 3,
        relu: bool = True,
        std: float | None = 0.01,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)
        self.norm = GroupNorm(groups, channels)
        self.act = nn.ReLU() if relu else nn.Identity()
        if std is None:
            nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")
        else:
            nn.init.normal_(self.conv.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


def tower(in_channels: int, channels: int, count: int, *, groups: int) -> nn.Sequential:
    """Return `count` convolutions of 3 x 3 with norm and ReLU."""
    widths = [in_channels, *[channels] * count]
    return nn.Sequential(
        *(ConvGroupNorm(before, after, groups=groups) for before, after in itertools.pairwise(widths))
    )


def output_conv(in_channels: int, channels: int, kernel: int, *, rare: bool = False) -> nn.Conv2d:
    """Return a last layer that says almost nothing at first.

    Args:
        in_channels: that come in.
        channels: that go out.
        kernel: side.
        rare: whether it gives logits of something rare.
    """
    layer = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, RARE if rare else 0.0)
    return layer


def choose_scored(boxes_RK4: Tensor, scores_RK: Tensor, select: SelectConfig) -> Detections:
    """Choose among candidates that passed the least score already: those chosen have a score above 0."""
    return select_detections(boxes_RK4, scores_RK, select, least=0.0)
