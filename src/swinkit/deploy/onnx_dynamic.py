"""A Swin as an ONNX graph for pictures of any batch, height and width.

Padding, shift and region mask are computed from the picture's size when the graph runs, as the model's own
code does, so every window policy means what it means there. A fixed size (`onnx_graph.py`) is faster.

Legend: B pictures, H W rows and columns of a map, P Q of the padded map, C channels, h heads, d channels a
head, M M' window, N = M * M' tokens a window, R S windows down and across, T = R * S. An axis is 0 for rows
and 1 for columns; numbers that depend on the size are one-element integer tensors.
"""

from typing import Any

import torch
from torch import Tensor, nn

from swinkit.backbones import SwinTransformer
from swinkit.backbones.pyramid import Stage
from swinkit.classification import Classifier
from swinkit.deploy.forms import backbone_of
from swinkit.deploy.onnx_nodes import INPUT, LOGITS, Graph
from swinkit.errors import InputError
from swinkit.layers import PatchEmbed, PatchMerging, SwinBlock
from swinkit.ops.windows import MASKED, Pair, expand_bias


def to_dynamic_onnx(model: nn.Module) -> Any:
    """Return an `onnx.ModelProto` of a classifier or backbone in float32, of any picture size.

    Raises:
        InputError: not a Swin Transformer, or one with an absolute position embedding.
    """
    backbone = backbone_of(model)
    if not isinstance(backbone, SwinTransformer):
        raise InputError(
            "only a Swin Transformer exports with dynamic height and width; this model stands on a "
            f"{type(backbone).__name__}: leave --dynamic out."
        )
    if backbone.absolute_pos_embed is not None:
        raise InputError(
            "an absolute position embedding is resized for every picture size, which an exported graph does "
            "not do: leave --dynamic out and give --size."
        )
    graph = Graph()
    with torch.no_grad():
        outputs = _pyramid(graph, backbone, model.head if isinstance(model, Classifier) else None)
    return graph.proto(["batch", backbone.patch_embed.proj.in_channels, "height", "width"], outputs)


def _pyramid(
    graph: Graph, backbone: SwinTransformer, head: nn.Module | None
) -> list[tuple[str, list[int | str]]]:
    x = _embed(graph, backbone.patch_embed)
    found: list[tuple[str, list[int | str]]] = []
    for number, stage in enumerate(list(backbone.stages)[: max(backbone.out_indices) + 1]):
        assert isinstance(stage, Stage)
        if stage.downsample is not None:
            x = _merge(graph, stage.downsample, x)
        for block in stage.blocks:
            assert isinstance(block, SwinBlock)
            x = graph.op("Add", x, _attention(graph, block, _norm(graph, block.norm1, x)))
            y = graph.op("Gelu", _linear(graph, block.mlp.fc1, _norm(graph, block.norm2, x)))
            x = graph.op("Add", x, _linear(graph, block.mlp.fc2, y))
        if number not in backbone.out_indices:
            continue
        norm = backbone.norms[str(number)]
        assert isinstance(norm, nn.LayerNorm)
        y, C = _norm(graph, norm, x), norm.normalized_shape[0]
        if head is None:
            shape = ["batch", C, f"rows_{number}", f"columns_{number}"]
            found.append((graph.op("Transpose", y, perm=[0, 3, 1, 2], outputs=(f"map_{number}",)), shape))
        else:
            y = graph.op("ReduceMean", y, graph.constant([1, 2]), keepdims=0)
            linear = isinstance(head, nn.Linear)
            y = _linear(graph, head, y) if linear else y
            found.append(
                (graph.op("Identity", y, outputs=(LOGITS,)), ["batch", head.out_features if linear else C])
            )
    return found


def _embed(graph: Graph, embed: PatchEmbed) -> str:
    """Pictures to (B, H, W, C)."""
    ends = [_up(graph, _side(graph, INPUT, 2 + axis), embed.patch_size[axis])[1] for axis in (0, 1)]
    images = _pad(graph, INPUT, [2, 3], ends, rank=4)
    assert embed.proj.bias is not None
    sides = list(embed.patch_size)
    weights = graph.constant(embed.proj.weight), graph.constant(embed.proj.bias)
    x = graph.op("Conv", images, *weights, kernel_shape=sides, strides=sides)
    x = graph.op("Transpose", x, perm=[0, 2, 3, 1])
    return _norm(graph, embed.norm, x) if isinstance(embed.norm, nn.LayerNorm) else x


