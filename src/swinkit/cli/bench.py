"""`swinkit bench`: our speed and memory against other libraries, as ratios within one run."""

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from swinkit.cli.common import CommonArgs, parse, pick_device, print_table, stderr, stdout
from swinkit.errors import InputError

if TYPE_CHECKING:
    import torch

    from swinkit.ops.windows import Pair

Subject = Literal["models", "attention", "table5", "table8", "linear"]


@dataclass(frozen=True, kw_only=True)
class BenchArgs(CommonArgs):
    """Measure speed and memory against other libraries, in turns in one process, after comparing outputs.

    Attributes:
        subject: what to measure. models: whole models. attention: window attention alone, stage by stage.
            table5: ways of shifting windows. table8: picture sizes. linear: cost from 224 to 2048 pixels.
        table: measure the rows of the bars table instead, one line each.
        rows: with --table: which rows, into a file of their name; all of them without.
        model: models to measure; "toy" is a tiny one to try the command with. Without it each subject has its
            own.
        batch: pictures a call; several make a sweep.
        size: picture sides in pixels, or HxW such as 800x1216; several make a sweep.
        dtype: precision; several are measured in turn.
        step: models: inference, training (forward, backward, AdamW), or maps (the four stages' maps).
        candidates: library/engine names or patterns, such as 'swinkit/*' timm/eager; '*' for all.
        baseline: models: the candidate that speed-ups are over.
        rounds: turns of each candidate that count, at most; 0 for what the subject needs. After five minutes
            of turns, five are enough.
        quick: three turns of each, so that a run shows little more than that it works.
        no_memory: models: leave peak memory out, which takes a process for each candidate.
        threads: CPU threads; 0 for as many as torch would use.
        out: folder for the JSON file and the figure.
    """

    subject: tyro.conf.Positional[Subject] = "models"
    table: bool = False
    rows: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    batch: tuple[int, ...] = ()
    size: tuple[str, ...] = ()
    dtype: tuple[Literal["float32", "bfloat16", "float16"], ...] = ("float32",)
    step: Literal["inference", "training", "maps"] = "inference"
    candidates: tuple[str, ...] = ()
    baseline: str = "timm/eager"
    rounds: int = 0
    quick: bool = False
    no_memory: bool = False
    threads: int = 0
    out: Path = Path("bench")

    def turns(self, usual: int) -> int:
        """Rounds to take where a subject usually takes `usual`."""
        return self.rounds or (3 if self.quick else usual)


def main(argv: list[str]) -> int:
    """Measure, print, write; return 1 when candidates disagree."""
    args = parse(
        BenchArgs,
        argv,
        prog="swinkit bench",
        description="Speed and memory against timm, torchvision and Hugging Face, as ratios within one run.",
        examples=(
            "swinkit bench --model toy --size 112 --quick",
            "swinkit bench --model swin_tiny_patch4_window7_224 --batch 1 8 --candidates '*'",
            "swinkit bench attention --dtype float32 bfloat16",
            "swinkit bench --table --rows cpu-inference-fp32",
        ),
    )
    if min(args.rounds, args.threads) < 0:
        raise InputError("--rounds and --threads take numbers from 0 up: leave them out for the usual.")
    if min(args.batch, default=1) < 1:
        raise InputError("--batch takes numbers of pictures, from 1 up.")
    if args.rows and not args.table:
        raise InputError("--rows picks rows of the bars table: add --table.")
    if args.table and args.subject != "models":
        raise InputError(f"--table measures its own rows: leave out {args.subject!r}, or --table.")
    _refuse_unused(args)
    _check_out(args.out)
    device = pick_device(args.device)
    import torch

    from swinkit.bench.outcome import Disagreement

    if args.threads:
        torch.set_num_threads(args.threads)
    run = _table if args.table else SUBJECTS[args.subject]
    try:
        return run(args, device)
    except Disagreement as error:
        stderr().print(f"swinkit: {error}")
        return 1


