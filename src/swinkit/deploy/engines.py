"""The engines that can run a model's inference form, each behind one small interface.

An engine takes a model and an example and gives a function from pictures to outputs. It says why it cannot
run here instead of failing; nothing is skipped without a word.
"""

import logging
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from swinkit.deploy.float8 import to_float8
from swinkit.deploy.float8_linear import why_emulated
from swinkit.deploy.fold import fold
from swinkit.deploy.forms import why_no_form, why_no_kernels
from swinkit.deploy.fused import fuse
from swinkit.deploy.measure import in_turns
from swinkit.deploy.openvino_network import OpenVinoNetwork
from swinkit.deploy.packages import missing
from swinkit.deploy.report import short
from swinkit.deploy.twin import twin
from swinkit.errors import InputError, one_line
from swinkit.layers import WindowAttention
from swinkit.layers.bands import has_hooks
from swinkit.machine import cpuinfo
from swinkit.ops import triton_support
from swinkit.ops.window_attention import can_run as attention_can_run

logger = logging.getLogger(__name__)

Outputs = Tensor | list[Tensor]
Run = Callable[[Tensor], Outputs]
"""Pictures (B, in_chans, H, W) to what the model gives."""

ROUNDS = 3
"""Times each form of one engine runs, after once to warm up."""

EngineName = Literal[
    "plain",
    "eager",
    "native",
    "inductor",
    "inductor-autotune",
    "inductor-graphs",
    "fused",
    "fused-graphs",
    "onnxruntime",
    "openvino",
    "float8",
    "float8-inductor",
    "float8-graphs",
]

FLOAT8 = ("float8", "float8-inductor", "float8-graphs")
"""Those whose linear layers multiply in float8."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A way to run a model.

    Attributes:
        why_not: (model, device, dtype) -> why it cannot run here, None when it can.
        build: (model, example, dtype) -> a function for pictures of the example's shape.
        any_batch: whether that function takes other batches too.
        any_size: whether it takes other sizes and batches too.
        devices: kinds of device it is for.
        quick: whether it builds in seconds; the others are tried only when asked for by name.
    """

    why_not: Callable[[nn.Module, torch.device, torch.dtype], str | None]
    build: Callable[[nn.Module, Tensor, torch.dtype], Run]
    any_batch: bool
    any_size: bool = False
    devices: tuple[str, ...] = ("cpu", "cuda")
    quick: bool = True


