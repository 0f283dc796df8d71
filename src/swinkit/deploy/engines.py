"""The engines that can run a model's inference form, each behind one small interface.

An engine takes a model and an example and gives a function from pictures to outputs. It says why it cannot
run here instead of failing; nothing is skipped without a word.
"""

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from swinkit.deploy import fused
from swinkit.deploy.fold import fold, why_not
from swinkit.deploy.measure import in_turns
from swinkit.deploy.packages import missing, openvino_core
from swinkit.errors import InputError
from swinkit.layers.bands import has_hooks
from swinkit.machine import cpuinfo
from swinkit.ops import kernels

Outputs = Tensor | list[Tensor]
Run = Callable[[Tensor], Outputs]
"""Pictures (B, in_chans, H, W) to what the model gives."""

ROUNDS = 3
"""Times each form of one engine runs, after once to warm up."""

EngineName = Literal[
    "plain",
    "eager",
    "inductor",
    "inductor-autotune",
    "inductor-graphs",
    "fused",
    "fused-graphs",
    "onnxruntime",
    "openvino",
]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A way to run a model.

    Attributes:
        why_not: (model, device, dtype) -> why it cannot run here, None when it can.
        build: (model, example, dtype) -> a function for pictures of the example's shape.
        any_batch: whether that function takes other batches too.
        devices: kinds of device it is for.
        quick: whether it builds in seconds; the others are tried only when asked for by name.
    """

    why_not: Callable[[nn.Module, torch.device, torch.dtype], str | None]
    build: Callable[[nn.Module, Tensor, torch.dtype], Run]
    any_batch: bool
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
    return why_not(model)


def _compiles(model: nn.Module, device: torch.device, dtype: torch.dtype) -> str | None:
    if device.type == "cuda":
        return missing("triton")
    compilers = ("c++", "g++", "clang++", "cl")
    if not any(shutil.which(name) for name in compilers):
        return f"torch.compile needs a C++ compiler on a CPU: install one of {', '.join(compilers)}"
    return None


def _has_kernels(model: nn.Module, device: torch.device, dtype: torch.dtype) -> str | None:
    return kernels.missing(device.type) or fused.why_not(model) or _why_no_form(model)


def _outside(package: str, dtypes: tuple[torch.dtype, ...]) -> Callable[..., str | None]:
    """Check of an engine that reads our ONNX graph."""

    def check(model: nn.Module, device: torch.device, dtype: torch.dtype) -> str | None:
        if dtype not in dtypes:
            return f"{package} does not compute in {str(dtype).removeprefix('torch.')} on a CPU"
        return _why_no_form(model) or missing(package) or missing("onnx")

    return check


def _cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model in `dtype`; the caller's own is left as it is."""
    if next(model.parameters()).dtype == dtype:
        return model
    from copy import deepcopy  # noqa: PLC0415

    return deepcopy(model).to(dtype)


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
    """What torch's engines run: on a CPU the folded form, on a GPU the model with its own kernels."""
    if example.device.type == "cpu" and _why_no_form(model) is None:
        return fold(model, (example.shape[2], example.shape[3])).to(dtype)
    return _cast(model, dtype)


def _fused_form(model: nn.Module, example: Tensor, dtype: torch.dtype) -> nn.Module:
    return fused.fuse(model).to(dtype)


def _eager(model: nn.Module, example: Tensor, dtype: torch.dtype) -> Run:
    return _in_torch(fold(model, (example.shape[2], example.shape[3])).to(dtype), dtype)


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

    return fastest({count: in_pieces(run, count) for count in _counts(example)}, example)[1]


def _openvino(model: nn.Module, example: Tensor, dtype: torch.dtype) -> Run:
    from swinkit.deploy.onnx_graph import to_onnx  # noqa: PLC0415 (optional)
    from swinkit.deploy.onnx_nodes import to_bytes  # noqa: PLC0415 (optional)

    folded = fold(_cast(model, torch.float32), (example.shape[2], example.shape[3]))

    def form(graph: bytes, count: int) -> Run:
        run = _openvino_run(graph, [count, *example.shape[1:]], dtype, single=folded.single)
        return in_pieces(run, count)

    graph = to_bytes(to_onnx(folded))
    count, exact = fastest({count: form(graph, count) for count in _counts(example)}, example)
    if dtype != torch.float32:  # the polynomial needs its digits
        return exact
    graph = to_bytes(to_onnx(folded, polynomial=True))
    return fastest({"erf": exact, "polynomial": form(graph, count)}, example)[1]


def _openvino_run(graph: bytes, shape: list[int], dtype: torch.dtype, *, single: bool) -> Run:
    """Compile a graph for pictures of one shape."""
    core = openvino_core()
    network = core.read_model(graph)
    network.reshape(shape)
    compiled = core.compile_model(
        network,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
        },
    )
    request = compiled.create_infer_request()
    lock = threading.Lock()  # a request holds one picture's buffers

    def run(images: Tensor) -> Outputs:
        with lock:
            done = request.infer({0: images.detach().float().contiguous().numpy()}, share_inputs=True)
            found = [torch.from_numpy(done[port].copy()).to(images.dtype) for port in compiled.outputs]
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


def fastest(forms: dict[Any, Run], example: Tensor) -> tuple[Any, Run]:
    """Time forms of one engine; return the quickest and its name."""
    if len(forms) == 1:
        return next(iter(forms.items()))
    least = [min(seconds) for seconds in in_turns(list(forms.values()), example, ROUNDS)]
    return list(forms.items())[least.index(min(least))]


ENGINES: dict[str, Engine] = {
    "plain": Engine(why_not=_always, build=_plain, any_batch=True),
    "eager": Engine(why_not=_foldable, build=_eager, any_batch=True),
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
}
"""Name -> engine. "plain": the model as it is; "eager": its folded form; "inductor": compiled and frozen;
"fused": its form of our own kernels, compiled; "-graphs": replayed as a CUDA graph."""
