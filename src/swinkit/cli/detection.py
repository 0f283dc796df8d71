"""What `swinkit eval` and `swinkit predict` do with a detector."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swinkit.cli.common import print_table, progress, stderr
from swinkit.cli.predict import free_names, report_skipped
from swinkit.errors import InputError
from swinkit.files import atomic_path

if TYPE_CHECKING:
    from swinkit.cli import eval as eval_command
    from swinkit.cli import predict as predict_command
    from swinkit.data.config import Split
    from swinkit.data.object_config import ObjectDataConfig
    from swinkit.data.objects import ObjectDataset
    from swinkit.detection.config import SelectConfig, ViewConfig
    from swinkit.detection.detector import Detector
    from swinkit.evaluate.coco_ap import ApReport
    from swinkit.evaluate.detection import DetectionReport

ROWS = 40
"""Most rows of a table; beyond, the worst classes or the first pictures are shown."""
SHOWN = 0.25
"""Least score that `swinkit predict` asks for. Detectors are published with a lower one, for the sake of
average precision; most of what they find so is noise to a person."""
LINES = "predictions.jsonl"
"""Results of a folder as they come, one picture a line, so that a stopped prediction can go on."""


def evaluate(args: "eval_command.Args", model: "Detector", device: Any) -> int:
    """Measure a detector on pictures with objects."""
    from swinkit.evaluate.detection import evaluate_detector
    from swinkit.evaluate.picture_detector import PictureDetector

    split, data = _open(args)
    select = _select(args, model.config.select)
    most = args.max_detections or (1, 10, max(100, select.most))
    detector = PictureDetector(model, select=select, view=_view(args))
    skipped: list[InputError] = []
    with progress() as bar:
        task = bar.add_task(f"evaluating on {split}", total=len(data))
        report, rows = evaluate_detector(
            detector,
            data,
            max_detections=most,
            on_picture=lambda: bar.advance(task),
            on_bad=skipped.append if args.skip_bad_pictures else None,
        )
    report_skipped(skipped, len(data))
    _print(report, args.model, split)
    if args.out is not None:
        rows = [{**row, "image_id": data.records[row["image_id"]].id} for row in rows]
        _write_report(report, rows, args, split)
    return 0


def evaluate_file(args: "eval_command.Args") -> int:
    """Score a COCO result file of any program against a COCO annotation file."""
    from swinkit.data.coco import read_truth
    from swinkit.evaluate.coco_ap import check_detections, coco_ap, read_detections
    from swinkit.evaluate.detection import DetectionReport

    assert args.detections is not None
    if args.data is None or not args.data.is_file():
        raise InputError("--detections needs the COCO annotation file it belongs to: add --data FILE.json.")
    truth = read_truth(args.data)
    rows = check_detections(read_detections(args.detections), truth, str(args.detections))
    most = args.max_detections or (1, 10, 100)
    boxed = all("bbox" in row for row in rows)
    outlined = bool(rows) and all("segmentation" in row for row in rows)
    known = all(item.get("segmentation") for item in truth["annotations"])
    boxes = coco_ap(truth, rows if boxed else [], "bbox", max_detections=most)
    masks = coco_ap(truth, rows, "segm", max_detections=most) if outlined and known else None
    report = DetectionReport(boxes, masks, math.nan)
    _print(report, args.model, args.data.name, boxes=boxed)
    if args.out is not None:
        _write_report(report, None, args, args.data.name)
    return 0


def predict(args: "predict_command.Args", model: "Detector", device: Any, paths: Sequence[Path]) -> int:
    """Find objects, one picture after the other; write COCO JSON, CSV and annotated pictures on request."""
    from swinkit.predictor_objects import ObjectPredictor

    suffix = "" if args.out is None else args.out.suffix.lower()
    to_file = suffix in (".json", ".csv")
    folder = None if to_file else args.out
    if args.save_pictures and folder is None:
        raise InputError("--save-pictures needs a folder: add --out FOLDER.")
    lines = _Lines(None if folder is None else folder / LINES, resume=args.resume)
    names = dict(zip(paths, free_names(paths), strict=True))
    left = [path for path in paths if str(path) not in lines.done]
    skipped: list[InputError] = []
    select = model.config.select
    select, view = _select(args, replace(select, score=max(select.score, SHOWN))), _view(args)
    predictor = ObjectPredictor(
        model, device=device, batch_size=min(args.batch_size, 4), select=select, view=view
    )
    with progress() as bar, lines:
        task = bar.add_task("predicting", total=len(paths), completed=len(paths) - len(left))

        def on_bad(error: InputError) -> None:
            skipped.append(error)
            bar.advance(task)

        for result in predictor.stream(left, on_bad=on_bad):
            if args.save_pictures and folder is not None and result.path is not None:
                result.save(folder / "pictures" / f"{names[result.path]}.png")
            lines.add(result.to_dict())
            bar.advance(task)
    if not lines.done:
        raise skipped[0]
    text = {"json": _coco_text, "csv": _csv_text}["csv" if "csv" in (args.format, suffix[1:]) else "json"]
    if args.out is not None:
        target = (
            args.out
            if to_file
            else args.out / f"predictions.{args.format or 'json'}".replace("table", "json")
        )
        with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8") as stream:
            stream.writelines(text(lines, predictor.names))
        stderr().print(f"wrote {target}")
    if args.format in ("json", "csv") and args.out is None:
        for piece in text(lines, predictor.names):
            print(piece, end="")
    else:
        _print_found(lines)
    report_skipped(skipped, len(left))
    return 0


class _Lines:
    """Results as they come: kept in memory, or in a file of JSON lines that can be gone on with.

    Args:
        path: the file; None for memory.
        resume: keep what is in the file.
    """

    def __init__(self, path: Path | None, *, resume: bool) -> None:
        self.path = path
        self.kept: list[dict[str, Any]] = []
        self.done: set[str] = set()
        if resume and path is None:
            raise InputError("--resume goes on with a folder: add --out FOLDER.")
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = list(self._whole(path)) if resume and path.is_file() else []
        with atomic_path(path) as temporary:  # without a last line that was cut off
            temporary.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
        self.done = {json.loads(line)["path"] for line in whole}

    def __enter__(self) -> "_Lines":
        self._stream = None if self.path is None else self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def add(self, row: dict[str, Any]) -> None:
        """Keep one picture's result."""
        self.done.add(row["path"])
        if self._stream is None:
            self.kept.append(row)
            return
        self._stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._stream.flush()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self.kept
        if self.path is not None:
            for line in self._whole(self.path):
                yield json.loads(line)

    @staticmethod
    def _whole(path: Path) -> Iterator[str]:
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                try:
                    json.loads(line)
                except ValueError:
                    continue
                yield line.rstrip("\n")


