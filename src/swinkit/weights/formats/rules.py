"""Key names of a published format as a table of templates, readable in both directions.

A template is a key with placeholders: `{i}` the stage, `{j}` the block, `{p}` "weight" or "bias",
`{n}` any tensor of a batch norm. A stage
number may be scaled and shifted, as in `layers.{i-1}.downsample` or `features.{2i+1}`; `{last}` is the number
of the last stage. Every key of a format is written out, so an unknown key is noticed instead of passed on.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_PLACEHOLDER = re.compile(r"\{(?P<scale>\d*)(?P<name>i|j|p|n|last)(?P<shift>[+-]\d+)?\}")

_NORM = "(weight|bias|running_mean|running_var|num_batches_tracked)"


@dataclass(frozen=True)
class Rule:
    """One line of a table: a key of theirs and the key of ours it means."""

    theirs: str
    ours: str


def translate(key: str, rules: Iterable[Rule], *, last: int, reverse: bool = False) -> str | None:
    """Return the other side's name of `key`, or None when no rule knows it.

    Args:
        key: a name in their scheme (in ours with `reverse`).
        rules: the format's table; the first rule that fits wins.
        last: number of the last stage.
        reverse: translate from ours to theirs.
    """
    for rule in rules:
        source, target = (rule.ours, rule.theirs) if reverse else (rule.theirs, rule.ours)
        values = _match(key, source, last)
        if values is not None:
            return _fill(target, values, last)
    return None


def _match(key: str, template: str, last: int) -> dict[str, int | str] | None:
    found = re.fullmatch(_pattern(template, last), key)
    if found is None:
        return None
    values: dict[str, int | str] = {}
    for hole, text in zip(_holes(template), found.groups(), strict=True):
        name = hole["name"]
        if name in ("p", "n"):
            values[name] = text
            continue
        number, rest = divmod(int(text) - int(hole["shift"] or 0), int(hole["scale"] or 1))
        if rest or number < 0:
            return None
        values[name] = number
    return values


def _pattern(template: str, last: int) -> str:
    parts: list[str] = []
    at = 0
    for hole in _PLACEHOLDER.finditer(template):
        parts.append(re.escape(template[at : hole.start()]))
        parts.append({"p": "(weight|bias)", "n": _NORM, "last": str(last)}.get(hole["name"], r"(\d+)"))
        at = hole.end()
    return "".join(parts) + re.escape(template[at:])


def _holes(template: str) -> list[re.Match[str]]:
    return [hole for hole in _PLACEHOLDER.finditer(template) if hole["name"] != "last"]


def _fill(template: str, values: dict[str, int | str], last: int) -> str:
    def text(hole: re.Match[str]) -> str:
        if hole["name"] == "last":
            return str(last)
        value = values[hole["name"]]
        if isinstance(value, str):
            return value
        return str(value * int(hole["scale"] or 1) + int(hole["shift"] or 0))

    return _PLACEHOLDER.sub(text, template)
