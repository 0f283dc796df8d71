"""Writing a model for other programs, checked against the model before the file takes its place."""

import io
import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from swinkit.backbones import SwinMixer, SwinTransformer
from swinkit.classification import Classifier
from swinkit.deploy.engines import onnx_session
from swinkit.deploy.fold import fold
from swinkit.deploy.forms import backbone_of
from swinkit.deploy.int8 import quantise
from swinkit.deploy.measure import output_list, relative_error
from swinkit.deploy.onnx_dynamic import to_dynamic_onnx
from swinkit.deploy.onnx_graph import to_onnx
from swinkit.deploy.onnx_nodes import to_bytes
from swinkit.deploy.optimized import Optimized
from swinkit.deploy.packages import openvino_core, require
from swinkit.errors import InputError, one_line
from swinkit.files import atomic_path
from swinkit.ops.windows import Pair, to_pair
from swinkit.spec import Preprocess, to_dict

Target = Literal["onnx", "torch", "openvino"]

SUFFIXES: dict[str, str] = {"onnx": ".onnx", "torch": ".pt2", "openvino": ".xml"}
"""How a file of each kind is called; OpenVINO puts its weights beside it, in a .bin of the same name."""

ALLOWED = 1e-4
"""Largest difference from the model in float32, relative to the largest output."""

Run = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file.
        error: largest difference from the model, relative to the largest output, on random and real pictures.
        checked: shapes (B, in_chans, H, W) it was run on.
    """

    path: Path
    error: float
    checked: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class _Plan:
    """What a writer is told: arguments of `export`, and the text that goes inside."""

    size: Pair
    dynamic: bool
    calibration: Sequence[Tensor] | None
    description: str


def export(
    model: nn.Module,
    out: str | os.PathLike[str],
    *,
    to: Target,
    size: Pair | None = None,
    dynamic: bool = False,
    pictures: Sequence[Tensor] = (),
    calibration: Sequence[Tensor] | None = None,
    preprocess: Preprocess | None = None,
) -> Exported:
    """Write a classifier or backbone for another program; the batch is always free.

    The file is run on random pictures, and on those given, in several batches (and sizes, if `dynamic`), and
    takes its place only if it computes what the model computes.

    Args:
        model: in any mode; exported as in evaluation, in float32.
        out: file to write, with the suffix in `SUFFIXES`.
        to: "onnx", "torch" (torch.export) or "openvino".
        size: (height, width) of the pictures; None for what the model is laid out for.
        dynamic: any height and width, instead of one size: slower, and not for "torch".
        pictures: real ones for the check, each (in_chans, H, W), prepared for the model, of `size` unless
            `dynamic`.
        calibration: pictures like those; when given, linear layers are quantised to 8 bits, for "onnx" and
            "openvino". Then the difference is reported and nothing is refused.
        preprocess: of a backbone: how its pictures are prepared, to be described inside the file; a
            classifier says so itself.

    Raises:
        InputError: the model, the target, a picture or the file's name do not fit, the file cannot be
            written, or a package is not installed.
        RuntimeError: what was written computes something else.
    """
    path = Path(out)
    _check(model, path, to, dynamic, calibration)
    float_model = _float32(model)
    size = to_pair(size if size is not None else _trunk(model).config.img_size)
    _check_pictures(_trunk(model), size, dynamic, [*pictures, *(calibration or ())])
    plan = _Plan(size, dynamic, calibration, _description(model, preprocess))
    with atomic_path(path) as temporary:
        write = {"onnx": _write_onnx, "torch": _write_torch, "openvino": _write_openvino}[to]
        try:
            write(float_model, temporary, plan)
            images = _examples(float_model, size, dynamic, pictures)
            error = _compare(float_model, READERS[to](temporary), images)
            if calibration is None and error > ALLOWED:
                raise RuntimeError(f"the exported file differs from the model by {error:.1e}: not written.")
            if to == "openvino":
                os.replace(temporary.with_suffix(".bin"), path.with_suffix(".bin"))
        finally:
            temporary.with_suffix(".bin").unlink(missing_ok=True)
    return Exported(path, error, tuple(dict.fromkeys(tuple(item.shape) for item in images)))


def _check(
    model: nn.Module, path: Path, to: str, dynamic: bool, calibration: Sequence[Tensor] | None
) -> None:
    if isinstance(model, Optimized):
        raise InputError("an optimised model is not exported: give the one it was made from.")
    if not isinstance(model, Classifier | SwinTransformer | SwinMixer):
        inside = isinstance(getattr(model, "backbone", None), SwinTransformer | SwinMixer)
        advice = (
            "export the backbone inside it (--backbone)" if inside else "other models have no export here"
        )
        raise InputError(
            f"export writes Swin classifiers and backbones, not a {type(model).__name__}: {advice}."
        )
    if to not in SUFFIXES:
        raise InputError(f"cannot export to {to!r}: choose from {', '.join(SUFFIXES)}.")
    if path.suffix != SUFFIXES[to]:
        raise InputError(f"a file for {to} ends in {SUFFIXES[to]}; got {path.name}.")
    if to == "torch" and dynamic:
        raise InputError(
            "torch.export does not keep the height and width of a Swin dynamic: it ties the padding to whole "
            "windows to the size of its example. Leave --dynamic out, or export to onnx or openvino."
        )
    if to == "torch" and calibration is not None:
        raise InputError("8 bits are for --to onnx and openvino; torch.export writes float32.")
    if calibration is not None and (not calibration or dynamic):
        raise InputError("8 bits need at least one picture to calibrate with, and a fixed size.")
    if to != "torch":
        require("onnx", f"export to {to}")
        require("onnxruntime" if to == "onnx" else "openvino", f"export to {to} (to check it)")


def _check_pictures(
    trunk: SwinTransformer | SwinMixer, size: Pair, dynamic: bool, pictures: Sequence[Tensor]
) -> None:
    if min(size) < 1:
        raise InputError(f"the size is a height and a width in pixels; got {size}.")
    in_chans = trunk.patch_embed.proj.in_channels
    for picture in pictures:
        if not isinstance(picture, Tensor):
            raise InputError(f"pictures must be tensors (in_chans, H, W); got {type(picture).__name__}.")
        fits = picture.dim() == 3 and picture.shape[0] == in_chans and picture.dtype == torch.float32
        if not fits or picture.device.type != "cpu" or (not dynamic and tuple(picture.shape[1:]) != size):
            sides = "H, W" if dynamic else f"{size[0]}, {size[1]}"
            raise InputError(
                f"pictures must be ({in_chans}, {sides}) of float32 on the CPU; got "
                f"{tuple(picture.shape)} of {picture.dtype} on {picture.device}."
            )
        if not picture.isfinite().all():
            raise InputError(
                "a picture for the check or for calibration holds NaN or infinity: leave it out."
            )


def _trunk(model: nn.Module) -> SwinTransformer | SwinMixer:
    trunk = backbone_of(model)
    assert isinstance(trunk, SwinTransformer | SwinMixer)
    return trunk


def _float32(model: nn.Module) -> nn.Module:
    """A copy on the CPU, in float32 and evaluation mode, unless the model is that already."""
    first = next(model.parameters())
    if first.dtype == torch.float32 and first.device.type == "cpu" and not model.training:
        return model
    from copy import deepcopy  # noqa: PLC0415

    return deepcopy(model).cpu().float().eval()


def _proto(model: nn.Module, plan: _Plan) -> Any:
    """The ONNX model, with the description of ours inside."""
    from onnx import helper  # noqa: PLC0415 (optional)

    eight = plan.calibration is not None
    proto = to_dynamic_onnx(model) if plan.dynamic else to_onnx(fold(model, plan.size), gemm=eight)
    if plan.calibration is not None:
        proto = quantise(proto, plan.calibration)
    helper.set_model_props(proto, {"swinkit": plan.description})
    return proto


def _description(model: nn.Module, preprocess: Preprocess | None) -> str:
    """The model as plain data, JSON: its specification; of a backbone its configuration and its pictures'."""
    spec = getattr(model, "spec", None)
    if spec is not None:
        return json.dumps(to_dict(spec))
    return json.dumps({"config": to_dict(model.config), "preprocess": to_dict(preprocess)})


