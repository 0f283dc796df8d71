"""Window attention as other code bases do it: every step a tensor operation over the whole map.

These are what the operator is measured against. They share its signature (the map's q, k, v in, the map
out) and are checked against it before they are timed.

Legend: B pictures, H W rows and columns of the map, P Q of the padded map, h heads, d channels a head, C =
3 h d, N tokens a window, T windows a picture, G = B * T.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swinkit.bench.outcome import Unavailable
from swinkit.ops.windows import (
    MASKED,
    Pair,
    expand_bias,
    merge,
    padded_size,
    partition,
    region_ids,
    region_mask,
)


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where attention happens: one block of one stage.

    Attributes:
        stage: 1 to 4.
        map_size: (H, W) in tokens.
        heads: attention heads.
        head_dim: channels a head.
        window: tokens a window.
        shift: of the shifted block; (0, 0) where one window covers the map.
    """

    stage: int
    map_size: Pair
    heads: int
    head_dim: int
    window: Pair
    shift: Pair


class RollPartition(nn.Module):
    """Pad, roll, partition, scaled_dot_product_attention with a mask, merge, roll back.

    The region mask is a buffer, the bias is gathered in every call and both are added up for all windows:
    what timm does where it uses fused attention.
    """

    mask: Tensor | None

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        self.size = padded_size(site.map_size, site.window)
        mask = None
        if any(site.shift):
            mask = (~region_mask(self.size, site.window, site.shift)).float() * MASKED
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, qkv: Tensor, bias_table: Tensor) -> Tensor:
        """(B, H, W, 3, h, d) and the bias table to (B, H, W, h * d)."""
        site, shift = self.site, self.site.shift
        B, H, W, _, h, d = qkv.shape
        x_BPQC = F.pad(qkv.flatten(3), (0, 0, 0, self.size[1] - W, 0, self.size[0] - H))
        if any(shift):
            x_BPQC = torch.roll(x_BPQC, (-shift[0], -shift[1]), dims=(1, 2))
        q, k, v = partition(x_BPQC, site.window).unflatten(-1, (3, h, d)).permute(2, 0, 3, 1, 4)
        offset = expand_bias(bias_table, site.window).to(qkv.dtype)[None]
        if self.mask is not None:
            mask_TNN = self.mask.to(qkv.dtype)
            T, N, _ = mask_TNN.shape
            offset = offset + mask_TNN.expand(B, T, N, N).reshape(B * T, 1, N, N)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=offset)
        out_BPQC = merge(out.transpose(1, 2).flatten(2), site.window, self.size)
        if any(shift):
            out_BPQC = torch.roll(out_BPQC, shift, dims=(1, 2))
        return out_BPQC[:, :H, :W].contiguous()


class Flex(nn.Module):
    """The same movement of the map, with flex_attention between; bias and regions are a score_mod."""

    ids: Tensor

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        self.size = padded_size(site.map_size, site.window)
        self.register_buffer("ids", region_ids(self.size, site.window, site.shift), persistent=False)
        self.attention: Callable[..., Any] = importlib.import_module(
            "torch.nn.attention.flex_attention"
        ).flex_attention

    def forward(self, qkv: Tensor, bias_table: Tensor) -> Tensor:
        """(B, H, W, 3, h, d) and the bias table to (B, H, W, h * d)."""
        shift, ids_TN = self.site.shift, self.ids
        _, H, W, _, h, d = qkv.shape
        x_BPQC = F.pad(qkv.flatten(3), (0, 0, 0, self.size[1] - W, 0, self.size[0] - H))
        x_BPQC = torch.roll(x_BPQC, (-shift[0], -shift[1]), dims=(1, 2))
        q, k, v = partition(x_BPQC, self.site.window).unflatten(-1, (3, h, d)).permute(2, 0, 3, 1, 4)
        bias_hNN = expand_bias(bias_table, self.site.window).contiguous()
        windows = ids_TN.shape[0]

        def score_mod(score: Tensor, b: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
            same = ids_TN[b % windows, row] == ids_TN[b % windows, column]
            return score + bias_hNN[head, row, column] + torch.where(same, 0.0, MASKED)

        out = self.attention(q.contiguous(), k.contiguous(), v.contiguous(), score_mod=score_mod)
        out_BPQC = merge(out.transpose(1, 2).flatten(2), self.site.window, self.size)
        return torch.roll(out_BPQC, shift, dims=(1, 2))[:, :H, :W].contiguous()


def flex(site: Site, device: torch.device, backward: bool) -> nn.Module:
    """`Flex` compiled, the only form in which it is meant to be used.

    Raises:
        Unavailable: a backward pass on the CPU, which flex_attention does not have.
    """
    if backward and device.type == "cpu":
        raise Unavailable("flex_attention has no backward pass on the CPU")
    return torch.compile(Flex(site).to(device), dynamic=False)  # type: ignore[return-value]  # a callable module
