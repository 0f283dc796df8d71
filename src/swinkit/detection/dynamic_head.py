"""The head of one stage of Sparse R-CNN: proposals look at one another, then each at its own region.

Legend: B pictures, P proposals, N = B P, C channels, D dynamic channels, S cells a side, K classes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swinkit.detection.sparse_config import SparseConfig

PRIOR = 0.01
"""Probability of every class at the start of training (Lin et al., 2017)."""


class DynamicInteraction(nn.Module):
    """Two linear layers over a region's channels whose weights come from its proposal's features, then one
    over all cells.

    Args:
        channels: C.
        dynamic: D.
        pool: S.
    """

    def __init__(self, channels: int, dynamic: int, pool: int) -> None:
        super().__init__()
        self.dynamic = dynamic
        self.weights = nn.Linear(channels, 2 * channels * dynamic)
        self.norm_in = nn.LayerNorm(dynamic)
        self.norm_out = nn.LayerNorm(channels)
        self.gather = nn.Linear(channels * pool**2, channels)
        self.gather_norm = nn.LayerNorm(channels)

    def forward(self, features_NC: Tensor, regions_NCSS: Tensor) -> Tensor:
        """Return what each proposal learns from its region (N, C)."""
        count, channels = features_NC.shape
        down, up = self.weights(features_NC).chunk(2, dim=1)
        x = regions_NCSS.flatten(2).transpose(1, 2)
        x = F.relu(self.norm_in(torch.bmm(x, down.reshape(count, channels, self.dynamic))))
        x = F.relu(self.norm_out(torch.bmm(x, up.reshape(count, self.dynamic, channels))))
        return F.relu(self.gather_norm(self.gather(x.flatten(1))))


class DynamicHead(nn.Module):
    """Attention between proposals, interaction with their regions, a feed-forward network; then classes and
    boxes.

    Args:
        channels: C of the pyramid and of the proposals.
        num_classes: K.
        config: the rest.
    """

    def __init__(self, channels: int, num_classes: int, config: SparseConfig) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            channels, config.heads, dropout=config.dropout, batch_first=True
        )
        self.attention_norm = nn.LayerNorm(channels)
        self.interaction = DynamicInteraction(channels, config.dynamic, config.pool)
        self.interaction_norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, config.hidden)
        self.fc2 = nn.Linear(config.hidden, channels)
        self.fc_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(config.dropout)
        self.class_fcs = nn.ModuleList(_NormedLinear(channels) for _ in range(config.class_fcs))
        self.box_fcs = nn.ModuleList(_NormedLinear(channels) for _ in range(config.box_fcs))
        self.classes = nn.Linear(channels, num_classes)
        self.deltas = nn.Linear(channels, 4)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.constant_(self.classes.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, features_BPC: Tensor, regions_NCSS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return class logits (B, P, K), box deltas (B, P, 4) and the proposals' new features (B, P, C)."""
        x = features_BPC
        x = self.attention_norm(x + self.dropout(self.attention(x, x, x, need_weights=False)[0]))
        learnt = self.interaction(x.flatten(0, 1), regions_NCSS).view_as(x)
        x = self.interaction_norm(x + self.dropout(learnt))
        hidden = self.dropout(F.relu(self.fc1(x)))
        x = self.fc_norm(x + self.dropout(self.fc2(hidden)))
        for_class, for_box = x, x
        for layer in self.class_fcs:
            for_class = layer(for_class)
        for layer in self.box_fcs:
            for_box = layer(for_box)
        return self.classes(for_class).float(), self.deltas(for_box).float(), x


class _NormedLinear(nn.Module):
    """A linear layer without bias, layer norm, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.fc(x)))
