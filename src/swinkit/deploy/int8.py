"""Linear layers in 8 bits, by onnxruntime's static quantisation.

Weights are rounded per output channel, activations per tensor by what calibration pictures show. Attention,
norms and GELU stay in float32.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from swinkit.deploy.packages import require


def quantise(proto: Any, calibration: Sequence[Tensor]) -> Any:
    """Return the ONNX model with its linear layers in 8 bits.

    Args:
        proto: an `onnx.ModelProto` of fixed size.
        calibration: pictures (in_chans, H, W) as the model gets them.

    Raises:
        InputError: onnxruntime or onnx is not installed.
    """
    require("onnxruntime", "8-bit quantisation")
    require("onnx", "8-bit quantisation")
    import onnx  # noqa: PLC0415 (optional)
    from onnxruntime import quantization  # noqa: PLC0415 (optional)

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(calibration)

        def get_next(self) -> dict[str, Any] | None:  # type: ignore[override] (the base promises a dict only)
            picture = next(self.rest, None)
            return None if picture is None else {proto.graph.input[0].name: picture[None].numpy()}

    root = logging.getLogger()
    level = root.level
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(proto, source)
        try:
            root.setLevel(logging.ERROR)  # it advises a preparation that these graphs do not need
            quantization.quantize_static(
                source,
                target,
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=["Gemm"],
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                extra_options={"WeightSymmetric": True},
            )
        finally:
            root.setLevel(level)
        return onnx.load(target)
