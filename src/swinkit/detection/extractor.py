"""Cutting regions out of a pyramid.

Legend: R regions, C channels, S cells a side.
"""

import torch
import torchvision
from torch import Tensor, nn

from swinkit.ops.boxes import box_areas

FINEST = 56
"""A region whose sides (their geometric mean) are below twice this many pixels is cut from the finest
level."""


class RegionExtractor(nn.Module):
    """RoIAlign on the level that suits a region's size (Lin et al., 2017, equation 1).

    Args:
        pool: cells a side S.
        strides: pixels between two points of each level that regions are cut from.
        samples: points a side that are read in a cell; None: as many as the level has there.
    """

    def __init__(self, pool: int, strides: list[int], *, samples: int | None = None) -> None:
        super().__init__()
        self.pool = pool
        self.strides = strides
        self.samples = samples or 0

    def forward(self, levels: list[Tensor], regions_R5: Tensor) -> Tensor:
        """Return what each region holds, (R, C, S, S).

        Args:
            levels: the pyramid (B, C, H, W); levels beyond `strides` are not read.
            regions_R5: (picture of the batch, x1, y1, x2, y2) in pixels.
        """
        root = box_areas(regions_R5[:, 1:]).clamp(min=0).sqrt()
        level_R = torch.log2(root / FINEST + 1e-6).floor().clamp(0, len(self.strides) - 1).long()
        cut = levels[0].new_zeros(
            len(regions_R5), levels[0].shape[1], self.pool, self.pool, dtype=torch.float32
        )
        for number, stride in enumerate(self.strides):
            index = torch.nonzero(level_R == number).flatten()
            part = torchvision.ops.roi_align(
                levels[number].float(), regions_R5[index], self.pool, 1 / stride, self.samples, aligned=True
            )
            cut = cut.index_copy(0, index, part)
        return cut


def to_regions(boxes: list[Tensor]) -> Tensor:
    """Join the boxes (R_i, 4) of the pictures of a batch into regions (R, 5)."""
    return torch.cat(
        [torch.cat([x.new_full((len(x), 1), number), x], dim=1) for number, x in enumerate(boxes)]
    )