def _merge(graph: Graph, merging: PatchMerging, x: str) -> str:
    C = merging.reduction.in_features // 4
    counts, ends = zip(*(_up(graph, _side(graph, x, 1 + axis), 2) for axis in (0, 1)), strict=True)
    x = _pad(graph, x, [1, 2], list(ends), rank=4)
    x = _reshape(graph, x, -1, counts[0], 2, counts[1], 2, C)  # (B, rows, down, columns, across, C)
    x = graph.op("Transpose", x, perm=[0, 1, 3, 4, 2, 5])  # down before across
    x = _reshape(graph, x, -1, counts[0], counts[1], 4 * C)
    return _linear(graph, merging.reduction, _norm(graph, merging.norm, x))


def _attention(graph: Graph, block: SwinBlock, x: str) -> str:
    """Window attention: (B, H, W, C) to (B, H, W, C)."""
    attn = block.attn
    h, C = attn.num_heads, attn.qkv.in_features
    (M, M_), N = attn.window, attn.window[0] * attn.window[1]
    sides = [_side(graph, x, 1 + axis) for axis in (0, 1)]
    counts, ends = zip(*(_up(graph, sides[axis], attn.window[axis]) for axis in (0, 1)), strict=True)
    shifts = _shifts(graph, block, sides)
    x = _pad(graph, x, [1, 2], list(ends), rank=4)
    if shifts is not None:
        x = _roll(graph, _roll(graph, x, shifts[0], 1), shifts[1], 2)
    x = _reshape(graph, x, -1, counts[0], M, counts[1], M_, C)
    x = graph.reshape(graph.op("Transpose", x, perm=[0, 1, 3, 2, 4, 5]), -1, N, C)
    q, k, v = _heads(graph, attn.qkv, x, h, N)
    scale = graph.constant(torch.tensor((C // h) ** -0.5 if attn.appearance else 0.0))
    scores = graph.op("MatMul", graph.op("Mul", q, scale), k)
    if attn.relative_position_bias_table is not None:
        bias = expand_bias(attn.relative_position_bias_table, attn.window)
        scores = graph.op("Add", scores, graph.constant(bias))
    if shifts is not None:
        windows = graph.op("Mul", *counts)
        by_picture = _reshape(graph, scores, -1, windows, h, N, N)
        mask = _mask(graph, list(counts), attn.window, shifts)
        scores = graph.reshape(graph.op("Add", by_picture, mask), -1, h, N, N)
    x = graph.op("Transpose", graph.op("MatMul", graph.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    x = _reshape(graph, x, -1, counts[0], counts[1], M, M_, C)
    x = graph.op("Transpose", x, perm=[0, 1, 3, 2, 4, 5])
    padded = [graph.op("Mul", counts[axis], graph.constant([attn.window[axis]])) for axis in (0, 1)]
    x = _reshape(graph, x, -1, *padded, C)
    if shifts is not None:
        back = [graph.op("Sub", padded[axis], shifts[axis]) for axis in (0, 1)]
        x = _roll(graph, _roll(graph, x, back[0], 1), back[1], 2)
    for axis in (0, 1):
        x = graph.op("Slice", x, graph.constant([0]), sides[axis], graph.constant([1 + axis]))
    return _linear(graph, attn.proj, x)


def _heads(graph: Graph, qkv: nn.Linear, x: str, h: int, N: int) -> list[str]:
    """q (G, h, N, d), k (G, h, d, N) and v (G, h, N, d)."""
    found = []
    for number, weight in enumerate(qkv.weight.chunk(3)):
        part = graph.op("MatMul", x, graph.constant(weight.t()))
        if qkv.bias is not None:
            part = graph.op("Add", part, graph.constant(qkv.bias.chunk(3)[number]))
        part = graph.reshape(part, -1, N, h, qkv.in_features // h)
        found.append(graph.op("Transpose", part, perm=[0, 2, 3, 1] if number == 1 else [0, 2, 1, 3]))
    return found


def _shifts(graph: Graph, block: SwinBlock, sides: list[str]) -> list[str] | None:
    """Shift of each axis, 0 where the policy drops it on a small map; None where the block never shifts."""
    window = block.attn.window
    half = [side // 2 for side in window]
    if not block.shifted or not any(half):
        return None
    if block.window_policy == "pad":
        return [graph.constant([item]) for item in half]
    if block.window_policy == "clamp":
        larger = graph.op("Greater", graph.op("Min", *sides), graph.constant([min(window)]))
        keep = [larger, larger]
    else:
        keep = [graph.op("Greater", sides[axis], graph.constant([window[axis]])) for axis in (0, 1)]
    zero = graph.constant([0])
    return [graph.op("Where", keep[axis], graph.constant([half[axis]]), zero) for axis in (0, 1)]


def _mask(graph: Graph, counts: list[str], window: Pair, shifts: list[str]) -> str:
    """-100 where two tokens of a window are of different regions: (T, 1, N, N)."""
    N = window[0] * window[1]
    ids = []
    for axis in (0, 1):
        side = graph.constant([window[axis]])
        length = graph.op("Mul", counts[axis], side)
        scalar = graph.op("Squeeze", length)
        zero, one = graph.constant(torch.tensor(0)), graph.constant(torch.tensor(1))
        at = graph.op("Range", zero, scalar, one)
        edges = []
        for start in (graph.op("Sub", length, side), graph.op("Sub", length, shifts[axis])):
            edges.append(graph.to_int(graph.op("GreaterOrEqual", at, start)))
        moved = graph.to_int(graph.op("Greater", shifts[axis], graph.constant([0])))
        ids.append(graph.op("Mul", graph.op("Add", *edges), moved))
    rows = _reshape(graph, graph.op("Mul", ids[0], graph.constant([3])), counts[0], 1, window[0], 1)
    columns = _reshape(graph, ids[1], 1, counts[1], 1, window[1])
    ids_TN = graph.reshape(graph.op("Add", rows, columns), -1, 1, N)
    same = graph.op("Equal", graph.reshape(ids_TN, -1, 1, N, 1), graph.reshape(ids_TN, -1, 1, 1, N))
    return graph.op("Where", same, graph.constant(torch.tensor(0.0)), graph.constant(torch.tensor(MASKED)))


def _side(graph: Graph, value: str, axis: int) -> str:
    return graph.op("Shape", value, start=axis, end=axis + 1)


def _up(graph: Graph, length: str, side: int) -> tuple[str, str]:
    """How many of `side` cover a length, and how much they are longer than it."""
    step = graph.constant([side])
    count = graph.op("Div", graph.op("Add", length, graph.constant([side - 1])), step)
    return count, graph.op("Sub", graph.op("Mul", count, step), length)


def _pad(graph: Graph, value: str, axes: list[int], ends: list[str], *, rank: int) -> str:
    """Zeros at the ends of two axes."""
    zero = graph.constant([0])
    after = [ends[axes.index(axis)] if axis in axes else zero for axis in range(rank)]
    return graph.op("Pad", value, graph.op("Concat", *[zero] * rank, *after, axis=0))


def _roll(graph: Graph, value: str, start: str, axis: int) -> str:
    """Roll so that the row or column `start` comes first."""
    along, end = graph.constant([axis]), graph.constant([2**31 - 1])
    late = graph.op("Slice", value, start, end, along)
    early = graph.op("Slice", value, graph.constant([0]), start, along)
    return graph.op("Concat", late, early, axis=axis)


def _reshape(graph: Graph, value: str, *shape: int | str) -> str:
    """Reshape to sides that are numbers, or names of one-element tensors."""
    parts = [graph.constant([side]) if isinstance(side, int) else side for side in shape]
    return graph.op("Reshape", value, graph.op("Concat", *parts, axis=0))


def _norm(graph: Graph, norm: nn.LayerNorm, x: str) -> str:
    weights = graph.constant(norm.weight), graph.constant(norm.bias)
    return graph.op("LayerNormalization", x, *weights, axis=-1, epsilon=norm.eps)


def _linear(graph: Graph, layer: nn.Module, x: str) -> str:
    assert isinstance(layer, nn.Linear)
    bias: Tensor | None = layer.bias
    x = graph.op("MatMul", x, graph.constant(layer.weight.t()))
    return x if bias is None else graph.op("Add", x, graph.constant(bias))