USED: dict[str, tuple[str, ...]] = {
    "models": ("model", "batch", "size", "dtype", "step", "candidates", "baseline", "no_memory"),
    "attention": ("model", "batch", "dtype"),
    "table5": ("model", "batch", "dtype"),
    "table8": ("model", "batch", "size", "dtype", "candidates"),
    "linear": ("model", "size", "dtype"),
    "table": (),
}
"""What is measured -> the options that say how; the others would change nothing."""


def _refuse_unused(args: BenchArgs) -> None:
    """Raise InputError if an option was given that means nothing here."""
    what = "table" if args.table else args.subject
    usual = BenchArgs()
    for name in USED["models"]:
        if name not in USED[what] and getattr(args, name) != getattr(usual, name):
            option = f"--{name.replace('_', '-')}"
            place = "--table, whose rows say what they measure" if args.table else args.subject
            raise InputError(f"{option} means nothing to {place}: leave it out.")
    if what == "linear" and len(args.dtype) > 1:
        raise InputError("linear measures one precision at a time: give one --dtype.")


def _check_out(out: Path) -> None:
    """Raise InputError if a folder cannot be written to: measuring takes long, and writing comes last."""
    place = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise InputError(f"--out {out} cannot be written to, because of {place}: choose another folder.")


def say(line: str) -> None:
    """Progress of a measurement."""
    stderr().print(f"  {line}")


def written(args: BenchArgs, name: str, results: Any, device: "torch.device") -> None:
    """Write the JSON file and say where it and the figure are."""
    from swinkit.bench.environment import environment, write_json

    write_json(args.out / f"{name}.json", results, device)
    where = environment(device)
    stdout().print(
        f"{where['device']}, {where['threads']} thread(s), torch {where['versions']['torch']}, commit "
        f"{where['commit'] or 'unknown'}, {where['date']}. Medians with quartiles.\n"
        f"Written: {args.out / name}.json"
    )


def parse_sizes(words: tuple[str, ...]) -> "list[Pair]":
    """Sides in pixels: "224" or "800x1216".

    Raises:
        InputError: neither.
    """
    sizes = []
    for word in words:
        sides = word.split("x")
        if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
            raise InputError(f"--size takes pixels, 224 or HxW such as 800x1216; got {word!r}.")
        sizes.append((int(sides[0]), int(sides[-1])))
    return sizes


def _models(args: BenchArgs, device: "torch.device") -> int:
    import torch

    from swinkit.bench.compare import QUICK, choose, compare
    from swinkit.bench.environment import write_json
    from swinkit.bench.figures import draw_comparisons
    from swinkit.bench.memory import peak_memory
    from swinkit.bench.report import comparison_columns, comparison_data, comparison_rows
    from swinkit.bench.workload import MODELS, Workload

    names = choose(args.candidates or QUICK)
    choose((args.baseline,))
    models = args.model or ("swin_tiny_patch4_window7_224",)
    workloads = [
        Workload(
            model=model,
            batch=batch,
            size=size,
            dtype=dtype,
            device=str(device),
            step=args.step,
            threads=torch.get_num_threads(),
            seed=args.seed,
        )
        for model, dtype, batch in itertools.product(models, args.dtype, args.batch or (8,))
        for size in parse_sizes(args.size) or [MODELS[model].img_size if model in MODELS else (224, 224)]
    ]
    found, data = [], []
    for workload in workloads:
        say(workload.label)
        comparison = compare(
            workload,
            names,
            rounds=args.turns(11),
            baseline=args.baseline,
            memory=None if args.no_memory else peak_memory,
            say=say,
        )
        found.append(comparison)
        print_table(comparison_columns(comparison), comparison_rows(comparison), title=workload.label)
        data.append(comparison_data(comparison))
        write_json(args.out / "models.json", data, device)  # after every setting, as a sweep takes long
    draw_comparisons(args.out / "models.png", found)
    written(args, "models", data, device)
    return 0


