"""`swinkit train`: a recipe, any of its settings changed by name."""

import difflib
from dataclasses import replace
from pathlib import Path

from swinkit.cli.common import parse, print_table
from swinkit.errors import InputError

ALIASES = {
    "--data": "--data.path",
    "--model": "--model.name",
    "--pretrained": "--model.pretrained",
    "--device": "--trainer.device",
    "--seed": "--trainer.seed",
}
"""Short names of the settings that are given most."""

EXAMPLES = (
    "swinkit train finetune --data ./flowers --out runs/flowers",
    "swinkit train segment --data ./roads --out runs/roads",
    "swinkit train digits --schedule.epochs 10 --out runs/digits",
    "swinkit train --resume runs/flowers",
)

HELP = """usage: swinkit train RECIPE [SETTINGS]
       swinkit train --resume RUN_FOLDER [SETTINGS]

Train a model: a classifier, or a segmenter of pictures with masks. The recipe says everything; any setting
can be changed by name.

  --list                 the recipes
  RECIPE --help          the recipe's card and all settings
  --data FOLDER          the pictures: FOLDER/CLASS/*.jpg, or FOLDER/{train,val,test}/CLASS/*.jpg; for
                         segmentation FOLDER/images/{train,val,test} and FOLDER/masks/{train,val,test}
  --model NAME           another model (see `swinkit models`)
  --pretrained WHAT      True, False, or a checkpoint to start from
  --out FOLDER           run folder (runs/RECIPE)
  --resume RUN_FOLDER    go on with a run that was stopped
  --device, --seed       where to compute, and the start of every random choice
  -v, --verbose          show the traceback of a defect

examples:
"""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code.

    Raises:
        InputError: no such recipe or run folder, or a job that cannot run.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP + "\n".join(f"  {line}" for line in EXAMPLES))
        return 0 if argv else 2
    if "--list" in argv:
        return _list()
    # The program reads -v itself: it shows the traceback of a defect.
    words = [word for word in _spell_out(argv) if word not in ("-v", "--verbose")]
    if any(word.split("=", 1)[0] == "--resume" for word in words):
        config, resume = _resumed(words), True
    else:
        config, resume = _from_recipe(words), False
    from swinkit.train import train

    result = train(config, resume=resume)
    _show(result)
    return 0


def _list() -> int:
    from swinkit.recipes import RECIPES

    rows = [(name, (recipe.__doc__ or "").strip().split("\n")[0]) for name, recipe in RECIPES.items()]
    print_table(("recipe", "what it is"), rows)
    return 0


def _from_recipe(words: list[str]):
    from swinkit.recipes import RECIPES

    name, *rest = words
    if name.startswith("-"):
        raise InputError(
            f"name a recipe first, as in `{EXAMPLES[0]}`; got {name}. `swinkit train --list` shows them all."
        )
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise InputError(f"there is no recipe {name!r}: {hint}`swinkit train --list` shows them all.")
    recipe = RECIPES[name]
    default = replace(recipe(), out=Path("runs") / name)
    return parse(
        type(default),
        rest,
        prog=f"swinkit train {name}",
        description=f"{(recipe.__doc__ or '').strip()}\n\n{_aliases()}",
        examples=EXAMPLES,
        default=default,
    )


def _resumed(words: list[str]):
    from swinkit.train.jobs import job_from_json

    index = next(number for number, word in enumerate(words) if word.split("=", 1)[0] == "--resume")
    given = words[index].split("=", 1)[1:] or words[index + 1 : index + 2]
    if not given:
        raise InputError(
            "--resume needs the run folder to go on with, as in `swinkit train --resume runs/flowers`."
        )
    rest = words[:index] + words[index + (1 if "=" in words[index] else 2) :]
    if rest and not rest[0].startswith("-"):
        rest = rest[1:]  # the recipe's name: the run folder knows it
    folder = Path(given[0])
    try:
        text = (folder / "config.json").read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} is not a run folder: it has no config.json to go on with.") from error
    default = replace(job_from_json(text), out=folder)
    description = f"Go on with a run that was stopped.\n\n{_aliases()}"
    return parse(
        type(default),
        rest,
        prog="swinkit train --resume",
        description=description,
        examples=EXAMPLES,
        default=default,
    )


def _aliases() -> str:
    return "Short names: " + ", ".join(f"{short} for {full}" for short, full in ALIASES.items()) + "."


def _spell_out(argv: list[str]) -> list[str]:
    words = []
    for word in argv:
        name, equals, value = word.partition("=")
        words.append(ALIASES.get(name, name) + equals + value)
    return words


def _show(result) -> None:
    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}%"

    from swinkit.train.history import duration

    rows = [
        *(
            (f"{label} (validation)", percent(result.scores.get(name)))
            for name, label in result.labels.items()
        ),
        ("best epoch", f"{result.best_epoch} of {result.epochs}"),
        ("time", f"{duration(result.seconds)} on {result.device}, {result.precision}"),
        ("model", str(result.model)),
        ("curve", str(result.folder / "curve.png")),
    ]
    if result.top5 is not None:
        rows.insert(1, ("top-5 (validation)", percent(result.top5)))
    print_table(("result", ""), rows)