def _coco_text(rows: _Lines, names: Sequence[str]) -> Iterator[str]:
    """A COCO data set of what was found, with scores, in pieces; pictures and categories count from 1."""
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    yield f'{{"categories": {json.dumps(categories, ensure_ascii=False)}'
    for key, entries in (("images", _coco_images(rows)), ("annotations", _coco_annotations(rows))):
        yield f', "{key}": ['
        for number, entry in enumerate(entries):
            yield (", " if number else "") + json.dumps(entry, ensure_ascii=False)
        yield "]"
    yield "}\n"


def _coco_images(rows: _Lines) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows, start=1):
        yield {"id": number, "file_name": row["path"], "height": row["height"], "width": row["width"]}


def _coco_annotations(rows: _Lines) -> Iterator[dict[str, Any]]:
    count = 0
    for number, row in enumerate(rows, start=1):
        for item in row["objects"]:
            count += 1
            x1, y1, x2, y2 = item["box"]
            annotation = {
                "id": count,
                "image_id": number,
                "category_id": item["class"] + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "score": item["score"],
            }
            yield {**annotation, "segmentation": item["mask"]} if "mask" in item else annotation


def _csv_text(rows: _Lines, names: Sequence[str]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("path", "class", "name", "score", "x1", "y1", "x2", "y2"))
    for row in rows:
        for item in row["objects"]:
            corners = [f"{value:.2f}" for value in item["box"]]
            writer.writerow((row["path"], item["class"], item["name"], f"{item['score']:.6f}", *corners))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _print_found(rows: _Lines) -> None:
    shown, total, pictures = [], Counter(), 0
    for row in rows:
        pictures += 1
        counts = Counter(item["name"] for item in row["objects"])
        total += counts
        if pictures <= ROWS:
            text = ", ".join(f"{count} {name}" for name, count in counts.most_common(6)) or "nothing"
            shown.append((row["path"], f"{row['width']} x {row['height']}", text))
    title = f"The first {ROWS} of {pictures} pictures" if pictures > ROWS else ""
    print_table(("picture", "pixels", "found"), shown, title=title)
    if pictures > ROWS:
        print_table(("class", "objects"), total.most_common(ROWS), title="In all pictures")


