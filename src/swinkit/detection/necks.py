"""Between the backbone's maps and the heads."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class Fpn(nn.Module):
    """Feature pyramid (Lin et al., 2017): lateral 1 x 1, nearest top-down, 3 x 3; extra levels take
    every second point.

    Args:
        in_channels: of each of the backbone's maps, fine to coarse.
        channels: of every level.
        levels: maps that come out, at least as many as come in.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, levels: int) -> None:
        super().__init__()
        assert levels >= len(in_channels)
        self.levels = levels
        self.laterals = nn.ModuleList(nn.Conv2d(count, channels, 1) for count in in_channels)
        self.outputs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        for conv in [*self.laterals, *self.outputs]:
            assert isinstance(conv, nn.Conv2d)
            nn.init.xavier_uniform_(conv.weight)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map the backbone's maps (B, C_i, H_i, W_i) to `levels` maps (B, channels, H_i, W_i)."""
        merged = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for level in range(len(merged) - 1, 0, -1):
            size = merged[level - 1].shape[2:]
            merged[level - 1] = merged[level - 1] + F.interpolate(merged[level], size=size, mode="nearest")
        levels = [output(x) for output, x in zip(self.outputs, merged, strict=True)]
        while len(levels) < self.levels:
            levels.append(levels[-1][:, :, ::2, ::2])
        return levels
