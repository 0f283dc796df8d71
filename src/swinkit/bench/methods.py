"""Table 5's ways of mixing tokens, each as a stand-in for a block's attention with the same weights.

Shifting by cyclic shift and shifting by padding are the same function at another price. The sliding window
and Performer are other functions: a token attends to the window around it, or by estimate to the whole map.

Legend: B pictures, H W rows and columns of the map, P Q of the padded map, C = h d channels, h heads, d
channels a head, N tokens a window, T windows (or tokens) a picture, G = B * T, K neighbours of a token, m
random features.
"""

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swinkit.classification import Classifier
from swinkit.layers import WindowAttention
from swinkit.ops.windows import (
    MASKED,
    Pair,
    expand_bias,
    merge,
    padded_size,
    partition,
    region_mask,
    relative_position_index,
)


class Replaced(nn.Module):
    """A block's attention with its projections kept and what is between them exchanged.

    Args:
        attention: the block's own; its parameters are shared.
        mix: (q, k, v of a map, bias table, window, shift, padded token) to the map.
    """

    def __init__(self, attention: WindowAttention, mix: "Mix") -> None:
        super().__init__()
        self.attention = attention
        self.window = attention.window
        self.mix = mix

    def forward(self, x_BHWC: Tensor, shift: Pair = (0, 0)) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        kept = self.attention
        parts = (3, kept.num_heads, x_BHWC.shape[-1] // kept.num_heads)
        pad = None if kept.qkv.bias is None else kept.qkv.bias.view(parts)
        table = kept.relative_position_bias_table
        assert table is not None
        mixed = self.mix(kept.qkv(x_BHWC).unflatten(-1, parts), table, kept.window, shift, pad)
        return kept.proj(mixed)


Mix = Callable[[Tensor, Tensor, Pair, Pair, Tensor | None], Tensor]


def replace_attention(model: Classifier, mix: Mix) -> Classifier:
    """Exchange the attention of every block of `model`, in place; returns the model."""
    for stage in model.backbone.stages:
        for block in stage.blocks:  # type: ignore[union-attr]  # a ModuleList of blocks
            block.attn = Replaced(block.attn, mix)
    return model


def padded_shift(qkv: Tensor, table: Tensor, window: Pair, shift: Pair, pad_qkv: Tensor | None) -> Tensor:
    """Shifted windows without a cyclic shift: smaller windows at the borders, padded to full size.

    The windows start `shift` tokens further down and right, so a map of n windows an axis has n + 1 of them
    on a shifted axis, and the first and the last are only partly filled. Tokens that fill them up are masked
    as keys. Equal to the cyclic shift with its mask (section 3.2), for (n + 1)^2 instead of n^2 windows.

    Args:
        qkv: (B, H, W, 3, h, d).
        table: relative position bias.
        window: (rows, columns).
        shift: (rows, columns).
        pad_qkv: what the map is padded with to a multiple of the window, as in both published forms.

    Returns:
        (B, H, W, h * d).
    """
    B, H, W, _, h, d = qkv.shape
    size = padded_size((H, W), window)
    qkv_BPQC = _pad_to(qkv, size, pad_qkv).flatten(3)
    before = tuple((side - offset) % side for side, offset in zip(window, shift, strict=True))
    after = shift
    qkv_BPQC = F.pad(qkv_BPQC, (0, 0, before[1], after[1], before[0], after[0]))
    larger = (qkv_BPQC.shape[1], qkv_BPQC.shape[2])
    q, k, v = partition(qkv_BPQC, window).unflatten(-1, (3, h, d)).permute(2, 0, 3, 1, 4)
    offset_1hNN = expand_bias(table, window).to(qkv.dtype)[None]
    if any(shift):
        # Tokens that only fill up a window are kept out like those of another region.
        real_PQ = F.pad(qkv.new_zeros(size), (before[1], after[1], before[0], after[0]), value=MASKED)
        real_TN = partition(real_PQ[None, ..., None], window)[..., 0]
        keys_G11N = real_TN.repeat(B, 1)[:, None, None]
        offset_1hNN = offset_1hNN + keys_G11N
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=offset_1hNN)
    out_BPQC = merge(out.transpose(1, 2).flatten(2), window, larger)
    return out_BPQC[:, before[0] : before[0] + H, before[1] : before[1] + W].contiguous()


def cyclic_shift(qkv: Tensor, table: Tensor, window: Pair, shift: Pair, pad_qkv: Tensor | None) -> Tensor:
    """The paper's way, in the same plain operations as `padded_shift`, so that only the way differs."""
    B, H, W, _, h, d = qkv.shape
    size = padded_size((H, W), window)
    qkv_BPQC = _pad_to(qkv, size, pad_qkv).flatten(3)
    offset = expand_bias(table, window).to(qkv.dtype)[None]
    if any(shift):
        qkv_BPQC = torch.roll(qkv_BPQC, (-shift[0], -shift[1]), dims=(1, 2))
        offset = offset + _region_offset(size, window, shift, qkv).repeat(B, 1, 1)[:, None]
    q, k, v = partition(qkv_BPQC, window).unflatten(-1, (3, h, d)).permute(2, 0, 3, 1, 4)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=offset)
    out_BPQC = merge(out.transpose(1, 2).flatten(2), window, size)
    if any(shift):
        out_BPQC = torch.roll(out_BPQC, shift, dims=(1, 2))
    return out_BPQC[:, :H, :W].contiguous()


