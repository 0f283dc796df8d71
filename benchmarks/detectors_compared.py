"""All detectors of the library with one small backbone, on the same pictures, for the same number of epochs.

    python benchmarks/detectors_compared.py --data ./bccd --epochs 6
    python benchmarks/detectors_compared.py --data ./bccd --epochs 6 --only atss sparse_rcnn
    python benchmarks/detectors_compared.py --figure            # only redraws, from the results file

The recipe `bccd` (blood cells, boxes only, from scratch) with another head each time; what else differs
stands in `DETECTORS` with its reason. Each run lives in runs/detectors_compared/HEAD: a finished one is not
trained again, a stopped one is gone on with. The model of the best validation is measured on the test
pictures as `swinkit eval` does. FLOPs (multiply-adds) are those of the first test pictures as they are really
looked at, with as many proposals as were found. The time a picture is taken in turns, detector after
detector, in one process. Results are written after every detector; a table for the documents is printed at
the end.
"""

import argparse
import math
import re
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from common import RESULTS, ROOT, write_results
from detector_parameters_and_flops import deformable_flops
from record_run import read
from swinkit.bench.timing import interleave, speedup
from swinkit.cli.main import main as swinkit
from swinkit.data.object_config import ObjectDataConfig
from swinkit.data.object_layout import open_objects
from swinkit.detection.detector import Detector
from swinkit.errors import InputError
from swinkit.evaluate.picture_detector import PictureDetector
from swinkit.train.history import duration, read_metrics
from swinkit.train.jobs import job_from_json
from swinkit.viz.style import INK, LINE, MUTED, PALETTE, new_figure, save, style_axes, tint
from swinkit.weights import load

NAME = "detectors_compared"
RUNS = Path("runs") / NAME
FIGURE = ROOT / "docs" / "images" / f"{NAME}.png"
COUNTED = 8
"""Test pictures whose FLOPs are averaged."""


@dataclass(frozen=True)
class Entry:
    """A detector: its name here, where it differs from the recipe and from the others, and why."""

    title: str
    options: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


DETECTORS: dict[str, Entry] = {
    "mask_rcnn": Entry("Faster R-CNN", why="Mask R-CNN without masks: the data have boxes only."),
    "cascade_mask_rcnn": Entry("Cascade R-CNN", why="Cascade Mask R-CNN without masks."),
    "htc": Entry(
        "HTC",
        why="Without outlines and stuff maps there are neither masks nor a semantic branch; what remains is "
        "a cascade whose boxes do not depend on the class.",
    ),
    "htc_plus": Entry(
        "HTC++",
        {"select.nms": "soft"},
        "As HTC, with the global attention layer and soft suppression; no InstaBoost, which needs outlines.",
    ),
    "atss": Entry(
        "ATSS",
        {"model.anchor_scale": 2.5, "select.iou": 0.6},
        "Its finest level has stride 8 instead of 4: half the scale gives anchors as large as the others'. "
        "Suppression at 0.6 is the published one.",
    ),
    "reppoints_v2": Entry("RepPoints v2", {"select.iou": 0.6}, "Suppression at 0.6 is the published one."),
    "sparse_rcnn": Entry(
        "Sparse R-CNN",
        {"model.proposals": 100},
        "100 learnt proposals instead of 300: a picture has 30 cells at most.",
    ),
}
"""Value of --model.head -> what is compared."""

COMMON: dict[str, Any] = {"select.score": 0.001, "trainer.log_every": 1, "trainer.validate_every": 2}
"""What all runs have beside the recipe: one least score, so that average precision sees the same share of the
ranking, and what is written down."""