def can_run(engine: str, model: nn.Module, device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why `engine` cannot run `model` in `dtype` on `device`, or None when it can.

    Raises:
        InputError: there is no such engine.
    """
    if engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}: choose from {', '.join(ENGINES)}.")
    if device.type not in ENGINES[engine].devices:
        return f"it is for {' and '.join(ENGINES[engine].devices)}, not for {device.type}"
    return ENGINES[engine].why_not(model, device, dtype)


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; elsewhere it is emulated and slow."""
    return bool(set(cpuinfo().split()) & {"avx512_bf16", "amx_bf16", "bf16"})


def _always(model: nn.Module, device: torch.device, dtype: torch.dtype) -> str | None:
    return None


def _foldable(model: nn.Module, device: torch.device, dtype: torch.dtype) -> str | None:
    return _why_no_form(model)


def _why_no_form(model: nn.Module) -> str | None:
    """Why the folded form cannot stand for a model, None when it can."""
    if any(has_hooks(item) for item in model.modules()):
        return "it has forward hooks, which a folded form would not call"
    return why_no_form(model)


def _on_the_matrix_unit(model: nn.Module, device: torch.device, dtype: torch.dtype) -> str | None:
    from swinkit.deploy.native import why_not_native  # noqa: PLC0415 (may compile the kernels)

    if dtype != torch.bfloat16:
        return f"its kernels are for bfloat16, not for {short(dtype)}"
    return _why_no_form(model) or why_not_native(model)


def _compiles(model: nn.Module, device: torch.device, dtype: torch.dtype) -> str | None:
    if device.type == "cuda":
        return missing("triton")
    compilers = ("c++", "g++", "clang++", "cl")
    if not any(shutil.which(name) for name in compilers):
        return f"torch.compile needs a C++ compiler on a CPU: install one of {', '.join(compilers)}"
    return None


def _multiplies_float8(model: nn.Module, device: torch.device, dtype: torch.dtype) -> str | None:
    reason = why_emulated(device) or _why_no_form(model)
    if reason is None and dtype != torch.bfloat16:
        return f"float8 is computed beside bfloat16, not {short(dtype)}"
    return reason


def _compiles_float8(model: nn.Module, device: torch.device, dtype: torch.dtype) -> str | None:
    return _compiles(model, device, dtype) or _multiplies_float8(model, device, dtype)


def _has_kernels(model: nn.Module, device: torch.device, dtype: torch.dtype) -> str | None:
    return triton_support.missing(device.type) or why_no_kernels(model) or _why_no_form(model)


def _outside(package: str, dtypes: tuple[torch.dtype, ...]) -> Callable[..., str | None]:
    """Check of an engine that reads our ONNX graph."""

    def check(model: nn.Module, device: torch.device, dtype: torch.dtype) -> str | None:
        if dtype not in dtypes:
            return f"{package} does not compute in {short(dtype)} on a CPU"
        return _why_no_form(model) or missing(package) or missing("onnx")

    return check


def _cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model in `dtype` and evaluation mode; the caller's own is left as it is."""
    return twin(model).to(dtype)


def _in_torch(module: Callable[[Tensor], Outputs], dtype: torch.dtype) -> Run:
    """Cast pictures to `dtype` and outputs back. Outputs are ordinary tensors: a head may train on them."""

    def run(images: Tensor) -> Outputs:
        with torch.no_grad():
            out = module(images.to(dtype))
            if isinstance(out, Tensor):
                return out.to(images.dtype)
            return [item.to(images.dtype) for item in out]

    return run


def _plain(model: nn.Module, example: Tensor, dtype: torch.dtype) -> Run:
    return _in_torch(_cast(model, dtype), dtype)


def _form(model: nn.Module, example: Tensor, dtype: torch.dtype) -> nn.Module:
    """What inductor compiles: the model, where window attention has kernels of ours; else the folded form."""
    if example.device.type == "cpu" and _why_no_form(model) is None and not _attends_by_kernels(model, dtype):
        return fold(model, (example.shape[2], example.shape[3])).to(dtype)
    return _cast(model, dtype)


def _attends_by_kernels(model: nn.Module, dtype: torch.dtype) -> bool:
    """Whether a model on a CPU has windows, and compiled kernels for them."""
    attentions = [item for item in model.modules() if isinstance(item, WindowAttention)]
    if not attentions or any(item.impl not in ("auto", "native") for item in attentions):
        return False
    return attention_can_run("native", torch.empty(0, 1, 1, 3, 1, 1, dtype=dtype)) is None


def _fused_form(model: nn.Module, example: Tensor, dtype: torch.dtype) -> nn.Module:
    return fuse(model).to(dtype)


def _eager(model: nn.Module, example: Tensor, dtype: torch.dtype) -> Run:
    return _in_torch(fold(model, (example.shape[2], example.shape[3])).to(dtype), dtype)


def _native(model: nn.Module, example: Tensor, dtype: torch.dtype) -> Run:
    from swinkit.deploy.native import NativeModel  # noqa: PLC0415 (may compile the kernels)

    return NativeModel(model)


def _inductor(
    mode: str | None, form: Callable[[nn.Module, Tensor, torch.dtype], nn.Module] = _form
) -> Callable[[nn.Module, Tensor, torch.dtype], Run]:
    """Builder of a form of the model that is compiled in one of torch's modes, with its weights frozen."""

    def build(model: nn.Module, example: Tensor, dtype: torch.dtype) -> Run:
        import torch._inductor.config as inductor  # noqa: PLC0415 (slow to import)

        options: dict[str, Any] = dict(torch._inductor.list_mode_options(mode)) if mode else {}
        with inductor.patch(freezing=True):
            compiled = torch.compile(
                form(model, example, dtype), dynamic=False, options={**options, "freezing": True}
            )
            run = _in_torch(compiled, dtype)
            run(example)  # compiles while weights may be frozen
        return run

    return build


def _in_float8(build: Callable[[nn.Module, Tensor, torch.dtype], Run]) -> Callable[..., Run]:
    """An engine of torch for the model with float8 layers; see `to_float8`."""
    return lambda model, example, dtype: build(to_float8(model), example, dtype)


def onnx_session(graph: bytes | Path) -> Any:
    """An onnxruntime session on the CPU, with as many threads as torch has, of a graph or its file."""
    import onnxruntime  # noqa: PLC0415 (optional)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _onnxruntime(model: nn.Module, example: Tensor, dtype: torch.dtype) -> Run:
    from swinkit.deploy.onnx_graph import to_onnx  # noqa: PLC0415 (optional)
    from swinkit.deploy.onnx_nodes import to_bytes  # noqa: PLC0415 (optional)

    folded = fold(_cast(model, torch.float32), (example.shape[2], example.shape[3]))
    session = onnx_session(to_bytes(to_onnx(folded)))
    name = session.get_inputs()[0].name

    def run(images: Tensor) -> Outputs:
        arrays = session.run(None, {name: images.detach().float().contiguous().numpy()})
        found = [torch.from_numpy(array).to(images.dtype) for array in arrays]
        return found[0] if folded.single else found

    forms = {count: partial(in_pieces, run, count) for count in _counts(example)}
    return fastest(forms, example)[1]


def _openvino(model: nn.Module, example: Tensor, dtype: torch.dtype) -> Run:
    from swinkit.deploy.onnx_graph import to_onnx  # noqa: PLC0415 (optional)
    from swinkit.deploy.onnx_nodes import to_bytes  # noqa: PLC0415 (optional)

    folded = fold(_cast(model, torch.float32), (example.shape[2], example.shape[3]))

    def form(graph: bytes, count: int) -> Run:
        run = _openvino_run(graph, [count, *example.shape[1:]], dtype, single=folded.single)
        return in_pieces(run, count)

    def polynomial() -> Run:
        return form(to_bytes(to_onnx(folded, polynomial=True)), count)

    graph = to_bytes(to_onnx(folded))
    count, exact = fastest({count: partial(form, graph, count) for count in _counts(example)}, example)
    if dtype != torch.float32:  # the polynomial needs its digits
        return exact
    return fastest({"erf": lambda: exact, "polynomial": polynomial}, example)[1]


def _openvino_run(graph: bytes, shape: list[int], dtype: torch.dtype, *, single: bool) -> Run:
    """Compile a graph for pictures of one shape."""
    precision = "bf16" if dtype == torch.bfloat16 else "f32"
    network = OpenVinoNetwork(graph, threads=torch.get_num_threads(), precision=precision, shape=shape)
    lock = threading.Lock()

    def run(images: Tensor) -> Outputs:
        with lock:
            arrays = network(images.detach().float().contiguous().numpy())
            found = [torch.from_numpy(array.copy()).to(images.dtype) for array in arrays]
        return found[0] if single else found

    return run


def _counts(example: Tensor) -> list[int]:
    """Pictures a call worth trying: all of them, or one, whose numbers stay in the cache."""
    return sorted({1, len(example)})


def in_pieces(run: Run, count: int) -> Run:
    """Run `count` pictures at a time; a batch must be a multiple of it, or `run` take any batch."""

    def pieces(images: Tensor) -> Outputs:
        if len(images) <= count:
            return run(images)
        found = [run(part) for part in images.split(count)]
        if isinstance(found[0], Tensor):
            return torch.cat([item for item in found if isinstance(item, Tensor)])
        return [torch.cat(list(maps)) for maps in zip(*found, strict=True)]

    return pieces


def fastest(forms: dict[Any, Callable[[], Run]], example: Tensor) -> tuple[Any, Run]:
    """Build and time forms of one engine; return the quickest's name and the quickest.

    One that cannot be built or does not run is left out, and the log says why.

    Raises:
        RuntimeError: none runs; it says why of each.
    """
    if len(forms) == 1:
        return next((name, make()) for name, make in forms.items())
    able: dict[Any, Run] = {}
    reasons: dict[Any, str] = {}
    for name, make in forms.items():
        try:
            run = make()
            run(example)
            able[name] = run
        except Exception as error:  # an engine of others may fail in any way
            reasons[name] = f"form {name!r}: {type(error).__name__}: {one_line(error, 200)}"
            logger.info("left out %s", reasons[name])
    if not able:
        raise RuntimeError("; ".join(reasons.values()))
    least = [min(seconds) for seconds in in_turns(list(able.values()), example, ROUNDS)]
    return list(able.items())[least.index(min(least))]


ENGINES: dict[str, Engine] = {
    "plain": Engine(why_not=_always, build=_plain, any_batch=True, any_size=True),
    "eager": Engine(why_not=_foldable, build=_eager, any_batch=True),
    "native": Engine(
        why_not=_on_the_matrix_unit, build=_native, any_batch=True, any_size=True, devices=("cpu",)
    ),
    "inductor": Engine(why_not=_compiles, build=_inductor(None), any_batch=False),
    "inductor-autotune": Engine(
        why_not=_compiles, build=_inductor("max-autotune"), any_batch=False, quick=False
    ),
    "inductor-graphs": Engine(
        why_not=_compiles, build=_inductor("reduce-overhead"), any_batch=False, devices=("cuda",)
    ),
    "fused": Engine(
        why_not=_has_kernels, build=_inductor(None, _fused_form), any_batch=False, devices=("cuda",)
    ),
    "fused-graphs": Engine(
        why_not=_has_kernels,
        build=_inductor("reduce-overhead", _fused_form),
        any_batch=False,
        devices=("cuda",),
    ),
    "onnxruntime": Engine(
        why_not=_outside("onnxruntime", (torch.float32,)),
        build=_onnxruntime,
        any_batch=True,
        devices=("cpu",),
    ),
    "openvino": Engine(
        why_not=_outside("openvino", (torch.float32, torch.bfloat16)),
        build=_openvino,
        any_batch=False,
        devices=("cpu",),
    ),
    "float8": Engine(
        why_not=_multiplies_float8,
        build=_in_float8(_plain),
        any_batch=True,
        devices=("cuda",),
        quick=False,
    ),
    "float8-inductor": Engine(
        why_not=_compiles_float8,
        build=_in_float8(_inductor(None)),
        any_batch=False,
        devices=("cuda",),
        quick=False,
    ),
    "float8-graphs": Engine(
        why_not=_compiles_float8,
        build=_in_float8(_inductor("reduce-overhead")),
        any_batch=False,
        devices=("cuda",),
        quick=False,
    ),
}
"""Name -> engine.

"plain" is the model as it is, "eager" its folded form, "native" our C++ kernels on a CPU's matrix unit.
"inductor" is compiled with its weights frozen: the model where our kernels attend, else its folded form.
"fused" is its form on our GPU kernels, compiled alike. "onnxruntime" and "openvino" run the folded form as
an ONNX graph. "float8" has linear layers in float8. "-graphs" is replayed as a CUDA graph, "-autotune"
tries several programs for each matrix product.
"""
