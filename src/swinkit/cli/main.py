"""The `swinkit` program: finds the command, runs it, and turns what goes wrong into one line and a code.

Exit codes: 0 done, 1 found wanting or a defect of ours, 2 bad input, 130 stopped with Ctrl-C or, by
training that has saved its state, with another signal, 141 the reader of our output went away.
"""

import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module

from swinkit import __version__
from swinkit.errors import InputError, one_line

COMMANDS: dict[str, str] = {
    "quickstart": "swinkit.cli.quickstart:main",
    "doctor": "swinkit.cli.doctor:main",
    "models": "swinkit.cli.models:main",
    "info": "swinkit.cli.info:main",
    "convert": "swinkit.cli.convert:main",
    "export": "swinkit.cli.export:main",
    "train": "swinkit.cli.train:main",
    "eval": "swinkit.cli.eval:main",
    "predict": "swinkit.cli.predict:main",
    "embed": "swinkit.cli.embed:main",
    "bench": "swinkit.cli.bench:main",
}
"""Command -> the function that runs it, `main(words after the name) -> exit code`; imported when called."""

GROUPS: dict[str, dict[str, str]] = {
    "start here": {
        "quickstart": "train on handwritten digits, evaluate, predict and draw, in a few minutes on a CPU",
        "doctor": "check this machine: versions, devices, optional parts, and that a small model runs right",
    },
    "models and checkpoints": {
        "models": "table of the models: parameters, FLOPs, published accuracy, cached or not",
        "info": "what a checkpoint file is: its format, its model, its classes, whether every key fits",
        "convert": "rewrite a checkpoint in another format",
        "export": "write a model for other programs: ONNX, torch.export, OpenVINO; in 8 bits if wanted",
    },
    "train and use": {
        "train": "train or fine-tune a model with a recipe; goes on after a stop with --resume",
        "eval": "measure a model on labelled pictures",
        "predict": "classify pictures: files, folders, globs",
        "embed": "turn pictures into vectors",
    },
    "speed": {
        "bench": "speed and memory against timm, torchvision and Hugging Face, as ratios in one run",
    },
}
"""Heading -> command -> what it does, in the order `swinkit --help` shows them."""

EXAMPLES = (
    "swinkit quickstart",
    "swinkit train finetune --data ./flowers --model swin_tiny_patch4_window7_224 --out runs/flowers",
    "swinkit predict runs/flowers photos/*.jpg",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `swinkit` with these words (default: the process's own) and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except (Exception, KeyboardInterrupt) as error:
        return _explain(error, verbose=bool({"-v", "--verbose"} & set(words)))


def help_text() -> str:
    """What `swinkit --help` prints."""
    lines = [
        "usage: swinkit COMMAND [OPTIONS]",
        "",
        "Swin Transformers: train them, load any published checkpoint, use them on your pictures.",
    ]
    for heading, commands in GROUPS.items():
        lines += ["", f"{heading}:"]
        lines += [f"  {name:<12}{summary}" for name, summary in commands.items()]
    lines += ["", "examples:", *(f"  {example}" for example in EXAMPLES)]
    lines += [
        "",
        "`swinkit COMMAND --help` explains a command with examples; `swinkit --version` prints the version.",
    ]
    return "\n".join(lines)


def _dispatch(words: list[str]) -> int:
    name, *rest = words or ["--help"]
    if name == "help" and rest:
        name, rest = rest[0], ["--help"]
    if name in {"-h", "--help", "help"}:
        print(help_text())
        return 0
    if name == "--version":
        print(f"swinkit {__version__}")
        return 0
    if name not in COMMANDS:
        raise InputError(_unknown(name))
    return _load(COMMANDS[name])(rest)


def _unknown(name: str) -> str:
    close = get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    advice = f"did you mean `swinkit {close[0]}`?" if close else "`swinkit --help` lists the commands."
    if name.startswith("-"):
        advice = "options come after the command; `swinkit --help` lists the commands."
    return f"there is no command {name!r}: {advice}"


def _load(target: str) -> Callable[[list[str]], int]:
    module, _, function = target.partition(":")
    return getattr(import_module(module), function)


def _explain(error: BaseException, *, verbose: bool) -> int:
    """Say on stderr, in one line, what went wrong; return the exit code. A defect propagates if verbose."""
    match error:
        case InputError():
            code, line = 2, f"error: {error}"
        case KeyboardInterrupt():
            code, line = 130, "stopped."
        case BrokenPipeError():
            _mute_stdout()
            return 141
        case _ if type(error).__name__ == "OutOfMemoryError":  # torch's; torch may not be imported here
            code, line = (
                2,
                "error: the GPU is out of memory: use smaller batches or pictures, or --device cpu.",
            )
        case _ if verbose:
            raise error
        case _:
            text = f"{type(error).__name__}: {one_line(error)}"
            code, line = 1, f"defect: {text} (add -v to see where; please report it)"
    print(f"swinkit: {line}", file=sys.stderr)
    return code


def _mute_stdout() -> None:
    """Point stdout at nothing, so that Python's flush at exit does not complain a second time."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
