"""The semantic branch of Hybrid Task Cascade (Chen et al., 2019, 3.2).

Legend: B pictures, C channels, H W rows and columns of a level, K classes of stuff.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swinkit.detection.htc_config import SemanticConfig
from swinkit.segmentation.config import IGNORE


class SemanticHead(nn.Module):
    """All levels at the size of one, added and convolved: classes of the pixels, and features.

    Args:
        in_channels: of the pyramid.
        levels: number of its levels.
        config: the rest.
    """

    def __init__(self, in_channels: int, levels: int, config: SemanticConfig) -> None:
        super().__init__()
        self.level, self.loss_weight = config.level, config.loss_weight
        widths = [in_channels, *[config.channels] * config.convs]
        self.laterals = nn.ModuleList(nn.Conv2d(in_channels, in_channels, 1) for _ in range(levels))
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in itertools.pairwise(widths)
        )
        self.embedding = nn.Conv2d(config.channels, config.channels, 1)
        self.logits = nn.Conv2d(config.channels, config.classes, 1)
        for layer in [*self.laterals, *self.convs, self.embedding, self.logits]:
            assert isinstance(layer, nn.Conv2d)
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return class logits (B, K, H, W) and features (B, C, H, W), both at the size of `level`."""
        size = levels[self.level].shape[2:]
        total: Tensor | float = 0.0
        for lateral, level in zip(self.laterals, levels, strict=True):
            # Corners aligned, unlike everywhere else: so the published branch was trained.
            resized = F.interpolate(level, size=size, mode="bilinear", align_corners=True)
            total = total + F.relu(lateral(resized))
        assert isinstance(total, Tensor)
        x = total
        for conv in self.convs:
            x = F.relu(conv(x))
        return self.logits(x).float(), F.relu(self.embedding(x))

    def loss(self, logits_BKHW: Tensor, stuff_BHW: Tensor) -> Tensor:
        """Return the weighted cross entropy, the mean over all pixels.

        Args:
            logits_BKHW: of `forward`.
            stuff_BHW: classes of the pixels at the pictures' padded size, 255 for none; of each point the
                nearest before it is taken.
        """
        rows, columns = (
            torch.arange(points, device=stuff_BHW.device) * pixels // points
            for points, pixels in zip(logits_BKHW.shape[2:], stuff_BHW.shape[1:], strict=True)
        )
        wanted = stuff_BHW[:, rows[:, None], columns].long()
        total = F.cross_entropy(logits_BKHW, wanted, ignore_index=IGNORE, reduction="sum")
        return self.loss_weight * total / max(wanted.numel(), 1)


def stack_stuff(maps: list[Tensor], size: tuple[int, int]) -> Tensor:
    """Stack stuff maps (H_i, W_i) into (B, H, W) of `size`, with `IGNORE` at the bottom and right."""
    stacked = torch.full((len(maps), *size), IGNORE, dtype=torch.uint8, device=maps[0].device)
    for place, stuff in zip(stacked, maps, strict=True):
        place[: stuff.shape[0], : stuff.shape[1]] = stuff
    return stacked