def main() -> int:
    """Train what is left, measure, write, draw, print."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{NAME}.json"
    try:
        if not args.figure:
            code = run(args, path)
            if code:
                return code
        if not path.is_file():
            raise InputError(f"{path.name} is not in {args.out}: run without --figure first.")
        results = read(path)["results"]
        if not results["detectors"]:
            raise InputError("no detector has been trained yet: there is nothing to draw.")
        draw(args.picture, results)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(results))
    print(f"wrote {path.name} and {args.picture.name}")
    return 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=Path("bccd"), help="folder of the blood cells")
    parser.add_argument("--epochs", type=int, default=6, help="of every detector")
    parser.add_argument("--only", nargs="+", choices=tuple(DETECTORS), default=tuple(DETECTORS))
    parser.add_argument("--runs", type=Path, default=RUNS, help="where the run folders are")
    parser.add_argument("--rounds", type=int, default=24, help="test pictures of the timing, one a round")
    parser.add_argument("--commit", default="", help="of the code that trained, where a run could not see it")
    parser.add_argument("--figure", action="store_true", help="only redraw from the results file")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file")
    parser.add_argument("--picture", type=Path, default=FIGURE, help="the figure")
    return parser.parse_args()


def run(args: argparse.Namespace, path: Path) -> int:
    """Train and measure the wanted detectors; return the exit code of a command that fails."""
    dataset = open_objects(ObjectDataConfig(path=args.data), "test")
    pictures = [dataset[index][0] for index in range(min(max(args.rounds, COUNTED), len(dataset)))]
    for head in args.only:
        folder = args.runs / head
        code = train(head, args.epochs, args.data, folder) or evaluate(args.data, folder)
        if code:
            return code
        row = record(head, args.epochs, folder, pictures[:COUNTED])
        row["environment"]["commit"] = args.commit or row["environment"].get("commit")
        results = earlier(path, args.epochs)  # read late: another process may train other detectors
        results["detectors"] = in_order({**results["detectors"], head: row})
        write_results(NAME, results, folder=args.out)
    results = earlier(path, args.epochs)
    found = [head for head in results["detectors"] if (args.runs / head / "model.safetensors").is_file()]
    looks = {head: PictureDetector(detector(args.runs / head)) for head in found}
    results["inference"] = in_turns(looks, pictures[: args.rounds])
    write_results(NAME, results, folder=args.out)
    return 0


def earlier(path: Path, epochs: int) -> dict[str, Any]:
    """Results of detectors that were measured before with as many epochs; others would not compare."""
    results = read(path)["results"] if path.is_file() else {}
    if results.get("epochs") != epochs:
        results = {"epochs": epochs, "recipe": "bccd", "common": COMMON, "detectors": {}, "inference": {}}
    return results


def in_order(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows in the order of `DETECTORS`."""
    return {head: rows[head] for head in DETECTORS if head in rows}


def wanted(head: str, epochs: int) -> dict[str, Any]:
    """Every setting of a run that is not the recipe's, by its name in the configuration."""
    return {"model.head": head, "schedule.epochs": epochs, **COMMON, **DETECTORS[head].options}


