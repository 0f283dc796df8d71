"""A folded model as an ONNX graph, written node by node: fixed size, any batch.

Writing it ourselves is far quicker than tracing, and the nodes are those that engines have fast kernels for:
q, k and v as three linear layers (no split), one `Transpose` each, four-dimensional attention.

Legend: as in `folded.py`.
"""

from typing import Any

import torch
from torch import nn

from swinkit.deploy.folded import (
    FoldedAttention,
    FoldedBlock,
    FoldedMerging,
    FoldedMixing,
    FoldedModel,
    FoldedStage,
    FoldedStem,
    MapOutput,
    PooledOutput,
)
from swinkit.deploy.gelu import polynomial_gelu
from swinkit.deploy.onnx_nodes import INPUT, LOGITS, Graph
from swinkit.deploy.orders import Gather


def to_onnx(model: FoldedModel, *, gemm: bool = False, polynomial: bool = False) -> Any:
    """Return an `onnx.ModelProto` of a folded model in float32.

    Args:
        model: what to write.
        gemm: write linear layers as one `Gemm` each, so that they can be told from attention's products;
            else as product and sum, which OpenVINO runs faster.
        polynomial: write GELU as `swinkit.deploy.gelu` does, else as one `Gelu` node.
    """
    graph = Graph(gemm=gemm, polynomial=polynomial)
    outputs = _model(graph, model)
    return graph.proto(["batch", model.stem.proj.in_channels, *model.img_size], outputs)


def _model(graph: Graph, model: FoldedModel) -> list[tuple[str, list[Any]]]:
    """Write the whole model; return name and shape of every output."""
    x = _stem(graph, model.stem)
    found = []
    for number, stage in enumerate(model.stages):
        assert isinstance(stage, FoldedStage)
        if isinstance(stage.merging, FoldedMerging):
            x = _merging(graph, stage.merging, x)
        for block in stage.blocks:
            assert isinstance(block, FoldedBlock)
            x = _block(graph, block, x)
        if str(number) not in model.outputs:
            continue
        output = model.outputs[str(number)]
        if isinstance(output, PooledOutput):
            found.append(_pooled(graph, output, x, stage.tokens))
        else:
            assert isinstance(output, MapOutput)
            found.append(_map(graph, output, x, f"map_{number}"))
    return found


def _stem(graph: Graph, stem: FoldedStem) -> str:
    """Pictures to (B * L, C)."""
    images = INPUT
    if any(stem.pad):
        images = graph.op("Pad", images, graph.constant([0, 0, 0, 0, 0, 0, *stem.pad]))
    assert stem.proj.bias is not None
    x = graph.op(
        "Conv",
        images,
        graph.constant(stem.proj.weight),
        graph.constant(stem.proj.bias),
        kernel_shape=list(stem.proj.kernel_size),
        strides=list(stem.proj.kernel_size),
    )
    C = stem.proj.out_channels
    x = graph.op("Transpose", graph.op("Reshape", x, graph.constant([0, C, -1])), perm=[0, 2, 1])
    if isinstance(stem.norm, nn.LayerNorm):
        x = norm_rows(graph, stem.norm, x)
    if stem.positions is not None:
        x = graph.op("Add", x, graph.constant(stem.positions))
    return graph.reshape(x, -1, C)


