"""Between the backbone's maps and the heads."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from swinkit.detection.config import NeckConfig
from swinkit.errors import InputError


class Fpn(nn.Module):
    """Feature pyramid (Lin et al., 2017): lateral 1 x 1, nearest top-down, 3 x 3; extra levels take
    every second point of the last one, or are a convolution of it.

    Args:
        in_channels: of each of the backbone's maps that are read, fine to coarse.
        channels: of every level.
        levels: maps that come out, at least as many as are read.
        start: maps of the backbone that are left out, from the finest on.
        convs: whether extra levels are convolutions.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, levels: int, *, start: int = 0, convs: bool = False
    ) -> None:
        super().__init__()
        assert levels >= len(in_channels)
        self.levels, self.start = levels, start
        self.laterals = nn.ModuleList(nn.Conv2d(count, channels, 1) for count in in_channels)
        self.outputs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        extra = levels - len(in_channels) if convs else 0
        self.extra = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in range(extra))
        for conv in [*self.laterals, *self.outputs, *self.extra]:
            assert isinstance(conv, nn.Conv2d)
            nn.init.xavier_uniform_(conv.weight)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map the backbone's maps (B, C_i, H_i, W_i) to `levels` maps (B, channels, H_i, W_i)."""
        merged = [lateral(x) for lateral, x in zip(self.laterals, maps[self.start :], strict=True)]
        for level in range(len(merged) - 1, 0, -1):
            size = merged[level - 1].shape[2:]
            merged[level - 1] = merged[level - 1] + F.interpolate(merged[level], size=size, mode="nearest")
        levels = [output(x) for output, x in zip(self.outputs, merged, strict=True)]
        for conv in self.extra:
            levels.append(conv(levels[-1]))
        while len(levels) < self.levels:
            levels.append(levels[-1][:, :, ::2, ::2])
        return levels


def build_neck(config: NeckConfig, channels: Sequence[int]) -> nn.Module:
    """Build the neck of a backbone with maps of these channels.

    Raises:
        InputError: the neck has fewer levels than maps to read, or leaves all of them out.
    """
    read = channels[config.start :]
    if not 0 < len(read) <= config.levels:
        raise InputError(
            f"a neck of {config.levels} levels that starts at map {config.start} cannot read the backbone's "
            f"{len(channels)} maps."
        )
    return Fpn(read, config.channels, config.levels, start=config.start, convs=config.extra == "conv")
