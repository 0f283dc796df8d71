"""`swinkit eval`: measure a model on labelled pictures."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from swinkit.cli.common import CommonArgs, parse, pick_device, print_table, progress, seed_everything, stderr
from swinkit.errors import InputError
from swinkit.files import atomic_path

if TYPE_CHECKING:
    from swinkit.data import DataConfig, Split
    from swinkit.evaluate import ClassificationReport

TASKS: dict[str, str] = {
    "SegmenterConfig": "swinkit.cli.segmentation:evaluate",
    "DetectorConfig": "swinkit.cli.detection:evaluate",
}
"""Task other than classification, by its configuration -> function (args, model, device) that measures it."""

ROWS = 40
"""Most rows of the per-class table; beyond, the classes recognised worst are shown."""


@dataclass(frozen=True, kw_only=True)
class Args(CommonArgs):
    """Arguments of `swinkit eval`.

    Attributes:
        model: a run folder, a checkpoint, or the name of a published one.
        data: folder of the pictures; without it, the data a run folder was trained on.
        kind: what the data is; auto recognises a folder of classes or of tar shards.
        split: the part to measure on; without it test if there is one, else val; a plain folder of classes
            whole, or only what was held out if the model was trained on it.
        out: folder for report.json, confusion.png and worst.png.
        batch_size: pictures at once.
        workers: loading processes; -1 chooses by the machine.
        skip_bad_pictures: name damaged pictures and leave them out, instead of stopping.
        worst: how many of the worst mistakes to keep.
        classes: segmentation: class file of the data.
        values: segmentation: the number that stands for each class in the masks.
        ignore: segmentation: numbers that stand for no class.
        scales: segmentation, detection: sizes each picture is read at, such as 0.5 0.75 1 1.25 1.5 1.75.
        flip: segmentation, detection: read each picture mirrored too.
        slide: segmentation: read by sliding crops.
        full_size: segmentation: read pictures at their own size, whatever the model was tested with.
        max_detections: detection: best detections a picture that count, for the three recalls; AP takes the
            last.
        score: detection: least score of a detection.
        most: detection: detections a picture, at most.
        soft_nms: detection: lower the scores of boxes that overlap better ones, instead of dropping them; the
            same as --nms soft.
        nms: detection: what happens to boxes that overlap better ones: hard: they go; soft: their scores fall
            (Gaussian); soft_linear: likewise, as mmdetection's soft_nms; none: they stay.
        iou: detection: overlap from which that happens (hard, soft_linear).
        tile: detection: search larger pictures in overlapping tiles of this side in pixels.
        overlap: detection: share of a tile that the next one covers too.
        detections: detection: score this COCO result file instead of running a model; MODEL is then only a
            name, such as "theirs".
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    data: Path | None = None
    kind: Literal[
        "auto",
        "folder",
        "digits",
        "cifar10",
        "cifar100",
        "imagenet",
        "webdataset",
        "masks",
        "ade20k",
        "coco",
        "yolo",
        "voc",
    ] = "auto"
    split: Literal["test", "val", "train"] | None = None
    out: Path | None = None
    batch_size: int = 64
    workers: int = -1
    skip_bad_pictures: bool = False
    worst: int = 16
    classes: Path | None = None
    values: tuple[int, ...] = ()
    ignore: tuple[int, ...] = ()
    scales: tuple[float, ...] = ()
    flip: bool = False
    slide: bool = False
    full_size: bool = False
    max_detections: tuple[int, int, int] | None = None
    score: float | None = None
    most: int | None = None
    soft_nms: bool = False
    nms: Literal["hard", "soft", "soft_linear", "none"] | None = None
    iou: float | None = None
    tile: int | None = None
    overlap: float = 0.2
    detections: Path | None = None


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    args = parse(
        Args,
        argv,
        prog="swinkit eval",
        description="Measure a model on labelled pictures: top-1, mean IoU or average precision.",
        examples=(
            "swinkit eval runs/flowers --data ./flowers/test --out report",
            "swinkit eval swin_tiny_patch4_window7_224 --data /data/imagenet --kind imagenet",
            "swinkit eval runs/blood --data ./blood --split test --out report",
            "swinkit eval theirs --detections results.json --data annotations.json",
            "swinkit eval runs/roads --data ./roads --split test --flip --out report",
        ),
    )
    if args.detections is not None:
        return import_module("swinkit.cli.detection").evaluate_file(args)
    import swinkit

    device = pick_device(args.device)
    seed_everything(args.seed)
    model: Any = swinkit.load(args.model, device=device)
    task = getattr(model, "spec", None)
    home = TASKS.get(type(getattr(task, "config", None)).__name__)
    if home is not None:
        module, _, name = home.partition(":")
        return getattr(import_module(module), name)(args, model, device)
    return _eval_classifier(args, model, device)


def _eval_classifier(args: Args, model: Any, device: Any) -> int:
    from swinkit.data import TransformedDataset, TransformedShards, build_loader, eval_transform
    from swinkit.evaluate import evaluate_classifier

    config, own = _data_config(args)
    split, data = _open(args, config, own=own)
    dataset = _in_model_order(data, model)
    wrap = TransformedDataset if hasattr(data, "__getitem__") else TransformedShards
    transformed = wrap(dataset, eval_transform(model.spec.preprocess))
    loader = build_loader(transformed, batch_size=args.batch_size, workers=args.workers)
    with progress() as bar:
        task = bar.add_task(f"evaluating on {split}", total=len(data))
        report = evaluate_classifier(
            model, loader, device, worst=args.worst, on_batch=lambda count: bar.advance(task, count)
        )
    _print(report, args.model, f"{split} (held out)" if own and split == "val" else split)
    if args.out is not None:
        _write(report, dataset, args, config, split)
    return 0


