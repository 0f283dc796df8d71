"""The head of RepPoints v2: points for boxes, verified by corners and foreground (Chen et al., 2020).

Legend: B pictures, C channels, H W rows and columns of a level, K classes.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import DeformConv2d

from swinkit.detection.config_dense import RepPointsV2Config
from swinkit.detection.corners import CornerBranch
from swinkit.detection.dense import ConvGroupNorm, output_conv, tower
from swinkit.detection.points import SIDE, kernel_grid

VERIFIED = 6
"""Maps of the corner branches that the refinement reads: two of heat, four of offsets."""


class Outputs(NamedTuple):
    """What the head says of each level; points are in strides from their place on the grid, y before x.

    Attributes:
        scores: logits (B, K, H, W) of class and overlap.
        first: points (B, 18, H, W) at first.
        refined: points (B, 18, H, W) after looking where the first ones are.
        heat: logits (B, 2, H, W) of a top left and a bottom right corner.
        offsets: (B, 4, H, W) in strides, x before y, from a point to each of the two corners.
        foreground: logits (B, K, H, W) of lying in a box of the class.
    """

    scores: list[Tensor]
    first: list[Tensor]
    refined: list[Tensor]
    heat: list[Tensor]
    offsets: list[Tensor]
    foreground: list[Tensor]


class RepPointsV2Head(nn.Module):
    """One head for all levels.

    Args:
        in_channels: of the pyramid.
        num_classes: K.
        config: the rest.
    """

    kernel: Tensor

    def __init__(self, in_channels: int, num_classes: int, config: RepPointsV2Config) -> None:
        super().__init__()
        width, groups = config.channels, config.groups
        self.gradient = config.gradient
        self.class_convs = tower(in_channels, width, config.convs, groups=groups)
        self.point_convs = tower(in_channels, width, config.convs, groups=groups)
        self.shared_convs = tower(width, width, config.shared_convs, groups=groups)
        self.top_left = CornerBranch(width, "top_left", config)
        self.bottom_right = CornerBranch(width, "bottom_right", config)
        self.heat_top_left = output_conv(width, 1, 3, rare=True)
        self.heat_bottom_right = output_conv(width, 1, 3, rare=True)
        self.offset_top_left = output_conv(width, 2, 3)
        self.offset_bottom_right = output_conv(width, 2, 3)
        self.foreground = output_conv(width, num_classes, 1, rare=True)
        self.foreground_conv = ConvGroupNorm(width, width, groups=groups, kernel=1, std=None)
        points = 2 * SIDE**2
        self.first_conv = output_conv(width, width, 3)
        self.first = output_conv(width, points, 1)
        self.class_deform = DeformConv2d(width + VERIFIED, width, SIDE, padding=SIDE // 2, bias=False)
        self.refined_deform = DeformConv2d(width + VERIFIED, width, SIDE, padding=SIDE // 2, bias=False)
        for layer in (self.class_deform, self.refined_deform):
            nn.init.normal_(layer.weight, std=0.01)
        self.scores = output_conv(width, num_classes, 1, rare=True)
        self.refined = output_conv(width, points, 1)
        self.register_buffer("kernel", kernel_grid(), persistent=False)

    def forward(self, levels: list[Tensor]) -> Outputs:
        """Map the pyramid's levels (B, C, H, W) to the outputs."""
        said = [self._level(level) for level in levels]
        return Outputs(*([x.float() for x in kind] for kind in zip(*said, strict=True)))

    def _level(self, x: Tensor) -> tuple[Tensor, ...]:
        classes, points = self.class_convs(x), self.point_convs(x)
        shared = self.shared_convs(points)
        foreground = self.foreground(shared)
        hint = self.foreground_conv(shared)
        classes, points, shared = classes + hint, points + hint, shared + hint
        top_left, bottom_right = self.top_left(shared), self.bottom_right(shared)
        heat = torch.cat([self.heat_top_left(top_left), self.heat_bottom_right(bottom_right)], dim=1)
        offsets = torch.cat([self.offset_top_left(top_left), self.offset_bottom_right(bottom_right)], dim=1)
        first = self.first(F.relu(self.first_conv(points)))
        where = (1 - self.gradient) * first.detach() + self.gradient * first - self.kernel
        # torchvision reads outside its memory where an offset is not a number; the loss shows it anyway.
        where = torch.nan_to_num(where, nan=0.0)
        verified = torch.cat([heat, offsets], dim=1)
        scores = self.scores(F.relu(self.class_deform(torch.cat([classes, verified], dim=1), where)))
        moves = self.refined(F.relu(self.refined_deform(torch.cat([points, verified], dim=1), where)))
        return scores, first, moves + first.detach(), heat, offsets, foreground