def _write_onnx(model: nn.Module, path: Path, plan: _Plan) -> None:
    path.write_bytes(to_bytes(_proto(model, plan)))


def _write_openvino(model: nn.Module, path: Path, plan: _Plan) -> None:
    import openvino  # noqa: PLC0415 (optional)

    network = openvino_core().read_model(to_bytes(_proto(model, plan)))
    network.set_rt_info(plan.description, "swinkit")
    try:
        openvino.save_model(network, path, compress_to_fp16=False)
    except RuntimeError as error:  # how its writer says that the disk is full
        raise OSError(one_line(error, 200)) from error


def _write_torch(model: nn.Module, path: Path, plan: _Plan) -> None:
    example = torch.zeros(2, _trunk(model).patch_embed.proj.in_channels, *plan.size)
    form, batch = fold(model, plan.size), torch.export.Dim("batch")
    program = torch.export.export(form, (example,), dynamic_shapes=({0: batch},), strict=False)
    memory = io.BytesIO()  # on a full disk torch's own writer of files brings the whole process down
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own format's age
        torch.export.save(program, memory, extra_files={"swinkit.json": plan.description})
    path.write_bytes(memory.getbuffer())


def _examples(model: nn.Module, size: Pair, dynamic: bool, pictures: Sequence[Tensor]) -> list[Tensor]:
    """Random pictures in batches of 1 and 3, in more sizes if those are free, and the real ones."""
    in_chans = _trunk(model).patch_embed.proj.in_channels
    draw = torch.Generator().manual_seed(0)
    sizes = [size, (size[0] + 13, max(size[1] // 2, 1))] if dynamic else [size]
    images = [torch.randn(count, in_chans, *item, generator=draw) for item in sizes for count in (1, 3)]
    return images + [item[None] for item in pictures]


def _compare(model: nn.Module, run: Run, images: list[Tensor]) -> float:
    errors = []
    for batch in images:
        with torch.inference_mode():
            expected = output_list(model(batch))
        if not all(item.isfinite().all() for item in expected):
            raise InputError("the model's outputs are not finite: its weights hold NaN or infinity.")
        errors.append(relative_error(run(batch), expected))
    return max(errors)


def read_onnx(path: Path) -> Run:
    """A function that runs an ONNX file, in onnxruntime."""
    session = onnx_session(path)
    name = session.get_inputs()[0].name
    return lambda images: [torch.from_numpy(item) for item in session.run(None, {name: images.numpy()})]


def read_openvino(path: Path) -> Run:
    """A function that runs an OpenVINO file."""
    core = openvino_core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = core.compile_model(core.read_model(path), "CPU", settings)

    def run(images: Tensor) -> list[Tensor]:
        done = compiled(images.numpy())
        return [torch.from_numpy(done[port].copy()) for port in compiled.outputs]

    return run


def read_torch(path: Path) -> Run:
    """A function that runs a torch.export file."""
    module = torch.export.load(path).module()

    def run(images: Tensor) -> list[Tensor]:
        with torch.inference_mode():
            return output_list(module(images))

    return run


READERS: dict[str, Callable[[Path], Run]] = {
    "onnx": read_onnx,
    "torch": read_torch,
    "openvino": read_openvino,
}
"""Target -> how its file is run."""