def train_words(head: str, epochs: int, data: Path, folder: Path) -> list[str]:
    """Words of the command that trains one detector."""
    options = [
        word
        for name, value in wanted(head, epochs).items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    return ["train", "bccd", "--data", str(data), "--out", str(folder), *options]


def eval_words(data: Path, folder: Path) -> list[str]:
    """Words of the command that measures one on the test pictures."""
    report = folder / "report"
    return ["eval", str(folder), "--data", str(data), "--split", "test", "--out", str(report)]


def train(head: str, epochs: int, data: Path, folder: Path) -> int:
    """Train a detector, go on with it, or leave it when it is finished; return the exit code."""
    state = state_of(folder, wanted(head, epochs))
    print(f"{DETECTORS[head].title}: {state}", file=sys.stderr)
    if state == "finished":
        return 0
    if state == "stopped":
        return swinkit(["train", "--resume", str(folder)])
    if folder.is_dir():  # stopped before its first checkpoint: nothing is lost
        shutil.rmtree(folder)
    return swinkit(train_words(head, epochs, data, folder))


def state_of(folder: Path, settings: Mapping[str, Any]) -> str:
    """Whether a run is new, stopped or finished.

    Raises:
        InputError: the folder holds a run with other settings, or something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return "new"
    written = folder / "config.json"
    if not written.is_file():
        raise InputError(f"{folder} is not a run folder: move it away, or give another --runs.")
    config = job_from_json(written.read_text("utf-8"))
    for name, value in settings.items():
        old = reduce(getattr, name.split("."), config)
        if old != value:
            raise InputError(
                f"{folder} was started with {name} {old}, and {value} is asked for: give what it has, "
                "move it away, or give another --runs."
            )
    report = folder / "report.json"
    if report.is_file() and read(report)["epochs"] >= settings["schedule.epochs"]:
        return "finished"
    return "stopped" if (folder / "checkpoints" / "last.ckpt").is_file() else "new"


def evaluate(data: Path, folder: Path) -> int:
    """Measure on the test pictures, unless that was done since the training; return the exit code."""
    report, model = folder / "report" / "report.json", folder / "model.safetensors"
    if report.is_file() and report.stat().st_mtime >= model.stat().st_mtime:
        return 0
    return swinkit(eval_words(data, folder))


def record(head: str, epochs: int, folder: Path, pictures: Sequence[Image.Image]) -> dict[str, Any]:
    """Return what a finished run and its evaluation measured, as plain JSON types."""
    training, environment = read(folder / "report.json"), read(folder / "environment.json")
    environment.pop("command", None)
    boxes = read(folder / "report" / "report.json")["boxes"]
    config = job_from_json((folder / "config.json").read_text("utf-8"))
    model = detector(folder, counted=True)
    sessions = len(re.findall(r"^\S+ \S+ run: ", (folder / "log.txt").read_text("utf-8"), re.MULTILINE))
    here, data = RUNS / head, Path("bccd")
    return {
        "title": DETECTORS[head].title,
        "settings": dict(DETECTORS[head].options),
        "why": DETECTORS[head].why,
        "commands": [
            f"swinkit {shlex.join(words)}"
            for words in (train_words(head, epochs, data, here), eval_words(data, here))
        ],
        "environment": environment,
        "device": training["device"],
        "precision": training["precision"],
        "steps": training["steps"],
        "best_epoch": training["best_epoch"],
        **times(read_metrics(folder / "metrics.csv"), config.data.batch_size),
        # With validation and checkpoints; of a run that was stopped only the last part is known.
        "wall_seconds": training["seconds"] if sessions == 1 else None,
        "sessions": sessions,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "flops": count_flops(model, pictures),
        "test": {name: boxes[name] for name in ("pictures", "AP", "AP50", "AP75")},
        "per_class": {
            row["name"]: {name: row[name] for name in ("objects", "ap", "ap50", "ap75")}
            for row in boxes["per_class"]
        },
    }


def times(rows: Sequence[Mapping[str, str]], batch_size: int) -> dict[str, Any]:
    """Time of the training steps, losses and the course of the validation, from a metrics.csv with a row a
    step. A resumed run has the rows of all its parts, and none twice."""
    steps, losses, course, passed = [], [], [], 0.0
    for row in rows:
        if row["images_per_second"]:
            steps.append(batch_size / float(row["images_per_second"]))
            losses.append(float(row["loss"]))
            passed += steps[-1]
        if row.get("val_box_ap"):
            point = {"epoch": float(row["epoch"]), "training_seconds": round(passed, 1)}
            course.append({**point, "AP": float(row["val_box_ap"]), "AP50": float(row["val_box_ap50"])})
    return {
        "training_seconds": passed,
        "seconds_a_step": statistics.median(steps),
        "loss_first": statistics.mean(losses[:20]),
        "loss_last": statistics.mean(losses[-20:]),
        "validation": course,
    }


def detector(folder: Path, *, counted: bool = False) -> Detector:
    """Load a run's model; to be counted its attention is made of matrix products."""
    model = load(folder, attention_impl="reference" if counted else "auto")
    assert isinstance(model, Detector)
    return model


def count_flops(model: Detector, pictures: Sequence[Image.Image]) -> float:
    """Mean multiply-adds a picture, as many regions looked at as are really found."""
    look = PictureDetector(model.requires_grad_(False))  # the counter asks parameters for their graph
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.torchvision.deform_conv2d: deformable_flops}
    )
    with counter:
        for picture in pictures:
            look(picture)
    return counter.get_total_flops() / 2 / len(pictures)


def in_turns(looks: Mapping[str, PictureDetector], pictures: Sequence[Image.Image]) -> dict[str, Any]:
    """Time a picture: each round shows the next picture to every detector, beginning with another one.

    Returns:
        A detector's median seconds a picture, and the median of its ratio to the first detector's in the same
        round with quartiles.
    """
    waiting = {head: iter([pictures[0], *pictures]) for head in looks}  # each has a call that does not count
    seconds = interleave(
        {head: lambda head=head: looks[head](next(waiting[head])) for head in looks},
        rounds=len(pictures),
        device=torch.device("cpu"),
        turn=0.0,
        budget=math.inf,
        clock=time.perf_counter,
    )
    first = next(iter(seconds))
    found = {}
    for head, own in seconds.items():
        ratio = speedup(own, seconds[first])
        found[head] = {
            "seconds": statistics.median(own),
            "against": first,
            "ratio": ratio.median,
            "quartiles": [ratio.lower, ratio.upper],
        }
    return {"pictures": len(pictures), "detectors": found}


