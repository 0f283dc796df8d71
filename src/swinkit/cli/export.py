"""`swinkit export`: a model for other programs."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from swinkit.cli.common import CommonArgs, parse, seed_everything, stderr
from swinkit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from swinkit.spec import ModelSpec


@dataclass(frozen=True, kw_only=True)
class ExportArgs(CommonArgs):
    """Arguments of `swinkit export`.

    Attributes:
        model: a run folder, a checkpoint, or the name of a published one.
        to: onnx (any runtime), torch (a torch.export program) or openvino.
        out: file to write: .onnx, .pt2 or .xml (with a .bin beside it).
        size: height and width of the pictures, in pixels; the model's own when left out.
        dynamic: any height and width; slower than a fixed size. The batch is always free.
        backbone: the backbone alone, which gives one map a stage.
        int8: linear layers in 8 bits.
        calibrate: folder of pictures that show --int8 which values occur; some hundred are enough.
        picture: a real picture for the check; one of scikit-learn's digits when left out.
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    to: Literal["onnx", "torch", "openvino"]
    out: Path
    size: tuple[int, int] | None = None
    dynamic: bool = False
    backbone: bool = False
    int8: bool = False
    calibrate: Path | None = None
    picture: Path | None = None


def main(argv: Sequence[str]) -> int:
    """Export and say what was written and how exact it is."""
    args = parse(
        ExportArgs,
        argv,
        prog="swinkit export",
        description="Write a model for other programs. The file is run on random and real pictures first and "
        "takes its place only if it computes what the model computes.",
        examples=(
            "swinkit export runs/flowers --to onnx --out flowers.onnx",
            "swinkit export swin_tiny_patch4_window7_224 --to openvino --out tiny.xml --size 256 320",
        ),
    )
    if args.int8 != (args.calibrate is not None):
        raise InputError("--int8 and --calibrate FOLDER go together: 8 bits need pictures to calibrate with.")
    if args.size is not None and min(args.size) < 1:
        raise InputError(f"--size is a height and a width in pixels; got {args.size[0]} {args.size[1]}.")
    import swinkit
    from swinkit.deploy import export
    from swinkit.weights.io import spec_of

    seed_everything(args.seed)
    model = swinkit.load(args.model)
    spec = spec_of(model)
    if args.backbone:
        model = getattr(model, "backbone", model)
    size = args.size or spec.preprocess.size
    done = export(
        model,
        args.out,
        to=args.to,
        size=size,
        dynamic=args.dynamic,
        pictures=_real(spec, size, args.picture),
        calibration=None if args.calibrate is None else _folder(spec, size, args.calibrate),
        preprocess=dataclasses.replace(spec.preprocess, size=size),
    )
    shapes = ", ".join("x".join(map(str, shape)) for shape in done.checked)
    print(f"{done.path} ({args.to}, {_bytes(done.path) / 1e6:.1f} MB)")
    stderr().print(f"differs from the model by {done.error:.1e} of the largest output; checked on {shapes}")
    return 0


def _real(spec: "ModelSpec", size: tuple[int, int], path: Path | None) -> "list[Tensor]":
    """One real picture as the model gets it; none for a model of other than three channels."""
    from swinkit.data import DataConfig, open_picture
    from swinkit.data.digits import open_digits

    if len(spec.preprocess.mean) != 3:
        return []
    picture = open_picture(path) if path is not None else open_digits(DataConfig(kind="digits"), "test")[0][0]
    return [_transform(spec, size)(picture)]


def _folder(spec: "ModelSpec", size: tuple[int, int], folder: Path) -> "list[Tensor]":
    from swinkit.data import list_pictures, open_picture

    transform = _transform(spec, size)
    return [transform(open_picture(path)) for path in list_pictures([folder])]


def _transform(spec: "ModelSpec", size: tuple[int, int]) -> Any:
    from swinkit.data.transforms import eval_transform

    return eval_transform(dataclasses.replace(spec.preprocess, size=size))


def _bytes(path: Path) -> int:
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" and weights.exists() else 0)