def _attention(args: BenchArgs, device: "torch.device") -> int:
    from swinkit.bench.attention import PEERS, measure, sites
    from swinkit.bench.figures import draw_bars_by_stage
    from swinkit.bench.report import SITE_COLUMNS, site_data, site_row
    from swinkit.bench.workload import MODELS

    models = args.model or ("swin_tiny_patch4_window7_224", "swin_base_patch4_window7_224")
    unknown = [model for model in models if model not in MODELS]
    if unknown:
        raise InputError(f"unknown model {unknown[0]!r}: choose one of {', '.join(MODELS)}.")
    data = []
    for model, batch in itertools.product(models, args.batch or (8,)):
        results = []
        for dtype, backward, site in itertools.product(args.dtype, (False, True), sites(model)):
            say(f"{model}, stage {site.stage}, {dtype}, {'forward + backward' if backward else 'forward'}")
            results.append(
                measure(
                    site,
                    batch=batch,
                    dtype=dtype,
                    device=device,
                    backward=backward,
                    rounds=args.turns(15),
                )
            )
        title = f"window attention of {model}, batch {batch}: times as fast as"
        print_table(SITE_COLUMNS, [site_row(result) for result in results], title=title)
        groups = {
            f"{result.site.stage}{'+b' if result.backward else ''}\n{result.dtype}": {
                peer: found[1] for peer in PEERS if (found := result.against([peer])) is not None
            }
            for result in results
        }
        draw_bars_by_stage(args.out / f"attention_{model}_{batch}.png", title, groups)
        data += [{"model": model, **site_data(result)} for result in results]
    written(args, "attention", data, device)
    return 0


def _table(args: BenchArgs, device: "torch.device") -> int:
    import torch

    from swinkit.bench.bars import BARS, choose, outcome_data, profiles, run
    from swinkit.bench.environment import write_json
    from swinkit.bench.rows import Setting
    from swinkit.files import atomic_path

    setting = Setting(threads=torch.get_num_threads(), rounds=args.turns(11), quick=args.quick, say=say)
    names = choose(args.rows)
    on_gpu = torch.cuda.is_available() and any(BARS[name].needs == "cuda" for name in names)
    where = torch.device("cuda" if on_gpu else "cpu")
    file = "_".join(("table", *args.rows))  # rows measured apart do not replace each other
    lines, data, refused = [], [], False
    for name in names:
        say(name)
        bar, outcome = BARS[name], run(name, setting)
        refused = refused or outcome.refused
        measured = "; ".join(part.text() for part in outcome.parts) or outcome.reason
        if outcome.parts and outcome.reason:
            measured += f" ({outcome.reason})"
        text = profiles(name, outcome)
        if text:
            with atomic_path(args.out / f"profile_{name}.txt") as temporary:
                temporary.write_text(text)
            measured += f"; profile in {args.out / f'profile_{name}.txt'}"
        lines.append((name, bar.what, bar.against, bar.bar_text(), measured, bar.verdict(outcome) or "-"))
        data.append(outcome_data(name, outcome))
        write_json(args.out / f"{file}.json", data, where)  # after every row, as the rows take long
    columns = ("row", "what", "against", "bar", "measured: median (quartiles) [ours / peer]", "")
    print_table(columns, lines, title="The bars, as ratios in one run")
    written(args, file, data, where)
    return 1 if refused else 0


def _elsewhere(name: str) -> Callable[[BenchArgs, "torch.device"], int]:
    """A subject of `swinkit.cli.bench_paper`, which imports this file and so comes later."""

    def run(args: BenchArgs, device: "torch.device") -> int:
        return getattr(import_module("swinkit.cli.bench_paper"), name)(args, device)

    return run


SUBJECTS: dict[str, Callable[[BenchArgs, "torch.device"], int]] = {
    "models": _models,
    "attention": _attention,
    "table5": _elsewhere("table5"),
    "table8": _elsewhere("table8"),
    "linear": _elsewhere("linear"),
}
"""Subject -> function that measures it."""