def no_shift(qkv: Tensor, table: Tensor, window: Pair, shift: Pair, pad_qkv: Tensor | None) -> Tensor:
    """Windows that never shift: Table 5's "window (w/o shifting)"."""
    return cyclic_shift(qkv, table, window, (0, 0), pad_qkv)


def sliding_window(qkv: Tensor, table: Tensor, window: Pair, shift: Pair, pad_qkv: Tensor | None) -> Tensor:
    """Every token attends to the window centred on it, naively: keys and values are unfolded for each token.

    Windows have odd sides; places outside the map are masked. Arguments and result as `padded_shift`, `shift`
    and `pad_qkv` unused.
    """
    B, H, W, _, h, d = qkv.shape
    q_BhTd, k, v = qkv.permute(3, 0, 4, 1, 2, 5).flatten(3, 4)
    around = (window[0] // 2, window[1] // 2)

    def unfold(x_BhTd: Tensor) -> Tensor:
        x = x_BhTd.transpose(2, 3).reshape(B * h, d, H, W)
        return F.unfold(x, window, padding=around).view(B, h, d, -1, H * W).permute(0, 1, 4, 3, 2)

    k_BhTKd, v_BhTKd = unfold(k), unfold(v)
    scores_BhTK = (q_BhTd.unsqueeze(-2) * d**-0.5 @ k_BhTKd.mT).squeeze(-2)
    middle = relative_position_index(window, table.device)[window[0] * window[1] // 2]
    scores_BhTK = scores_BhTK + table[middle].T[:, None].to(qkv.dtype)
    inside_KT = F.unfold(qkv.new_ones(1, 1, H, W), window, padding=around)[0]
    scores_BhTK = scores_BhTK + (1 - inside_KT.T) * MASKED
    out_BhTd = (torch.softmax(scores_BhTK, dim=-1).unsqueeze(-2) @ v_BhTKd).squeeze(-2)
    return out_BhTd.transpose(1, 2).reshape(B, H, W, h * d)


def performer(qkv: Tensor, table: Tensor, window: Pair, shift: Pair, pad_qkv: Tensor | None) -> Tensor:
    """Performer's attention (arXiv 2009.14794): every token attends to the whole map, at linear cost.

    softmax(q k^T) is estimated by products of random positive features, d ln d of them. Arguments and result
    as `padded_shift`; all but `qkv` are unused.
    """
    _, H, W, _, _, d = qkv.shape
    q, k, v = qkv.permute(3, 0, 4, 1, 2, 5).flatten(3, 4)
    projection_md = _random_features(d, int(d * math.log(d)), qkv.device).to(qkv.dtype)
    out_BhTd = linear_attention(q, k, v, projection_md)
    return out_BhTd.transpose(1, 2).flatten(2).unflatten(1, (H, W))


def linear_attention(q: Tensor, k: Tensor, v: Tensor, projection_md: Tensor) -> Tensor:
    """Estimate softmax(q k^T / sqrt(d)) v for (B, h, T, d) without a T x T tensor.

    The features are exp(w x - |x|^2 / 2) for the rows w of `projection_md`; a factor common to all of a
    query, or to all keys, cancels, so the largest exponent is subtracted.
    """
    scale = q.shape[-1] ** -0.25

    def exponents(x: Tensor) -> Tensor:
        x = x * scale
        return x @ projection_md.T - x.square().sum(-1, keepdim=True) / 2

    query, key = exponents(q), exponents(k)
    query = torch.exp(query - query.amax(-1, keepdim=True))
    key = torch.exp(key - key.amax((-2, -1), keepdim=True))
    weight = query @ key.sum(-2).unsqueeze(-1)
    return query @ (key.mT @ v) / weight.clamp_min(torch.finfo(q.dtype).tiny)


@functools.lru_cache
def _random_features(d: int, count: int, device: torch.device) -> Tensor:
    """(count, d): rows of random rotations, each as long as a Gaussian vector; the same in every run."""
    generator = torch.Generator().manual_seed(0)
    blocks = []
    for _ in range(math.ceil(count / d)):
        rotation, upper = torch.linalg.qr(torch.randn(d, d, generator=generator))
        blocks.append(rotation.T * upper.diagonal().sign()[:, None])  # so that every rotation is as likely
    lengths = torch.randn(count, d, generator=generator).norm(dim=1, keepdim=True)
    return (torch.cat(blocks)[:count] * lengths).to(device)


METHODS: dict[str, Mix] = {
    "sliding window (naive)": sliding_window,
    "Performer": performer,
    "window, no shift": no_shift,
    "shifted window (padding)": padded_shift,
    "shifted window (cyclic)": cyclic_shift,
}
"""Table 5's rows that are here."""


def _pad_to(qkv: Tensor, size: Pair, pad_qkv: Tensor | None) -> Tensor:
    """(B, H, W, 3, h, d) filled up to `size` with the padded token."""
    B, H, W = qkv.shape[:3]
    if size == (H, W):
        return qkv
    token = qkv.new_zeros(qkv.shape[3:]) if pad_qkv is None else pad_qkv.to(qkv.dtype)
    padded = token.expand(B, *size, *token.shape).clone()
    padded[:, :H, :W] = qkv
    return padded


def _region_offset(size: Pair, window: Pair, shift: Pair, like: Tensor) -> Tensor:
    """(T, N, N): 0 between tokens of one region, `MASKED` between others."""
    return (~region_mask(size, window, shift, like.device)).to(like.dtype) * MASKED
