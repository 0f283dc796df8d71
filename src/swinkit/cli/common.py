"""What every command shares: common options, parsing, the device, tables on stdout, progress on stderr."""

import contextlib
import io
import random
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from swinkit.errors import InputError

if TYPE_CHECKING:  # torch takes a second to import; --help and --version should not pay it
    import torch

Args = TypeVar("Args")

PIPED_WIDTH = 200
"""Columns of a table when stdout is a file or a pipe, where rich would fold it to 80."""


@dataclass(frozen=True, kw_only=True)
class CommonArgs:
    """Options of every command; a command's own arguments inherit from this.

    Attributes:
        device: where to compute: auto (a GPU when there is one), cpu, cuda or cuda:N.
        seed: start of every random choice.
        verbose: say more, and show the traceback of a defect.
    """

    device: str = "auto"
    seed: int = 0
    verbose: Annotated[bool, tyro.conf.arg(aliases=["-v"])] = False


def parse(
    cls: type[Args],
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    examples: Sequence[str],
    default: Args | None = None,
) -> Args:
    """Turn a command's words into its arguments dataclass.

    Args:
        cls: frozen keyword-only dataclass; its docstring explains every field. Mark a positional field with
            `tyro.conf.Positional`.
        argv: the words after the command's name.
        prog: what the user typed to get here, for example "swinkit train".
        description: one or two sentences for `--help`.
        examples: command lines that work as they stand; `--help` shows them.
        default: an instance to start from, instead of the dataclass's own defaults.

    Raises:
        SystemExit: code 0 after `--help`.
        InputError: the words do not fit; names the closest option.
    """
    shown = "\n".join(["examples:", *(f"  {line}" for line in examples)])
    text = f"{description}\n\n{shown}"
    config = (tyro.conf.FlagCreatePairsOff,)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            if default is None:
                return tyro.cli(cls, args=list(argv), prog=prog, description=text, config=config)
            return tyro.cli(cls, args=list(argv), prog=prog, description=text, config=config, default=default)
    except SystemExit as stop:
        if stop.code in (None, 0):
            raise
        raise InputError(_one_line(complaint.getvalue())) from None


def pick_device(name: str = "auto") -> "torch.device":
    """Return the `torch.device` for auto, cpu, cuda or cuda:N.

    Raises:
        InputError: the name is none of these, or this machine has no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (":" in name and not number.isdecimal()):
        raise InputError(f"--device must be auto, cpu, cuda or cuda:N; got {name!r}.")
    count = torch.cuda.device_count()
    if count == 0:
        raise InputError(f"--device {name}: torch sees no CUDA GPU on this machine; use --device cpu.")
    if number and int(number) >= count:
        raise InputError(f"--device {name}: this machine has {count} GPU(s), numbered from 0 to {count - 1}.")
    return torch.device(name)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Print a table to stdout. Columns whose every cell looks like a number are right-aligned."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    table = Table(title=title or None, title_justify="left", header_style="bold", title_style="bold")
    for index, name in enumerate(columns):
        numeric = bool(cells) and all(_is_number(row[index]) for row in cells)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    stdout().print(table)


def stdout() -> Console:
    """Console for results. Markup is off, so a file name with brackets prints as it is."""
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    return Console(file=sys.stdout, width=width, markup=False, highlight=False, soft_wrap=False)


def stderr() -> Console:
    """Console for progress and remarks. Lines are not folded, so a long path stays whole."""
    return Console(file=sys.stderr, markup=False, highlight=False, soft_wrap=True)


def progress() -> Progress:
    """Return a progress display on stderr: `with progress() as bar: bar.track(items, description="x")`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )


def _one_line(box: str) -> str:
    """The text of tyro's framed complaint as one line, its sections ended by full stops."""
    sections: list[list[str]] = [[]]
    for line in box.splitlines()[1:]:
        words = line.strip(" │|")
        if not words.strip("─╰╯-+"):  # a rule; tyro draws with ASCII where stderr has no better
            sections.append([])
        else:
            sections[-1].append(words.strip())
    text = ". ".join(" ".join(section).removesuffix(".") for section in sections if section)
    return re.sub(r"^Error parsing [\w.-]+: (?=.*; got )", "", text) + "."


def _is_number(cell: str) -> bool:
    """Whether a cell is empty, a dash, or starts like a number ("28.3 M", "81.3 %")."""
    return cell in {"", "-"} or cell.lstrip("+-")[:1].isdigit()
