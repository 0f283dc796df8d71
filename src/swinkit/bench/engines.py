"""Ways of running a model: eager, compiled, handed to another runtime. Name -> builder of a call."""

import contextlib
import importlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from swinkit.bench.outcome import Unavailable
from swinkit.bench.workload import Workload
from swinkit.deploy.engines import FLOAT8, can_run
from swinkit.deploy.fused import fuse
from swinkit.deploy.openvino_network import OpenVinoNetwork
from swinkit.errors import one_line

FLOAT8_LIMIT = 0.2
"""Largest error of linear layers in float8, relative to the largest output."""

Output = Tensor | list[Tensor]
Call = Callable[[], Output]


@dataclass(frozen=True)
class Noted:
    """A call with something to say about itself, such as what it chose."""

    run: Call
    note: str

    def __call__(self) -> Output:
        return self.run()


def inference_call(engine: str, model: nn.Module, images: Tensor, workload: Workload) -> Call:
    """A call that runs the model once on `images`; whatever is compiled is compiled when this returns.

    Args:
        engine: a name in `INFERENCE`.
        model: in evaluation mode, on its device and in its precision.
        images: (B, 3, H, W), likewise.
        workload: for what an engine needs to know besides.

    Raises:
        Unavailable: the engine is not installed, or cannot run this model here.
    """
    with _quietly(), named():
        call = INFERENCE[engine](model, images, workload)
        call()
    return call


