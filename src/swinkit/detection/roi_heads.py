"""What looks at one region: its class and box, and its mask.

Legend: R regions, C channels, S cells a side, K classes.
"""

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from swinkit.detection.config import BoxHeadConfig, MaskHeadConfig


class ConvNorm(nn.Module):
    """A 3 x 3 convolution, batch norm if wanted, ReLU."""

    def __init__(self, in_channels: int, channels: int, *, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=not norm)
        self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class BoxHead(nn.Module):
    """Convolutions and linear layers shared by a classifier and a regressor of boxes, one a class or one for
    all.

    Args:
        in_channels: of the regions.
        num_classes: K; one more output is background, the last.
        config: the rest.
    """

    def __init__(self, in_channels: int, num_classes: int, config: BoxHeadConfig) -> None:
        super().__init__()
        channels = [in_channels, *[config.conv_channels] * config.convs]
        self.convs = nn.ModuleList(
            ConvNorm(before, after, norm=config.conv_norm) for before, after in itertools.pairwise(channels)
        )
        widths = [channels[-1] * config.pool**2, *[config.fc_channels] * config.fcs]
        self.fcs = nn.ModuleList(nn.Linear(before, after) for before, after in itertools.pairwise(widths))
        self.classes = nn.Linear(widths[-1], num_classes + 1)
        self.deltas = nn.Linear(widths[-1], 4 * (1 if config.class_agnostic else num_classes))
        for layer in self.fcs:
            assert isinstance(layer, nn.Linear)
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer, deviation in ((self.classes, 0.01), (self.deltas, 0.001)):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)

    def forward(self, regions_RCSS: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits (R, K + 1) and box deltas (R, K, 4), the same for all classes if there is one
        box."""
        x = regions_RCSS
        for conv in self.convs:
            x = conv(x)
        x = x.flatten(1)
        for layer in self.fcs:
            x = F.relu(layer(x))
        logits = self.classes(x).float()
        deltas = self.deltas(x).float().unflatten(1, (-1, 4))
        return logits, deltas.expand(-1, logits.shape[1] - 1, -1)


class MaskHead(nn.Module):
    """Convolutions, a transposed one that doubles the size, and one mask a class (He et al., 2017).

    Args:
        in_channels: of the regions.
        num_classes: K.
        config: the rest.
        relay: whether the features of the stage before are taken in (Chen et al., 2019).
    """

    def __init__(
        self, in_channels: int, num_classes: int, config: MaskHeadConfig, *, relay: bool = False
    ) -> None:
        super().__init__()
        channels = [in_channels, *[config.channels] * config.convs]
        self.convs = nn.ModuleList(
            ConvNorm(before, after, norm=False) for before, after in itertools.pairwise(channels)
        )
        self.upsample = nn.ConvTranspose2d(channels[-1], config.channels, 2, stride=2)
        self.logits = nn.Conv2d(config.channels, num_classes, 1)
        self.relay = nn.Conv2d(config.channels, in_channels, 1) if relay else None
        for layer in (self.upsample, self.logits, *([self.relay] if self.relay is not None else [])):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, regions_RCSS: Tensor, before: Tensor | None = None) -> Tensor:
        """Return mask logits (R, K, 2 S, 2 S); `before` is `hidden` of the stage before."""
        return self.decode(self.hidden(regions_RCSS, before))

    def hidden(self, regions_RCSS: Tensor, before: Tensor | None = None) -> Tensor:
        """Return the features (R, C, S, S) that the masks are made of."""
        x = regions_RCSS
        if before is not None:
            assert self.relay is not None
            x = x + F.relu(self.relay(before))
        for conv in self.convs:
            x = conv(x)
        return x

    def decode(self, hidden_RCSS: Tensor) -> Tensor:
        """Return the mask logits (R, K, 2 S, 2 S) of these features."""
        return self.logits(F.relu(self.upsample(hidden_RCSS))).float()
