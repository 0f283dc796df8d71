"""A folded model as an ONNX graph, written node by node: fixed size, any batch.

Writing it ourselves takes a second where tracing takes minutes, and the nodes are those that engines have
fast kernels for: q, k and v as three `Gemm` (no split), one `Transpose` each, four-dimensional attention.

Legend: as in `folded.py`.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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
from swinkit.deploy.orders import Gather
from swinkit.deploy.packages import require

OPSET = 20
"""The first with Gelu; onnxruntime 1.17 and OpenVINO 2024 read it."""
IR_VERSION = 10
INPUT = "images"
LOGITS = "logits"


def to_onnx(model: FoldedModel, *, fused: bool = False) -> Any:
    """Return an `onnx.ModelProto` of `model`.

    Args:
        model: a folded model in float32.
        fused: use onnxruntime's own operators where they are faster; other programs do not know them.
    """
    require("onnx", "ONNX")
    from onnx import TensorProto, helper  # noqa: PLC0415 (optional)

    graph = _Graph(fused=fused)
    height, width = model.img_size
    outputs = _model(graph, model)
    images = helper.make_tensor_value_info(
        INPUT, TensorProto.FLOAT, ["batch", model.stem.proj.in_channels, height, width]
    )
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs]
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "swinkit", [images], values, graph.constants),
        opset_imports=[
            helper.make_opsetid("", OPSET),
            *([helper.make_opsetid(_MICROSOFT, 1)] if fused else []),
        ],
        ir_version=IR_VERSION,
        producer_name="swinkit",
    )
    return proto


_MICROSOFT = "com.microsoft"


@dataclass
class _Graph:
    """Nodes and constants so far. Values are two-dimensional (B * L, C) between the parts."""

    fused: bool
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    known: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def op(
        self, kind: str, *inputs: str, outputs: tuple[str, ...] = (), domain: str = "", **attributes: Any
    ) -> str:
        """Add a node; return the name of its first output."""
        from onnx import helper  # noqa: PLC0415

        names = outputs or (f"{kind.lower()}_{len(self.nodes)}",)
        self.nodes.append(helper.make_node(kind, list(inputs), list(names), domain=domain, **attributes))
        return names[0]

    def constant(self, value: Tensor | list[int]) -> str:
        """Add a constant, once for each value of the small ones; return its name."""
        from onnx import numpy_helper  # noqa: PLC0415

        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.array(value, np.int64)
        array = np.ascontiguousarray(array)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 4096 else None
        if key in self.known:
            return self.known[key]
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        if key is not None:
            self.known[key] = name
        return name

    def reshape(self, value: str, *shape: int) -> str:
        """Reshape; -1 is what depends on the batch."""
        return self.op("Reshape", value, self.constant(list(shape)))


def _model(graph: _Graph, model: FoldedModel) -> list[tuple[str, list[Any]]]:
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


def _stem(graph: _Graph, stem: FoldedStem) -> str:
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
        x = _norm(graph, stem.norm, x)
    if stem.positions is not None:
        x = graph.op("Add", x, graph.constant(stem.positions))
    return graph.reshape(x, -1, C)


def _merging(graph: _Graph, merging: FoldedMerging, x: str) -> str:
    C4 = merging.reduction.in_features
    four = graph.reshape(_gather(graph, merging.neighbours, x, C4 // 4), -1, C4)
    return _linear(graph, merging.reduction, _norm(graph, merging.norm, four))


def _block(graph: _Graph, block: FoldedBlock, x: str) -> str:
    C = block.fc1.in_features
    x = _gather(graph, block.reorder, x, C)
    y = _gather(graph, block.enter, _norm(graph, block.norm1, x), C)
    y = (
        _attention(graph, block.mix, y)
        if isinstance(block.mix, FoldedAttention)
        else _mixing(graph, block.mix, y, C)
    )
    y = _gather(graph, block.leave, y, C)
    if isinstance(block.proj, nn.Linear):
        y = _linear(graph, block.proj, y)
    x = graph.op("Add", y, x)
    y = _linear(graph, block.fc1, _norm(graph, block.norm2, x))
    return graph.op("Add", _linear(graph, block.fc2, graph.op("Gelu", y)), x)


def _attention(graph: _Graph, mix: FoldedAttention, y: str) -> str:
    """Attention inside windows: (B * L, C) to (B * L, C)."""
    C = mix.qkv.in_features
    h, N = mix.heads, mix.tokens
    groups = h if mix.offset is None else mix.offset.shape[1]
    count = 1 if mix.constant else 3
    weights, biases = mix.qkv.weight.chunk(count), mix.qkv.bias.chunk(count)
    parts = []
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        part = graph.op("Gemm", y, graph.constant(weight.t()), graph.constant(bias))
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


def _mixing(graph: _Graph, mix: nn.Module, y: str, channels: int) -> str:
    assert isinstance(mix, FoldedMixing)
    weight_hNN, bias_hN1 = mix.get_buffer("weight"), mix.get_buffer("bias")
    h, N = weight_hNN.shape[:2]
    x = graph.op("Transpose", graph.reshape(y, -1, N, h, channels // h), perm=[0, 2, 1, 3])
    x = graph.op("Add", graph.op("MatMul", graph.constant(weight_hNN), x), graph.constant(bias_hN1))
    return graph.reshape(graph.op("Transpose", x, perm=[0, 2, 1, 3]), -1, channels)


def _pooled(graph: _Graph, output: PooledOutput, x: str, tokens: int) -> tuple[str, list[Any]]:
    assert isinstance(output.norm, nn.LayerNorm)
    C = output.norm.normalized_shape[0]
    x = graph.reshape(_norm(graph, output.norm, x), -1, tokens, C)
    x = graph.op("ReduceMean", x, graph.constant([1]), keepdims=0)
    if isinstance(output.head, nn.Linear):
        x = _linear(graph, output.head, x)
        C = output.head.out_features
    return graph.op("Identity", x, outputs=(LOGITS,)), ["batch", C]


def _map(graph: _Graph, output: MapOutput, x: str, name: str) -> tuple[str, list[Any]]:
    assert isinstance(output.norm, nn.LayerNorm)
    C = output.norm.normalized_shape[0]
    rows, columns = output.map_size
    x = _norm(graph, output.norm, _gather(graph, output.to_raster, x, C))
    x = graph.op("Transpose", graph.reshape(x, -1, rows * columns, C), perm=[0, 2, 1])
    x = graph.op("Reshape", x, graph.constant([0, C, rows, columns]), outputs=(name,))
    return x, ["batch", C, rows, columns]


def _gather(graph: _Graph, module: nn.Module, x: str, channels: int) -> str:
    if not isinstance(module, Gather):
        return x
    x = graph.reshape(x, -1, module.length, channels)
    x = graph.op("Gather", x, graph.constant(module.get_buffer("index")), axis=1)
    if module.keep is not None:
        x = graph.op("Mul", x, graph.constant(module.keep))
    return graph.reshape(x, -1, channels)


def _norm(graph: _Graph, norm: nn.Module, x: str) -> str:
    assert isinstance(norm, nn.LayerNorm)
    affine = norm.elementwise_affine
    scale = norm.weight if affine else torch.ones(norm.normalized_shape)
    shift = norm.bias if affine else torch.zeros(norm.normalized_shape)
    return graph.op(
        "LayerNormalization", x, graph.constant(scale), graph.constant(shift), axis=-1, epsilon=norm.eps
    )


def _linear(graph: _Graph, layer: nn.Linear, x: str) -> str:
    assert layer.bias is not None
    return graph.op("Gemm", x, graph.constant(layer.weight.t()), graph.constant(layer.bias))