def training_call(
    engine: str, model: nn.Module, images: Tensor, labels: Tensor, workload: Workload
) -> Callable[[], Tensor]:
    """A call that makes one training step and returns the loss; see `Workload.step`."""
    if engine not in TRAINING:
        raise Unavailable("it does not train")
    device = torch.device(workload.device)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.05)
    runner = TRAINING[engine](model)
    half = workload.torch_dtype != torch.float32

    def step() -> Tensor:
        with torch.autocast(device.type, workload.torch_dtype, enabled=half):
            loss = nn.functional.cross_entropy(runner(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _eager(model: nn.Module, images: Tensor, workload: Workload) -> Call:
    def call() -> Output:
        with torch.inference_mode():
            return model(images)

    return call


def _compiled(model: nn.Module, images: Tensor, workload: Workload) -> Call:
    return _compile(model, images, {}, None)


def _frozen(model: nn.Module, images: Tensor, workload: Workload) -> Call:
    if workload.device != "cpu":
        raise Unavailable("freezing is for the CPU")
    return _compile(model, images, {"freezing": True}, None)


def _max_autotune(model: nn.Module, images: Tensor, workload: Workload) -> Call:
    if workload.device != "cpu":
        return _compile(model, images, {}, "max-autotune")
    return _compile(model, images, {"freezing": True, "max_autotune": True}, None)


def _reduce_overhead(model: nn.Module, images: Tensor, workload: Workload) -> Call:
    if workload.device == "cpu":
        raise Unavailable("CUDA graphs need a GPU")
    return _compile(model, images, {}, "reduce-overhead")


def _fused(model: nn.Module, images: Tensor, workload: Workload) -> Call:
    return _compile(_fused_form(model, workload), images, {}, None)


def _fused_graphs(model: nn.Module, images: Tensor, workload: Workload) -> Call:
    return _compile(_fused_form(model, workload), images, {}, "reduce-overhead")


def _fused_form(model: nn.Module, workload: Workload) -> nn.Module:
    reason = can_run("fused", model, torch.device(workload.device), workload.torch_dtype)
    if reason is not None:
        raise Unavailable(reason)
    return fuse(model)


def _compile(model: nn.Module, images: Tensor, settings: dict[str, Any], mode: str | None) -> Call:
    """torch.compile, traced at once: freezing is decided while tracing, by inductor's global settings."""
    inductor: Any = importlib.import_module("torch._inductor.config")
    compiled = torch.compile(model, mode=mode, dynamic=False)

    def call() -> Output:
        with torch.no_grad():
            return compiled(images)

    with inductor.patch(settings):
        call()
    return call


def _optimize(model: nn.Module, images: Tensor, workload: Workload) -> Call:
    swinkit: Any = importlib.import_module("swinkit")
    if not hasattr(swinkit, "optimize"):
        raise Unavailable("swinkit.optimize is not in this version")
    pictures = images.float()  # as a user hands them over; the call converts them
    fast = swinkit.optimize(model.float(), pictures, dtype=workload.torch_dtype, remember=False)
    return Noted(lambda: fast(pictures), f"chose {fast.engine}")


def _float8(model: nn.Module, images: Tensor, workload: Workload) -> Call:
    swinkit: Any = importlib.import_module("swinkit")
    device, dtype = torch.device(workload.device), workload.torch_dtype
    reasons = {name: can_run(name, model, device, dtype) for name in FLOAT8}
    names = [name for name, reason in reasons.items() if reason is None]
    if not names:
        raise Unavailable(next(iter(reasons.values())))
    pictures = images.float()
    fast = swinkit.optimize(
        model.float(), pictures, engines=names, dtype=dtype, max_error=FLOAT8_LIMIT, remember=False
    )
    return Noted(lambda: fast(pictures), f"chose {fast.engine}")


def _onnxruntime(model: nn.Module, images: Tensor, workload: Workload) -> Call:
    _need(workload, "onnxruntime", dtypes=("float32",))
    runtime: Any = importlib.import_module("onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        _export(model, images, path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = workload.threads
        options.inter_op_num_threads = 1
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name, array = session.get_inputs()[0].name, images.numpy()
    return lambda: _tensors(session.run(None, {name: array}))


def _openvino(model: nn.Module, images: Tensor, workload: Workload) -> Call:
    _need(workload, "openvino", dtypes=("float32", "bfloat16"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        _export(model.float(), images.float(), path)
        precision = {"float32": "f32", "bfloat16": "bf16"}[workload.dtype]
        network = OpenVinoNetwork(path, threads=workload.threads, precision=precision)
    array = images.float().numpy()
    note = f"in {network.compiled.get_property('INFERENCE_PRECISION_HINT').to_string()}"
    return Noted(lambda: _tensors(network(array)), note)


INFERENCE: dict[str, Callable[[nn.Module, Tensor, Workload], Call]] = {
    "eager": _eager,
    "compile": _compiled,
    "frozen": _frozen,
    "max-autotune": _max_autotune,
    "reduce-overhead": _reduce_overhead,
    "fused": _fused,
    "fused-graphs": _fused_graphs,
    "optimize": _optimize,
    "float8": _float8,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
"""Engine -> how it takes over a model for inference.

"compile" is torch.compile as it stands; "frozen" with weights as constants; "max-autotune" frozen and tuned
on a CPU, that mode on a GPU; "fused" is `swinkit.deploy.fuse`, compiled, "optimize" is `swinkit.optimize` and
"float8" the fastest of its float8 engines, all for our models only.
"""

TRAINING: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "eager": lambda model: model,
    "compile": lambda model: torch.compile(model, dynamic=False),
}
"""Engine -> how it runs the forward (and with autograd the backward) pass of a training step."""


def _need(workload: Workload, package: str, *, dtypes: tuple[str, ...]) -> None:
    if workload.device != "cpu":
        raise Unavailable("compared on the CPU only")
    if workload.dtype not in dtypes:
        raise Unavailable(f"its CPU runtime computes in {' or '.join(dtypes)}, not in {workload.dtype}")
    try:
        importlib.import_module(package)
        importlib.import_module("onnx")
        importlib.import_module("onnxscript")
    except ImportError as error:
        raise Unavailable(f"{error.name or package} is not installed") from error


def _export(model: nn.Module, images: Tensor, path: Path) -> None:
    try:
        torch.onnx.export(model, (images,), str(path), dynamo=True, external_data=False)
    except Exception as error:  # the exporter may fail in any way on a model of others
        raise Unavailable(f"torch.onnx.export failed: {one_line(error, 200)}") from error


def _tensors(arrays: list[Any]) -> Output:
    tensors = [torch.from_numpy(array) for array in arrays]
    return tensors[0] if len(tensors) == 1 else tensors


@contextlib.contextmanager
def named() -> Iterator[None]:
    """Turn a failure into a reason: an engine of others may fail in any way, and the reader has to know."""
    try:
        yield
    except Unavailable:
        raise
    except Exception as error:
        raise Unavailable(f"{type(error).__name__}: {one_line(error, 200)}") from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep what exporters and compilers print out of the results."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