def _select(args: Any, select: "SelectConfig") -> "SelectConfig":
    """How detections are chosen, with what the command line changes."""
    if args.soft_nms and args.nms not in (None, "soft"):
        raise InputError(f"--soft-nms is --nms soft, and --nms {args.nms} is asked for: give one of them.")
    if args.soft_nms or args.nms is not None:
        select = replace(select, nms=args.nms or "soft")
    if args.iou is not None:
        select = replace(select, iou=args.iou)
    if args.score is not None:
        select = replace(select, score=args.score)
    if args.most is not None:
        select = replace(select, most=args.most)
    return select


def _view(args: Any) -> "ViewConfig":
    from swinkit.detection.config import ViewConfig

    return ViewConfig(
        scales=args.scales or (1.0,),
        flip=args.flip,
        tile=args.tile,
        overlap=args.overlap,
        classes=getattr(args, "only", ()),
    )


def _open(args: "eval_command.Args") -> "tuple[str, ObjectDataset]":
    """The pictures to measure on: the split asked for, else test, else val; data without parts whole."""
    from swinkit.data.object_layout import has_part, open_objects

    config = _data_config(args)
    if args.split is not None:
        return args.split, open_objects(config, args.split)
    names: tuple[Split, ...] = ("test", "val")
    # A share that training held out is measured when the data are those of the run folder.
    looked = config if args.data is None else replace(config, val_fraction=0.0)
    parts: list[Split] = [
        part for part in names if config.path and config.path.is_dir() and has_part(looked, part)
    ]
    split: Split = parts[0] if parts else "all"
    return split, open_objects(looked, split)


def _data_config(args: "eval_command.Args") -> "ObjectDataConfig":
    from swinkit.data.object_config import ObjectDataConfig
    from swinkit.train.jobs import job_from_json

    config = ObjectDataConfig()
    written = Path(args.model) / "config.json"
    if written.is_file():
        job = job_from_json(written.read_text("utf-8"))
        assert isinstance(job.data, ObjectDataConfig)
        config = job.data if args.data is None else ObjectDataConfig()
    elif args.data is None:
        raise InputError(f"no data to measure {args.model} on: add --data FOLDER.")
    if args.kind not in ("auto", "coco", "yolo", "voc"):
        raise InputError(f"{args.model} is a detector: --kind coco, yolo or voc, not {args.kind}.")
    changes: dict[str, Any] = {"path": args.data, "kind": None if args.kind == "auto" else args.kind}
    changes["bad"] = "skip" if args.skip_bad_pictures else None
    return replace(config, **{name: value for name, value in changes.items() if value is not None})


def _print(report: "DetectionReport", model: str, split: str, *, boxes: bool = True) -> None:
    found = {"boxes": report.boxes if boxes else None, "masks": report.masks}
    shown = {name: part for name, part in found.items() if part is not None}
    speed = report.boxes.pictures / report.seconds if report.seconds > 0 else math.nan
    first = next(iter(shown.values()))
    names = [name for name in first.stats if name.startswith("AP")]
    rows = [
        (model, split, part.pictures, name, *(_percent(part.stats[key]) for key in names), _number(speed))
        for name, part in shown.items()
    ]
    print_table(("model", "split", "pictures", "of", *(f"{key} %" for key in names), "pictures/s"), rows)
    names = [name for name in first.stats if name.startswith("AR")]
    rows = [(name, *(_percent(part.stats[key]) for key in names)) for name, part in shown.items()]
    print_table(("of", *(f"{key} %" for key in names)), rows)
    _print_classes(next(reversed(shown.values())), next(reversed(shown)))


def _print_classes(part: "ApReport", name: str) -> None:
    rows = [row for row in part.per_class if row.objects]
    title = f"Every class, {name}"
    if len(rows) > ROWS:
        rows, title = sorted(rows, key=lambda row: row.ap)[:ROWS], f"The {ROWS} worst classes, {name}"
    print_table(
        ("class", "objects", "AP %", "AP50 %", "AP75 %", "recall %"),
        [(row.name, row.objects, *map(_percent, (row.ap, row.ap50, row.ap75, row.recall))) for row in rows],
        title=title,
    )


def _write_report(
    report: "DetectionReport", rows: list[dict[str, Any]] | None, args: "eval_command.Args", split: str
) -> None:
    assert args.out is not None
    body = {"model": args.model, "data": str(args.data), "split": split, **report.to_dict()}
    body["seconds"] = None if math.isnan(report.seconds) else report.seconds
    with atomic_path(args.out / "report.json") as temporary:
        temporary.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    written = ["report.json"]
    if rows is not None:
        with atomic_path(args.out / "detections.json") as temporary:
            temporary.write_text(json.dumps(rows) + "\n", encoding="utf-8")
        written.append("detections.json")
    stderr().print(f"wrote {', '.join(written)} in {args.out}")


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
