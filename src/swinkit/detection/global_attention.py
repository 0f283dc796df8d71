"""Self-attention over a whole map (A2.2: "appended at the output of the last stage" of HTC++).

Legend: B pictures, C channels, H W rows and columns, N = H W.
"""

import torch.nn.functional as F
from torch import Tensor, nn

HEAD_CHANNELS = 32
"""Channels of a head, as everywhere in the paper (3.3)."""


class GlobalAttention(nn.Module):
    """A transformer block in which every point of a map attends to every other.

    The paper says no more of it than its name. Here it is a block of equation (3) with one window over the
    whole map, and without positions, which would tie it to a size. Attention is over the padded map, as that
    of the windows is.

    Args:
        channels: C.
        mlp_ratio: hidden width of the MLP in C.
    """

    def __init__(self, channels: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.heads = max(1, channels // HEAD_CHANNELS)
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, int(channels * mlp_ratio))
        self.fc2 = nn.Linear(int(channels * mlp_ratio), channels)
        for layer in (self.qkv, self.proj, self.fc1, self.fc2):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the map (B, C, H, W) with what each point learnt from all others."""
        x = x_BCHW.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.proj(attended)
        x = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return x.transpose(1, 2).reshape(x_BCHW.shape)
