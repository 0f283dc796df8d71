"""What `swinkit eval` and `swinkit predict` do with a segmenter."""

import json
import math
from collections.abc import Sequence
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
    from swinkit.data.mask_config import MaskDataConfig
    from swinkit.data.masks import MaskDataset
    from swinkit.evaluate.segmentation import SegmentationReport
    from swinkit.predictor_masks import SegmentationResult
    from swinkit.segmentation.config import InferenceConfig
    from swinkit.segmentation.segmenter import Segmenter


def evaluate(args: "eval_command.Args", model: "Segmenter", device: Any) -> int:
    """Measure a segmenter on pictures with masks."""
    from swinkit.evaluate.segmentation import evaluate_segmenter

    split, data = _open(args)
    _check_classes(data, model)
    model.set_inference(_inference(args, model.config.inference))
    with progress() as bar:
        task = bar.add_task(f"evaluating on {split}", total=len(data))
        report = evaluate_segmenter(model, data, device, on_picture=lambda: bar.advance(task))
    _print(report, args.model, split)
    if args.out is not None:
        _write(report, data, model, args, split)
    return 0


def predict(args: "predict_command.Args", model: "Segmenter", device: Any, paths: Sequence[Path]) -> int:
    """Write masks, and overlays and polygons on request, one picture at a time."""
    from swinkit.predictor_masks import MaskPredictor

    _refuse_other_options(args)
    if args.format == "csv" or (args.out is not None and args.out.suffix.lower() == ".csv"):
        raise InputError("masks do not fit into CSV: use --format json, or --out FOLDER for mask pictures.")
    to_file = args.out is not None and args.out.suffix.lower() == ".json"
    folder = None if to_file else args.out
    if args.save_pictures and folder is None:
        raise InputError("--save-pictures needs a folder: add --out FOLDER.")
    skipped: list[InputError] = []
    rows: list[dict[str, Any]] = []
    names = dict(zip(paths, free_names(paths), strict=True))
    with progress() as bar:
        task = bar.add_task("predicting", total=len(paths))
        tiles = bar.add_task("tiles of this picture", total=1, visible=False)

        def on_tile(done: int, total: int) -> None:
            bar.update(tiles, completed=done, total=total, visible=done < total)

        def on_bad(error: InputError) -> None:
            skipped.append(error)
            bar.advance(task)

        inference = _inference(args, model.config.inference)
        predictor = MaskPredictor(model, device=device, inference=inference, on_tile=on_tile)
        for result in predictor.stream(paths, on_bad=on_bad):
            rows.append(result.to_dict(polygons=args.polygons, least=args.least))
            if folder is not None:
                assert result.path is not None
                _save(result, folder, names[result.path], overlays=args.save_pictures)
            bar.advance(task)
    if not rows:
        raise skipped[0]
    text = json.dumps(rows, ensure_ascii=False) + "\n"
    if args.out is not None:
        target = args.out if to_file else args.out / "predictions.json"
        with atomic_path(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
        stderr().print(f"wrote {len(rows)} masks into {args.out}" if folder else f"wrote {target}")
    if args.format == "json":
        print(text, end="")
    else:
        _print_shares(rows)
    report_skipped(skipped, len(paths))
    return 0


def _refuse_other_options(args: "predict_command.Args") -> None:
    """An option that does nothing here would be taken for one that works."""
    others = {"--score": args.score, "--most": args.most, "--only": args.only, "--soft-nms": args.soft_nms}
    others |= {"--tile": args.tile, "--resume": args.resume, "--nms": args.nms, "--iou": args.iou}
    given = next((name for name, value in others.items() if value), None)
    if given is not None:
        tiles = "; large pictures are cut into tiles without being asked" if given == "--tile" else ""
        raise InputError(f"{given} is for detection, and {args.model} is a segmenter: leave it out{tiles}.")
    if args.least < 1:
        raise InputError(f"--least must be at least 1 pixel; got {args.least}.")


def _save(result: "SegmentationResult", folder: Path, name: str, *, overlays: bool) -> None:
    result.save_mask(folder / "masks" / f"{name}.png")
    if overlays:
        result.save(folder / "overlays" / f"{name}.png")


def _print_shares(rows: Sequence[dict[str, Any]]) -> None:
    shown = []
    for row in rows:
        text = ", ".join(f"{name} {share:.1%}" for name, share in list(row["shares"].items())[:5])
        shown.append((row["path"], f"{row['width']} x {row['height']}", text))
    print_table(("picture", "pixels", "shares"), shown)


def _inference(args: Any, inference: "InferenceConfig") -> "InferenceConfig":
    """The model's way of reading pictures with what the command line changes."""
    if args.scales:
        inference = replace(inference, scales=args.scales)
    if args.flip:
        inference = replace(inference, flip=True)
    if args.slide:
        inference = replace(inference, mode="slide")
    if args.full_size:
        inference = replace(inference, short_side=None, long_side=None)
    return inference


def _open(args: "eval_command.Args") -> "tuple[str, MaskDataset]":
    """The masks to measure on: the split asked for, else test, else val; a folder without splits whole, or if
    the model was trained on it what was held out."""
    from swinkit.data.masks import find_folders, open_masks

    config, own = _data_config(args)
    root = config.path
    split: Split | None = args.split
    if split is None and root is not None and root.is_dir():
        split = "all"
        if find_folders(root, "test") is not None:
            split = "test"
        elif find_folders(root, "val") is not None:
            split = "val"
        elif own:
            held_out = config.val_fraction > 0
            split = "val" if held_out else "all"
            what = "only on pictures it was not trained on" if held_out else "on what it learned from"
            stderr().print(f"{args.model} was trained on {root}: measuring it {what}.")
    chosen: Split = split or "test"
    return chosen, open_masks(config, chosen)


def _data_config(args: "eval_command.Args") -> "tuple[MaskDataConfig, bool]":
    """Return the data, and whether it is what the model was trained on, divided as it was then."""
    from swinkit.data.mask_config import MaskDataConfig
    from swinkit.train.jobs import job_from_json

    config, own = MaskDataConfig(), False
    written = Path(args.model) / "config.json"
    if written.is_file():  # a run folder knows how its masks are to be read
        job = job_from_json(written.read_text("utf-8"))
        assert isinstance(job.data, MaskDataConfig)
        config = job.data
        trained = config.path is not None and config.path.resolve()
        own = args.data is None or args.data.resolve() == trained
    elif args.data is None:
        raise InputError(f"no data to measure {args.model} on: add --data FOLDER.")
    if args.kind not in ("auto", "masks", "ade20k"):
        raise InputError(f"{args.model} is a segmenter: --kind masks or ade20k, not {args.kind}.")
    changes: dict[str, Any] = {"path": args.data, "classes": args.classes}
    changes |= {"values": args.values or None, "ignore": args.ignore or None}
    changes |= {"kind": None if args.kind == "auto" else args.kind}
    return replace(config, **{name: value for name, value in changes.items() if value is not None}), own


def _check_classes(data: "MaskDataset", model: "Segmenter") -> None:
    count, names = model.config.num_classes, model.spec.class_names
    if len(data.classes) != count:
        raise InputError(
            f"the data has {len(data.classes)} classes ({_listed(data.classes)}), the model {count} "
            f"({_listed(names) or 'without names'}): this is not the data it was trained for."
        )
    pairs = zip(data.classes, names, strict=False)
    differing = next(((ours, theirs) for ours, theirs in pairs if ours != theirs), None)
    if differing and not any(name.startswith("class ") for name in differing):
        raise InputError(
            f"the data's classes are named or ordered otherwise than the model's ({differing[0]!r} where the "
            f"model has {differing[1]!r}): list them in the model's order."
        )


def _print(report: "SegmentationReport", model: str, split: str) -> None:
    scores = report.scores
    print_table(
        ("model", "split", "pictures", "mIoU %", "mAcc %", "aAcc %", "pictures/s"),
        [
            (
                model,
                split,
                report.count,
                _percent(scores.miou),
                _percent(scores.macc),
                _percent(scores.aacc),
                f"{report.count / max(report.seconds, 1e-9):.2f}",
            )
        ],
    )
    pixels = report.confusion.sum(dim=1).tolist()
    total = max(1, sum(pixels))
    rows = [
        (name, f"{100 * count / total:.2f}", _percent(iou), _percent(acc))
        for name, count, iou, acc in zip(report.classes, pixels, scores.iou, scores.acc, strict=True)
    ]
    print_table(("class", "share %", "IoU %", "accuracy %"), rows, title="Every class")


def _write(
    report: "SegmentationReport",
    data: "MaskDataset",
    model: "Segmenter",
    args: "eval_command.Args",
    split: str,
) -> None:
    from swinkit.viz.segmentation import segmentation_confusion_figure
    from swinkit.viz.style import save

    assert args.out is not None
    body = {"model": args.model, "data": str(data.paths[0].parent), "split": split, **report.to_dict()}
    with atomic_path(args.out / "report.json") as temporary:
        temporary.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    save(segmentation_confusion_figure(report), args.out / "confusion.png")
    stderr().print(f"wrote report.json, confusion.png in {args.out}")


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _listed(names: Sequence[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
