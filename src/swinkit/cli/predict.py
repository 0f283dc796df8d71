"""`swinkit predict`: classify pictures, as a table, JSON or CSV, with annotated pictures on request."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from swinkit.cli.common import CommonArgs, parse, pick_device, print_table, progress, seed_everything, stderr
from swinkit.errors import InputError
from swinkit.files import atomic_path

if TYPE_CHECKING:
    from swinkit.predictor import ClassificationResult


TASKS: dict[str, str] = {
    "SegmenterConfig": "swinkit.cli.segmentation:predict",
    "DetectorConfig": "swinkit.cli.detection:predict",
}
"""Task other than classification, by its configuration -> function (args, model, device, paths) that applies
it."""


@dataclass(frozen=True, kw_only=True)
class Args(CommonArgs):
    """Arguments of `swinkit predict`.

    Attributes:
        model: a run folder, a checkpoint, or the name of a published one.
        inputs: pictures, folders (searched in depth) or patterns.
        out: a .json or .csv file, or a folder for predictions.json (or .csv) and pictures.
        format: what is printed, or with --out written.
        top_k: classes a picture.
        save_pictures: write every picture with its classes below it into the --out folder.
        batch_size: pictures at once.
        polygons: segmentation: outlines of every region in the JSON.
        least: segmentation: outlines of smaller regions, in pixels, are left out.
        scales: segmentation, detection: sizes each picture is read at, such as 0.5 0.75 1 1.25 1.5 1.75.
        flip: segmentation, detection: read each picture mirrored too.
        slide: segmentation: read by sliding crops.
        full_size: segmentation: read pictures at their own size, large ones in tiles, whatever the model was
            tested with.
        score: detection: least score; without it the model's own, but at least 0.25.
        most: detection: objects a picture, at most.
        only: detection: names of the classes to search for.
        soft_nms: detection: lower the scores of boxes that overlap better ones, instead of dropping them; the
            same as --nms soft.
        nms: detection: what happens to boxes that overlap better ones: hard: they go; soft: their scores fall
            (Gaussian); soft_linear: likewise, as mmdetection's soft_nms; none: they stay.
        iou: detection: overlap from which that happens (hard, soft_linear).
        tile: detection: search larger pictures in overlapping tiles of this side in pixels.
        overlap: detection: share of a tile that the next one covers too.
        resume: detection: go on with an --out folder whose prediction was stopped.
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    inputs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="INPUTS...")]
    out: Path | None = None
    format: Literal["table", "json", "csv"] | None = None
    top_k: int = 5
    save_pictures: bool = False
    batch_size: int = 16
    polygons: bool = False
    least: int = 1
    scales: tuple[float, ...] = ()
    flip: bool = False
    slide: bool = False
    full_size: bool = False
    score: float | None = None
    most: int | None = None
    only: tuple[str, ...] = ()
    soft_nms: bool = False
    nms: Literal["hard", "soft", "soft_linear", "none"] | None = None
    iou: float | None = None
    tile: int | None = None
    overlap: float = 0.2
    resume: bool = False


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    args = parse(
        Args,
        argv,
        prog="swinkit predict",
        description="Apply a model to pictures: classes, objects, or masks. Damaged ones are left out.",
        examples=(
            "swinkit predict runs/flowers photos/ --out out --save-pictures",
            "swinkit predict swin_tiny_patch4_window7_224 'photos/*.jpg' --format csv --top-k 1",
            "swinkit predict runs/blood slides/ --out out --save-pictures --score 0.5",
            "swinkit predict runs/roads aerial.tif --out out --save-pictures --polygons",
        ),
    )
    target, file_format = _target(args)
    import swinkit
    from swinkit.data import list_pictures

    device = pick_device(args.device)
    seed_everything(args.seed)
    if not args.inputs:
        raise InputError("nothing to predict: name pictures, folders or patterns after the model.")
    paths = list_pictures(args.inputs)
    model: Any = swinkit.load(args.model, device=device)
    home = TASKS.get(type(getattr(getattr(model, "spec", None), "config", None)).__name__)
    if home is not None:
        module, _, name = home.partition(":")
        return getattr(import_module(module), name)(args, model, device, paths)
    predictor = swinkit.Predictor(model, device=device, batch_size=args.batch_size, top_k=args.top_k)
    results, skipped = collect(predictor.stream, paths, "predicting")
    if target is not None:
        with atomic_path(target) as temporary:
            temporary.write_text(TEXT[file_format](results), encoding="utf-8")
        stderr().print(f"wrote {target}")
    if args.save_pictures:
        assert args.out is not None  # _target checked
        _save_pictures(results, args.out)
    if args.format == "table" or (args.format is None and file_format == "json" and not _is_file(args.out)):
        _print_table(results, args.top_k)
    elif target is None:
        print(TEXT[file_format](results), end="")
    report_skipped(skipped, len(paths))
    return 0


