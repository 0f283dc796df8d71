"""Window attention in chunks as PyTorch operators: values, shapes, gradients.

`swinkit::window_attention_chunked` and its `_backward` are opaque to a tracer, so that torch.compile keeps
them whole. Windows that are masked alike share one (h, N, N) sum of bias and mask; there are at most four
kinds of them, however large the map.

Legend: as in chunked.py; C = h d, K kinds of windows, R tokens of a chunk.
"""

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from swinkit.ops.window_attention.gradients import empty_gradients, needed_gradients
from swinkit.ops.windows import (
    MASKED,
    Pair,
    collect_bias,
    expand_bias,
    masked_pairs,
    padded_size,
    partition,
)

CHUNK = 1 << 17
"""Scores of a chunk, at most: half a megabyte in float32, about what a core's second cache holds."""

LEAST = 1e-30
"""Weight below which a masked token has none."""


@dataclass(frozen=True)
class _Chunk:
    """Windows that are masked alike.

    Attributes:
        kind: row of the plan's masks.
        windows: their places in the plan's order.
        run: which tokens of the batch they are, where those lie one after the other; None elsewhere.
        tokens_R: raster number in the batch of each of their tokens; any of a map where there is none.
        empty: which of those are none; None where all are tokens.
        filled: which are tokens; None likewise.
    """

    kind: int
    windows: slice
    run: slice | None
    tokens_R: Tensor
    empty: Tensor | None
    filled: Tensor | None


@dataclass(frozen=True)
class _Plan:
    """How a batch of maps is cut.

    Attributes:
        other_KNN: which tokens of a window of each kind may not attend to each other.
        chunks: of all windows.
    """

    other_KNN: Tensor
    chunks: tuple[_Chunk, ...]