def table(results: Mapping[str, Any]) -> str:
    """The results as a table of Markdown."""
    classes = list(next(iter(results["detectors"].values()))["per_class"])
    timed = results["inference"].get("detectors", {})
    head = ["detector", "AP", "AP50", "AP75", *(f"AP {name}" for name in classes)]
    head += ["training", "s a step", "parameters", "FLOPs", "ms a picture", "against the first"]
    lines = [head, ["---"] * len(head)]
    for name, row in results["detectors"].items():
        test, turn = row["test"], timed.get(name)
        lines.append(
            [
                row["title"],
                *(percent(test[key]) for key in ("AP", "AP50", "AP75")),
                *(percent(row["per_class"][key]["ap"]) for key in classes),
                duration(row["training_seconds"]),
                f"{row['seconds_a_step']:.2f}",
                f"{row['parameters'] / 1e6:.2f} M",
                f"{row['flops'] / 1e9:.2f} G",
                f"{1000 * turn['seconds']:.0f}" if turn else "not measured",
                f"{turn['ratio']:.2f}" if turn else "not measured",
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(value: float | None) -> str:
    """A share as a person reads it; - where nothing was to be found."""
    return "-" if value is None else f"{100 * value:.1f}"


def draw(path: Path, results: Mapping[str, Any]) -> None:
    """Draw validation AP over the time of the training steps, and the APs on the test pictures."""
    rows = results["detectors"]
    figure = new_figure(11, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    colours = dict(zip(DETECTORS, PALETTE, strict=False))
    style_axes(left, title="While they train", x="minutes of training steps", y="validation AP (%)")
    for head, row in rows.items():
        course = [(0.0, 0.0)]
        course += [(point["training_seconds"] / 60, 100 * point["AP"]) for point in row["validation"]]
        left.plot(
            *zip(*course, strict=True),
            color=colours[head],
            marker="o",
            markersize=3.5,
            linewidth=1.6,
            label=row["title"],
        )
    left.set_xlim(left=0)
    left.set_ylim(bottom=0)
    left.legend(frameon=False, fontsize=8, labelcolor=INK)
    pictures = next(iter(rows.values()))["test"]["pictures"]
    style_axes(right, title=f"{pictures} test pictures, {results['epochs']} epochs", x="%", grid=False)
    bars(right, rows, colours)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path)


def bars(axes: Any, rows: Mapping[str, Any], colours: Mapping[str, str]) -> None:
    """One bar a detector, the best at the top: AP in its colour, AP50 pale behind it, cost as words."""
    ranked = sorted(rows, key=lambda head: rows[head]["test"]["AP"] or 0)
    for place, head in enumerate(ranked):
        row = rows[head]
        ap, ap50 = (100 * (row["test"][name] or 0) for name in ("AP", "AP50"))
        axes.barh(place, ap50, color=tint(colours[head], 0.25), height=0.62)
        axes.barh(place, ap, color=colours[head], height=0.62)
        cost = f"{duration(row['training_seconds'])}, {row['flops'] / 1e9:.1f} GFLOPs"
        note(axes, cost, (100, place), offset=8, colour=MUTED)
        if ap < 18 or ap50 - ap < 22:  # no room inside
            note(axes, f"AP {ap:.1f}, AP50 {ap50:.1f}", (ap50, place), offset=5, colour=INK)
            continue
        note(axes, f"AP {ap:.1f}", (0, place), offset=5, colour="white", bold=True)
        note(axes, f"AP50 {ap50:.1f}", (ap, place), offset=5, colour=INK)
    axes.set_yticks(range(len(ranked)), [rows[head]["title"] for head in ranked])
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
    axes.set_xlim(0, 155)
    axes.set_xticks(range(0, 101, 20))
    axes.spines["bottom"].set_bounds(0, 100)
    axes.vlines((50, 100), -0.5, len(ranked) - 0.5, color=LINE, linewidth=0.6, zorder=0)


def note(
    axes: Any, text: str, place: Iterable[float], *, offset: int, colour: str, bold: bool = False
) -> None:
    """Write beside a point."""
    axes.annotate(
        text,
        tuple(place),
        xytext=(offset, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=colour,
        fontweight="bold" if bold else "normal",
    )


if __name__ == "__main__":
    sys.exit(main())