def collect(run: Callable[..., Any], paths: Sequence[Path], what: str) -> tuple[list[Any], list[InputError]]:
    """Run a predictor over `paths` with a progress bar; return its results and what could not be read.

    Raises:
        InputError: nothing could be read; for a single picture its own error.
    """
    skipped: list[InputError] = []
    results: list[Any] = []
    with progress() as bar:
        task = bar.add_task(what, total=len(paths))

        def on_bad(error: InputError) -> None:
            skipped.append(error)
            bar.advance(task)

        for result in run(paths, on_bad=on_bad):
            results.append(result)
            bar.advance(task)
    if not results and len(skipped) == 1:
        raise skipped[0]
    if not results:
        raise InputError(f"none of the {len(paths)} pictures could be read; the first: {skipped[0]}")
    return results, skipped


def report_skipped(skipped: Sequence[InputError], total: int) -> None:
    """List on stderr what was left out."""
    if skipped:
        stderr().print(f"left out {len(skipped)} of {total} pictures:")
        for error in skipped:
            stderr().print(f"  {error}", soft_wrap=True)


def _target(args: Args) -> tuple[Path | None, str]:
    """The file to write, if any, and its format."""
    file_format = "csv" if args.format == "csv" else "json"
    if args.save_pictures and (args.out is None or _is_file(args.out)):
        raise InputError("--save-pictures needs a folder: add --out FOLDER.")
    if args.out is None:
        return None, file_format
    if not _is_file(args.out):
        if args.out.is_file():
            raise InputError(
                f"--out {args.out} is a file that is no .json or .csv: choose a folder or such a name."
            )
        return args.out / f"predictions.{file_format}", file_format
    suffix = args.out.suffix.lower().lstrip(".")
    if args.format not in (None, "table", suffix):
        raise InputError(f"--format {args.format} does not fit --out {args.out}: make them agree.")
    return args.out, suffix


def _is_file(out: Path | None) -> bool:
    return out is not None and out.suffix.lower() in (".json", ".csv") and not out.is_dir()


def _print_table(results: Sequence["ClassificationResult"], top_k: int) -> None:
    shown = min(top_k, 3)
    rows = []
    for result in results:
        others = ", ".join(f"{item.name} {item.probability:.1%}" for item in result.top[1:shown])
        rows.append((result.path, result.name, f"{100 * result.probability:.1f}", others))
    columns = ("picture", "class", "%", "then")
    print_table(columns if shown > 1 else columns[:3], [row if shown > 1 else row[:3] for row in rows])


def _json_text(results: Sequence["ClassificationResult"]) -> str:
    return json.dumps([result.to_dict() for result in results], indent=2, ensure_ascii=False) + "\n"


def _csv_text(results: Sequence["ClassificationResult"]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("path", "rank", "class", "name", "probability"))
    for result in results:
        for rank, item in enumerate(result.top, 1):
            writer.writerow((result.path, rank, item.index, item.name, f"{item.probability:.6f}"))
    return buffer.getvalue()


TEXT: dict[str, Callable[[Sequence["ClassificationResult"]], str]] = {"json": _json_text, "csv": _csv_text}
"""Format of a file -> function that writes it."""


def free_names(paths: Sequence[Path | None]) -> list[str]:
    """A file name without ending for each picture, no two alike."""
    names: list[str] = []
    used: set[str] = set()
    for path in paths:
        assert path is not None
        name, number = path.stem, 1
        while name in used:  # a.jpg beside a.png, or the same name in two folders
            number += 1
            name = f"{path.stem}-{number}"
        used.add(name)
        names.append(name)
    return names


def _save_pictures(results: Sequence["ClassificationResult"], folder: Path) -> None:
    for result, name in zip(results, free_names([item.path for item in results]), strict=True):
        result.save(folder / f"{name}.png")
    stderr().print(f"wrote {len(results)} pictures in {folder}")