@custom_op("swinkit::window_attention_chunked", mutates_args=())
def forward_op(
    qkv: Tensor,
    bias_table: Tensor | None,
    pad_qkv: Tensor | None,
    seed: Tensor | None,
    window: list[int],
    shift: list[int],
    scale: float,
    appearance: bool,
    dropout: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attend; return out (B, H, W, C) and, for `keep`, what the backward pass needs.

    That is q, k, v (G, 3 h N d), a chunk after the other as (3, g, h, N, d), and weights (G, h, N, N).
    """
    B, H, W, _, h, d = qkv.shape
    N, high = window[0] * window[1], _high(qkv.dtype)
    plan = _plan((B, H, W), (window[0], window[1]), (shift[0], shift[1]), h)
    out_BHWC, kept, weights_GhNN = _forward_fake(
        qkv, bias_table, pad_qkv, seed, window, shift, scale, appearance, dropout, keep
    )
    tokens, out_tokens = qkv.reshape(B * H * W, 3 * h * d), out_BHWC.view(B * H * W, h * d)
    with torch.autocast("cpu", enabled=False):
        offset_KhNN = _offset(plan, bias_table, (window[0], window[1]), h, high)
        for number, chunk in enumerate(plan.chunks):
            g = len(chunk.tokens_R) // N
            rows = _take(tokens, chunk)
            if chunk.empty is not None:
                rows[chunk.empty] = 0 if pad_qkv is None else pad_qkv.to(rows.dtype).flatten()
            parts = kept[chunk.windows] if keep else rows.new_empty(g, 3 * h * N * d)
            parts.view(3, g, h, N, d).copy_(rows.view(g, N, 3, h, d).permute(2, 0, 3, 1, 4))
            q, k, v = parts.view(3, g * h, N, d).to(high)
            weights = weights_GhNN[chunk.windows] if keep else rows.new_empty(g, h, N, N)
            scores = weights.to(high).copy_(offset_KhNN[chunk.kind]).view(g * h, N, N)
            if appearance:
                scores.baddbmm_(q, k.mT, alpha=scale)
            torch.softmax(scores, dim=-1, out=scores)
            if chunk.kind:  # what a mask leaves is denormal, and products of such numbers are slow
                torch.threshold_(scores, LEAST, 0.0)
            if keep and high != qkv.dtype:
                weights.copy_(scores.view_as(weights))
            if seed is not None:
                scores = scores * _dropped(scores, seed, number, dropout)
            _put(out_tokens, (scores @ v).view(g, h, N, d).transpose(1, 2), chunk)
    return out_BHWC, kept, weights_GhNN


@forward_op.register_fake
def _forward_fake(
    qkv: Tensor,
    bias_table: Tensor | None,
    pad_qkv: Tensor | None,
    seed: Tensor | None,
    window: list[int],
    shift: list[int],
    scale: float,
    appearance: bool,
    dropout: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    B, H, W, _, h, d = qkv.shape
    N = window[0] * window[1]
    windows = B * -(-H // window[0]) * -(-W // window[1]) if keep else 0
    return (
        qkv.new_empty(B, H, W, h * d),
        qkv.new_empty(windows, 3 * h * N * d),
        qkv.new_empty(windows, h, N, N),
    )


@custom_op("swinkit::window_attention_chunked_backward", mutates_args=())
def backward_op(
    grad_out: Tensor,
    kept: Tensor,
    weights_GhNN: Tensor,
    bias_table: Tensor | None,
    pad_qkv: Tensor | None,
    seed: Tensor | None,
    window: list[int],
    shift: list[int],
    scale: float,
    appearance: bool,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of qkv, the bias table and the padding's token; the latter two empty where there is none."""
    B, H, W, C = grad_out.shape
    h, N, high = weights_GhNN.shape[1], window[0] * window[1], _high(kept.dtype)
    d = C // h
    plan = _plan((B, H, W), (window[0], window[1]), (shift[0], shift[1]), h)
    grad_qkv, grad_table, grad_pad = _backward_fake(grad_out, kept, weights_GhNN, bias_table, pad_qkv)
    grad_out_tokens, grad_tokens = grad_out.reshape(B * H * W, C), grad_qkv.view(B * H * W, 3 * C)
    bias_hNN, pad_token = kept.new_zeros(h, N, N, dtype=high), kept.new_zeros(3 * C, dtype=high)
    with torch.autocast("cpu", enabled=False):
        for number, chunk in enumerate(plan.chunks):
            g = len(chunk.tokens_R) // N
            rows = _take(grad_out_tokens, chunk)
            if chunk.empty is not None:
                rows[chunk.empty] = 0
            out = rows.view(g, N, h, d).transpose(1, 2).to(high).reshape(g * h, N, d)
            q, k, v = kept[chunk.windows].view(3, g * h, N, d).to(high)
            weights = weights_GhNN[chunk.windows].to(high).view(g * h, N, N)
            parts = out.new_zeros(3, g * h, N, d) if not appearance else out.new_empty(3, g * h, N, d)
            scores = out @ v.mT
            if seed is None:
                torch.bmm(weights.mT, out, out=parts[2])
            else:
                factor = _dropped(scores, seed, number, dropout)
                torch.bmm((weights * factor).mT, out, out=parts[2])
                scores *= factor
            scores = torch.ops.aten._softmax_backward_data(scores, weights, -1, high)
            if bias_table is not None:
                bias_hNN += scores.view(g, h, N, N).sum(0)
            if appearance:
                scores *= scale
                torch.bmm(scores, k, out=parts[0])
                torch.bmm(scores.mT, q, out=parts[1])
            rows = parts.view(3, g, h, N, d).permute(1, 3, 0, 2, 4)
            if chunk.empty is not None:
                pad_token += rows.reshape(g * N, 3 * C)[chunk.empty].sum(0)
            _put(grad_tokens, rows, chunk)
    if bias_table is not None:
        grad_table.copy_(collect_bias(bias_hNN, (window[0], window[1]), bias_table))
    if pad_qkv is not None:
        grad_pad.copy_(pad_token.view(3, h, d))
    return grad_qkv, grad_table, grad_pad


@backward_op.register_fake
def _backward_fake(
    grad_out: Tensor,
    kept: Tensor,
    weights_GhNN: Tensor,
    bias_table: Tensor | None,
    pad_qkv: Tensor | None,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    B, H, W, C = grad_out.shape
    h = weights_GhNN.shape[1]
    return kept.new_empty(B, H, W, 3, h, C // h), *empty_gradients(kept, bias_table, pad_qkv)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, bias_table, pad_qkv, seed, *ctx.options, _ = inputs
    _, kept, weights_GhNN = output
    ctx.mark_non_differentiable(kept, weights_GhNN)
    ctx.save_for_backward(kept, weights_GhNN, bias_table, pad_qkv, seed)


def _backward(ctx: Any, grad_out: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    grads = backward_op(grad_out, *ctx.saved_tensors, *ctx.options)
    return needed_gradients(ctx.needs_input_grad, grads)


forward_op.register_autograd(_backward, setup_context=_setup_context)


def _high(dtype: torch.dtype) -> torch.dtype:
    """What is computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _offset(plan: _Plan, bias_table: Tensor | None, window: Pair, heads: int, high: torch.dtype) -> Tensor:
    """Bias plus mask of each kind of window: (K, h, N, N)."""
    offset_KhNN = (plan.other_KNN.to(high) * MASKED)[:, None].repeat(1, heads, 1, 1)
    return offset_KhNN if bias_table is None else offset_KhNN + expand_bias(bias_table.to(high), window)


def _dropped(like: Tensor, seed: Tensor, number: int, dropout: float) -> Tensor:
    """Factors of a chunk's weights: 0 with probability `dropout`. A function of the seed and the chunk."""
    generator = torch.Generator().manual_seed(int(seed) + number)
    return torch.empty_like(like).bernoulli_(1 - dropout, generator=generator) / max(1 - dropout, 1e-12)


def _take(tokens: Tensor, chunk: _Chunk) -> Tensor:
    """The rows of a chunk's tokens: (R, channels)."""
    return tokens.index_select(0, chunk.tokens_R) if chunk.run is None else tokens[chunk.run]


def _put(tokens: Tensor, rows: Tensor, chunk: _Chunk) -> None:
    """Write a chunk's rows (g, N, ...) to their places in the batch."""
    if chunk.run is not None:
        tokens[chunk.run].view(rows.shape).copy_(rows)
        return
    places, rows = chunk.tokens_R, rows.to(tokens.dtype).reshape(-1, tokens.shape[1])
    if chunk.filled is not None:
        places, rows = places[chunk.filled], rows[chunk.filled]
    tokens.index_copy_(0, places, rows)


@functools.lru_cache(maxsize=64)
def _plan(shape: tuple[int, int, int], window: Pair, shift: Pair, heads: int) -> _Plan:
    """Cut a batch of maps (B, H, W). Kept: a network asks for the same few again and again."""
    with torch.inference_mode(False), torch.no_grad():
        B, H, W = shape
        size, N = padded_size((H, W), window), window[0] * window[1]
        places_TN = _places((H, W), size, window, shift)
        if any(shift):
            kinds_T = _kinds(size, window)
            other_KNN = masked_pairs(window, shift)
        else:
            kinds_T = places_TN.new_zeros(len(places_TN))
            other_KNN = torch.zeros(1, N, N, dtype=torch.bool)
        starts_B11 = (torch.arange(B) * (H * W))[:, None, None]
        chunks: list[_Chunk] = []
        first = 0
        for kind in kinds_T.unique().tolist() if B else ():
            places_tN = places_TN[kinds_T == kind]
            places_GN = torch.where(places_tN < 0, -1, places_tN + starts_B11).flatten(0, 1)
            for part_gN in places_GN.split(max(1, CHUNK // (heads * N * N))):
                part_R = part_gN.flatten()
                empty, filled = (part_R < 0).nonzero(), (part_R >= 0).nonzero()
                run = slice(int(part_R[0]), int(part_R[0]) + len(part_R))
                in_a_run = torch.equal(part_R, torch.arange(run.start, run.stop))
                chunks.append(
                    _Chunk(
                        kind=kind,
                        windows=slice(first, first + len(part_gN)),
                        run=run if in_a_run else None,
                        tokens_R=part_R.clamp(min=0),
                        empty=empty.flatten() if len(empty) else None,
                        filled=filled.flatten() if len(empty) else None,
                    )
                )
                first += len(part_gN)
        return _Plan(other_KNN=other_KNN, chunks=tuple(chunks))


def _places(map_size: Pair, size: Pair, window: Pair, shift: Pair) -> Tensor:
    """Raster number of each token of each window, -1 where the map is padded: (T, N)."""
    grid_PQ = torch.full(size, -1)
    grid_PQ[: map_size[0], : map_size[1]] = torch.arange(map_size[0] * map_size[1]).view(map_size)
    grid_PQ = torch.roll(grid_PQ, (-shift[0], -shift[1]), dims=(0, 1))
    return partition(grid_PQ[None, ..., None], window)[..., 0]


def _kinds(size: Pair, window: Pair) -> Tensor:
    """Whether each window (T,) is the last of its column of windows (2), of its row (1), or of both (3)."""
    rows, columns = size[0] // window[0], size[1] // window[1]
    down, across = torch.arange(rows) == rows - 1, torch.arange(columns) == columns - 1
    return (down[:, None] * 2 + across.long()).flatten()