def _data_config(args: Args) -> "tuple[DataConfig, bool]":
    """Return the data, and whether it is what the model was trained on, divided as it was then."""
    from swinkit.data import DataConfig
    from swinkit.data.open import resolve_kind

    if args.kind in ("masks", "ade20k", "coco", "yolo", "voc"):
        raise InputError(f"--kind {args.kind} is for another task; {args.model} is a classifier.")
    config, own = DataConfig(kind=args.kind, path=args.data), False
    written = Path(args.model) / "config.json"
    if args.data is None and args.kind == "auto":
        if not written.is_file():
            raise InputError(
                f"no data to measure {args.model} on: add --data FOLDER (only a run folder has its own)."
            )
        try:
            config, own = _trained_on(written), True
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{written} does not say which data to use ({error}): add --data FOLDER."
            ) from error
    elif args.data is not None:
        # A folder of another program may have a config.json of its own, which says nothing here.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            trained = _trained_on(written)
            same = trained.path is not None and trained.path.resolve() == args.data.resolve()
            if same and args.kind in ("auto", resolve_kind(trained)):
                config, own = replace(trained, path=args.data), True
    bad_pictures = "skip" if args.skip_bad_pictures else config.bad_pictures
    # Every picture is read once here, so a cache would only cost memory.
    return replace(config, bad_pictures=bad_pictures, cache="off"), own


def _trained_on(written: Path) -> "DataConfig":
    from swinkit.data import DataConfig

    return DataConfig.from_json(json.loads(written.read_text("utf-8"))["data"])


def _open(args: Args, config: "DataConfig", *, own: bool) -> tuple[str, Any]:
    from swinkit.data import open_dataset
    from swinkit.data.folder import has_splits, split_folder
    from swinkit.data.open import has_validation, resolve_kind

    kind, root = resolve_kind(config), config.path
    split: Split = args.split or ("val" if kind in ("imagenet", "webdataset") else "test")
    if args.split is None and kind == "folder" and root is not None and root.is_dir():
        if not has_splits(root):
            split = "val" if own and has_validation(config) else "all"
            if own:
                what = (
                    "only on pictures it was not trained on" if split == "val" else "on what it learned from"
                )
                stderr().print(f"{args.model} was trained on {root}: measuring it {what}.")
        elif split_folder(root, "test") is None:
            split = "val"
    return split, open_dataset(config, split)


def _in_model_order(data: Any, model: Any) -> Any:
    from swinkit.evaluate import RelabelledDataset, match_classes

    names, count = model.spec.class_names, model.spec.config.num_classes
    mapping = match_classes(data.classes, names, count)
    if mapping == list(range(count)):
        return data
    if not hasattr(data, "__getitem__"):
        raise InputError(
            "classes.txt lists the classes in another order than the model: write them in its order."
        )
    return RelabelledDataset(data, mapping, names)


def _print(report: "ClassificationReport", model: str, split: str) -> None:
    speed = report.count / max(report.seconds, 1e-9)
    cells = {
        "model": model,
        "split": split,
        "pictures": report.count,
        "top-1 %": f"{100 * report.top1:.2f}",
        f"top-{report.top_k} %": f"{100 * report.top5:.2f}",
        "loss": f"{report.loss:.4f}",
        "pictures/s": f"{speed:.1f}",
    }
    if len(report.classes) <= report.top_k:  # nothing can be outside the top
        del cells[f"top-{report.top_k} %"]
    print_table(tuple(cells), [tuple(cells.values())])
    rows = [row for row in report.per_class if row.count]
    title = "Every class"
    if len(rows) > ROWS:
        rows = sorted(rows, key=lambda row: row.recall)[:ROWS]
        title = f"The {ROWS} classes recognised worst"
    print_table(
        ("class", "pictures", "accuracy %", "precision %"),
        [
            (
                row.name,
                row.count,
                f"{100 * row.recall:.1f}",
                "-" if row.precision != row.precision else f"{100 * row.precision:.1f}",
            )
            for row in rows
        ],
        title=title,
    )


def _write(
    report: "ClassificationReport", dataset: Any, args: Args, config: "DataConfig", split: str
) -> None:
    from swinkit.viz.evaluation import confusion_figure, worst_figure
    from swinkit.viz.style import save

    assert args.out is not None
    source = {"model": args.model, "data": None if config.path is None else str(config.path)}
    with atomic_path(args.out / "report.json") as temporary:
        text = json.dumps({**source, "split": split, **report.to_dict()}, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    written = ["report.json"]
    if report.confusion is not None:
        save(confusion_figure(report), args.out / "confusion.png")
        written.append("confusion.png")
    if hasattr(dataset, "__getitem__"):
        pictures = [dataset[case.index][0] for case in report.worst]
        save(worst_figure(report, pictures), args.out / "worst.png")
        written.append("worst.png")
    stderr().print(f"wrote {', '.join(written)} in {args.out}")
