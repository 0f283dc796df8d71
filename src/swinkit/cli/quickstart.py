"""`swinkit quickstart`: the whole job on handwritten digits, in a few minutes on a laptop."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swinkit.cli.common import CommonArgs, parse, print_table, stdout

if TYPE_CHECKING:
    from swinkit.evaluate import ClassificationReport
    from swinkit.train import RunResult, TrainConfig

FOLDER = Path("runs/quickstart")
EXPECTED = 0.97
"""Share of the held-out digits that a whole run must get right."""
SHOWN = 24
"""Digits in the picture of predictions."""
SAVED = 6
"""Digits written as files, to try `swinkit predict` on."""


@dataclass(frozen=True, kw_only=True)
class Args(CommonArgs):
    """Arguments of `swinkit quickstart`.

    Attributes:
        out: run folder; without it runs/quickstart, or the next free number after it.
        epochs: passes over the training digits; without it those of the recipe.
    """

    out: Path | None = None
    epochs: int | None = None


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code: 1 if a whole run stays below 97%."""
    args = parse(
        Args,
        argv,
        prog="swinkit quickstart",
        description="Train a small Swin Transformer on handwritten digits, evaluate it, predict and draw.",
        examples=("swinkit quickstart", "swinkit quickstart --out runs/first --epochs 10"),
    )
    import swinkit
    from swinkit.train import train
    from swinkit.viz.windows import draw_windows

    folder = args.out or _free(FOLDER)
    config = _job(args, folder)
    result = train(config)
    model: Any = swinkit.load(folder)
    test, report = _evaluate(config, model)
    _predict(folder, model, test)
    draw_windows(folder / "windows.png")
    _show(folder, result, report)
    enough = report.top1 >= EXPECTED or args.epochs is not None
    if not enough:
        stdout().print(
            f"That is less than the {EXPECTED:.0%} this should reach; `swinkit doctor` checks the machine."
        )
    return 0 if enough else 1


def next_commands(folder: Path) -> tuple[str, ...]:
    """Commands that work as they stand after a quickstart into `folder`."""
    return (
        f"swinkit predict {folder} {folder / 'digits'}",
        f"swinkit eval {folder}",
        f"swinkit info {folder / 'model.safetensors'}",
        "swinkit train --list",
        "swinkit train finetune --help",
    )


def _job(args: Args, folder: Path) -> "TrainConfig":
    from swinkit.errors import InputError
    from swinkit.recipes.small import digits

    config = digits()
    kinds = ("auto", "cpu", "cuda")
    if args.device not in kinds:
        raise InputError(f"--device must be {', '.join(kinds[:2])} or {kinds[2]}; got {args.device!r}.")
    trainer = replace(config.trainer, seed=args.seed, device=args.device)  # type: ignore[arg-type]  # checked above
    schedule = config.schedule
    if args.epochs is not None:
        warmup = min(schedule.warmup_epochs, args.epochs / 4)
        schedule = replace(schedule, epochs=args.epochs, warmup_epochs=warmup)
    return replace(config, out=folder, trainer=trainer, schedule=schedule)


def _free(folder: Path) -> Path:
    """The folder itself, or the first of folder-2, folder-3, ... that has nothing in it."""
    candidate, number = folder, 1
    while candidate.exists() and (not candidate.is_dir() or any(candidate.iterdir())):
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


def _evaluate(config: "TrainConfig", model: Any) -> "tuple[Any, ClassificationReport]":
    from swinkit.cli.common import pick_device
    from swinkit.data import TransformedDataset, build_loader, eval_transform, open_dataset
    from swinkit.evaluate import evaluate_classifier

    test = open_dataset(config.data, "test")
    transformed = TransformedDataset(test, eval_transform(model.spec.preprocess))
    loader = build_loader(transformed, batch_size=128, workers=0)
    return test, evaluate_classifier(model, loader, pick_device(config.trainer.device))


def _predict(folder: Path, model: Any, test: Any) -> None:
    """Write a grid of predictions, and some held-out digits as files."""
    import swinkit
    from swinkit.files import atomic_path
    from swinkit.viz.predictions import predictions_figure
    from swinkit.viz.style import save

    chosen = [index * len(test) // SHOWN for index in range(SHOWN)]
    pictures, labels = zip(*(test[index] for index in chosen), strict=True)
    results = swinkit.Predictor(model)(list(pictures))
    figure = predictions_figure(
        pictures,
        [result.name for result in results],
        [result.probability for result in results],
        [test.classes[label] for label in labels],
        title="Held-out digits",
        columns=8,
    )
    save(figure, folder / "predictions.png")
    for number, (picture, label) in enumerate(zip(pictures[:SAVED], labels, strict=False)):
        with atomic_path(folder / "digits" / f"{number}_is_{label}.png") as temporary:
            picture.save(temporary)


def _show(folder: Path, result: "RunResult", report: "ClassificationReport") -> None:
    from swinkit.train.history import duration

    rows = [
        (f"held-out digits right ({report.count})", f"{report.top1:.2%}"),
        ("validation top-1", "-" if result.top1 is None else f"{result.top1:.2f}%"),
        ("training time", f"{duration(result.seconds)} on {result.device}"),
        ("model", str(result.model)),
        ("training curve", str(folder / "curve.png")),
        ("predictions", str(folder / "predictions.png")),
        ("shifted windows", str(folder / "windows.png")),
    ]
    print_table(("quickstart", ""), rows)
    lines = "\n".join(f"  {command}" for command in next_commands(folder))
    stdout().print(
        f"What to try next:\n{lines}\nand on your own pictures, in one folder a class:\n"
        "  swinkit train finetune --data YOUR_FOLDER --out runs/mine"
    )
