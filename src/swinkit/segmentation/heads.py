"""The heads of section A2.3: UperNet over four maps, and a small convolutional head over one of them.

Legend: B pictures, C channels, K classes, H W rows and columns of a map.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UperHead(nn.Module):
    """Unified perceptual parsing (UperNet): pyramid pooling on the coarsest map, then a feature pyramid.

    Args:
        in_channels: of the backbone's maps, fine to coarse.
        num_classes: outputs K a position.
        channels: of every map inside.
        pool_scales: rows (and columns) of each pooled grid.
        dropout: of whole channels before the classifier.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: int = 512,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        *finer, coarsest = in_channels
        self.pool_scales = tuple(pool_scales)
        self.pools = nn.ModuleList(ConvNormAct(coarsest, channels, 1) for _ in pool_scales)
        self.bottleneck = ConvNormAct(coarsest + len(self.pool_scales) * channels, channels, 3)
        self.laterals = nn.ModuleList(ConvNormAct(width, channels, 1) for width in finer)
        self.smooth = nn.ModuleList(ConvNormAct(channels, channels, 3) for _ in finer)
        self.fuse = ConvNormAct(len(in_channels) * channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = _classifier(channels, num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map the backbone's maps (B, C_i, H_i, W_i), fine to coarse, to logits (B, K, H_0, W_0)."""
        *finer, coarsest = maps
        top = self._pool(coarsest)
        paths = [lateral(x) for lateral, x in zip(self.laterals, finer, strict=True)]
        for index in reversed(range(len(paths))):
            above = paths[index + 1] if index + 1 < len(paths) else top
            paths[index] = paths[index] + resize(above, paths[index].shape[2:])
        outs = [smooth(x) for smooth, x in zip(self.smooth, paths, strict=True)]
        size = outs[0].shape[2:]
        x_BCHW = torch.cat([resize(x, size) for x in (*outs, top)], dim=1)
        return self.classify(self.dropout(self.fuse(x_BCHW)))

    def _pool(self, x_BCHW: Tensor) -> Tensor:
        size = x_BCHW.shape[2:]
        pooled = [
            resize(conv(F.adaptive_avg_pool2d(x_BCHW, scale)), size)
            for scale, conv in zip(self.pool_scales, self.pools, strict=True)
        ]
        return self.bottleneck(torch.cat([x_BCHW, *pooled], dim=1))


class FcnHead(nn.Module):
    """Some 3 x 3 convolutions and a classifier: the auxiliary head.

    Args:
        in_channels: of the map it reads.
        num_classes: outputs K a position.
        channels: of its convolutions.
        convs: how many.
        dropout: of whole channels before the classifier.
    """

    def __init__(
        self, in_channels: int, num_classes: int, *, channels: int = 256, convs: int = 1, dropout: float = 0.1
    ) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * convs
        self.convs = nn.ModuleList(
            ConvNormAct(before, after, 3) for before, after in itertools.pairwise(widths)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classify = _classifier(widths[-1], num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, K, H, W)."""
        for conv in self.convs:
            x_BCHW = conv(x_BCHW)
        return self.classify(self.dropout(x_BCHW))


class ConvNormAct(nn.Module):
    """Convolution without bias that keeps the size, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H, W)."""
        return F.relu(self.norm(self.conv(x_BCHW)))


def resize(x_BCHW: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate a map bilinearly to (rows, columns), corners not aligned, unless it has that size."""
    if tuple(x_BCHW.shape[2:]) == tuple(size):
        return x_BCHW
    return F.interpolate(x_BCHW, size=tuple(size), mode="bilinear", align_corners=False)


def _classifier(channels: int, num_classes: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, num_classes, 1)
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
