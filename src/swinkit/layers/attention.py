"""Multi-head self-attention in windows, with its projections (section 3.2)."""

import torch
from torch import Tensor, nn

from swinkit.ops.window_attention import Implementation, window_attention
from swinkit.ops.windows import Pair


class WindowAttention(nn.Module):
    """W-MSA and SW-MSA of equation (3): qkv projection, window attention, output projection.

    Args:
        dim: channels C of the map.
        num_heads: heads; divides `dim`.
        window: (rows, columns) of a window, in tokens.
        qkv_bias: whether the qkv projection has a bias.
        position_bias: learn a relative position bias (equation 4).
        appearance: False leaves q k^T out of the scores (Table 4, last but one row).
        attn_drop: dropout on attention weights.
        proj_drop: dropout on the output.
        impl: implementation of the operator, see `swinkit.ops.window_attention`.
    """

    relative_position_bias_table: nn.Parameter | None

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window: Pair,
        *,
        qkv_bias: bool = True,
        position_bias: bool = True,
        appearance: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        impl: Implementation = "auto",
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.appearance = appearance
        self.attn_drop = attn_drop
        self.impl: Implementation = impl
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        rows = (2 * window[0] - 1) * (2 * window[1] - 1)
        table = nn.Parameter(torch.empty(rows, num_heads)) if position_bias else None
        self.register_parameter("relative_position_bias_table", table)
        if table is not None:
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, x_BHWC: Tensor, shift: Pair = (0, 0)) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C), attending in windows shifted by `shift` (rows, columns)."""
        parts = (3, self.num_heads, x_BHWC.shape[-1] // self.num_heads)
        x_BHWC = window_attention(
            self.qkv(x_BHWC).unflatten(-1, parts),
            self.relative_position_bias_table,
            window=self.window,
            shift=shift,
            pad_qkv=None if self.qkv.bias is None else self.qkv.bias.view(parts),
            appearance=self.appearance,
            dropout=self.attn_drop if self.training else 0.0,
            impl=self.impl,
        )
        return self.proj_drop(self.proj(x_BHWC))
