"""Writing an ONNX graph, one node after the other."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swinkit.deploy.packages import require
from swinkit.errors import InputError

OPSET = 20
"""The first with Gelu; onnxruntime 1.17 and OpenVINO 2024 read it."""
IR_VERSION = 10
INPUT = "images"
LOGITS = "logits"

LARGEST = 2**31 - 1
"""Bytes that one ONNX file holds, by its format."""

SMALL = 4096
"""Constants of up to so many numbers are written once."""


def to_bytes(proto: Any) -> bytes:
    """The file of a model.

    Raises:
        InputError: its weights and constants are more than the format holds.
    """
    held = sum(len(item.raw_data) for item in proto.graph.initializer)
    if held > LARGEST:
        raise InputError(
            f"weights, biases and masks for this picture size take {held / 2**30:.1f} GiB, and an ONNX file "
            "holds 2: choose a smaller size, or export with any height and width (--dynamic)."
        )
    return proto.SerializeToString()


@dataclass
class Graph:
    """Nodes and constants so far.

    Attributes:
        gemm: how linear layers are written: as one node, or as product and sum.
        polynomial: how GELU is written: as sums and products, or as one node.
    """

    gemm: bool = False
    polynomial: bool = False
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    known: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require("onnx", "an ONNX graph")

    def op(self, kind: str, *inputs: str, outputs: tuple[str, ...] = (), **attributes: Any) -> str:
        """Add a node; return the name of its first output."""
        from onnx import helper  # noqa: PLC0415 (optional)

        names = outputs or (f"{kind.lower()}_{len(self.nodes)}",)
        self.nodes.append(helper.make_node(kind, list(inputs), list(names), **attributes))
        return names[0]

    def constant(self, value: Tensor | list[int]) -> str:
        """Add a constant and return its name; a list gives int64."""
        from onnx import numpy_helper  # noqa: PLC0415 (optional)

        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.array(value, np.int64)
        array = array.copy(order="C")
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= SMALL else None
        if key in self.known:
            return self.known[key]
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        if key is not None:
            self.known[key] = name
        return name

    def number(self, value: float) -> str:
        """Add a float32 scalar and return its name."""
        return self.constant(torch.tensor(value, dtype=torch.float32))

    def reshape(self, value: str, *shape: int) -> str:
        """Reshape; -1 is what depends on the batch."""
        return self.op("Reshape", value, self.constant(list(shape)))

    def linear(self, value: str, weight: Tensor, bias: Tensor) -> str:
        """A linear layer over the last dimension; of two dimensions, where it is one node."""
        if self.gemm:
            return self.op("Gemm", value, self.constant(weight.t()), self.constant(bias))
        return self.op("Add", self.op("MatMul", value, self.constant(weight.t())), self.constant(bias))

    def to_int(self, value: str) -> str:
        """Cast to int64."""
        from onnx import TensorProto  # noqa: PLC0415 (optional)

        return self.op("Cast", value, to=TensorProto.INT64)

    def proto(self, images: list[Any], outputs: list[tuple[str, list[Any]]]) -> Any:
        """The finished model: shape of the pictures, names and shapes of the outputs."""
        from onnx import TensorProto, helper  # noqa: PLC0415 (optional)

        source = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, images)
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs]
        body = helper.make_graph(self.nodes, "swinkit", [source], values, self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="swinkit")