def _merging(graph: Graph, merging: FoldedMerging, x: str) -> str:
    C4 = merging.reduction.in_features
    four = graph.reshape(_gather(graph, merging.neighbours, x, C4 // 4), -1, C4)
    return linear(graph, merging.reduction, norm_rows(graph, merging.norm, four))


def _block(graph: Graph, block: FoldedBlock, x: str) -> str:
    C = block.fc1.in_features
    x = _gather(graph, block.reorder, x, C)
    y = _gather(graph, block.enter, norm_rows(graph, block.norm1, x), C)
    y = (
        _attention(graph, block.mix, y)
        if isinstance(block.mix, FoldedAttention)
        else _mixing(graph, block.mix, y, C)
    )
    y = _gather(graph, block.leave, y, C)
    if isinstance(block.proj, nn.Linear):
        y = linear(graph, block.proj, y)
    x = graph.op("Add", y, x)
    y = linear(graph, block.fc1, norm_rows(graph, block.norm2, x))
    y = polynomial_gelu(graph, y) if graph.polynomial else graph.op("Gelu", y)
    return graph.op("Add", linear(graph, block.fc2, y), x)


def _attention(graph: Graph, mix: FoldedAttention, y: str) -> str:
    """Attention inside windows: (B * L, C) to (B * L, C)."""
    C = mix.qkv.in_features
    h, N = mix.heads, mix.tokens
    groups = h if mix.offset is None else mix.offset.shape[1]
    count = 1 if mix.constant else 3
    weights, biases = mix.qkv.weight.chunk(count), mix.qkv.bias.chunk(count)
    parts = []
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        part = graph.linear(y, weight, bias)
        part = graph.reshape(part, -1, N, h, C // h)
        is_key = count == 3 and number == 1
        part = graph.op("Transpose", part, perm=[0, 2, 3, 1] if is_key else [0, 2, 1, 3])
        if groups != h:
            part = graph.reshape(part, -1, groups, *((C // h, N) if is_key else (N, C // h)))
        parts.append(part)
    if mix.constant:
        assert mix.offset is not None
        out = graph.op("MatMul", graph.constant(mix.offset), parts[0])
    else:
        scores = graph.op("MatMul", parts[0], parts[1])
        if mix.offset is not None:
            scores = graph.op("Add", scores, graph.constant(mix.offset))
        out = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), parts[2])
    if groups != h:
        out = graph.reshape(out, -1, h, N, C // h)
    return graph.reshape(graph.op("Transpose", out, perm=[0, 2, 1, 3]), -1, C)


def _mixing(graph: Graph, mix: nn.Module, y: str, channels: int) -> str:
    assert isinstance(mix, FoldedMixing)
    weight_hNN, bias_hN1 = mix.get_buffer("weight"), mix.get_buffer("bias")
    h, N = weight_hNN.shape[:2]
    x = graph.op("Transpose", graph.reshape(y, -1, N, h, channels // h), perm=[0, 2, 1, 3])
    x = graph.op("Add", graph.op("MatMul", graph.constant(weight_hNN), x), graph.constant(bias_hN1))
    return graph.reshape(graph.op("Transpose", x, perm=[0, 2, 1, 3]), -1, channels)


def _pooled(graph: Graph, output: PooledOutput, x: str, tokens: int) -> tuple[str, list[Any]]:
    assert isinstance(output.norm, nn.LayerNorm)
    C = output.norm.normalized_shape[0]
    x = graph.reshape(norm_rows(graph, output.norm, x), -1, tokens, C)
    x = graph.op("ReduceMean", x, graph.constant([1]), keepdims=0)
    if isinstance(output.head, nn.Linear):
        x = linear(graph, output.head, x)
        C = output.head.out_features
    return graph.op("Identity", x, outputs=(LOGITS,)), ["batch", C]


def _map(graph: Graph, output: MapOutput, x: str, name: str) -> tuple[str, list[Any]]:
    assert isinstance(output.norm, nn.LayerNorm)
    C = output.norm.normalized_shape[0]
    rows, columns = output.map_size
    x = norm_rows(graph, output.norm, _gather(graph, output.to_raster, x, C))
    x = graph.op("Transpose", graph.reshape(x, -1, rows * columns, C), perm=[0, 2, 1])
    x = graph.op("Reshape", x, graph.constant([0, C, rows, columns]), outputs=(name,))
    return x, ["batch", C, rows, columns]


def _gather(graph: Graph, module: nn.Module, x: str, channels: int) -> str:
    if not isinstance(module, Gather):
        return x
    x = graph.reshape(x, -1, module.length, channels)
    x = graph.op("Gather", x, graph.constant(module.get_buffer("index")), axis=1)
    if module.keep is not None:
        x = graph.op("Mul", x, graph.constant(module.keep))
    return graph.reshape(x, -1, channels)


def norm_rows(graph: Graph, norm: nn.Module, x: str) -> str:
    assert isinstance(norm, nn.LayerNorm)
    affine = norm.elementwise_affine
    scale = norm.weight if affine else torch.ones(norm.normalized_shape)
    shift = norm.bias if affine else torch.zeros(norm.normalized_shape)
    return graph.op(
        "LayerNormalization", x, graph.constant(scale), graph.constant(shift), axis=-1, epsilon=norm.eps
    )


def linear(graph: Graph, layer: nn.Linear, x: str) -> str:
    assert layer.bias is not None
    return graph.linear(x, layer.weight, layer.bias)
