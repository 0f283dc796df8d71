"""Which published format a file has, and its tensors by our names."""

import re
from collections.abc import Iterable

from swinkit.errors import InputError
from swinkit.weights.formats import FORMATS, Format, State
from swinkit.weights.formats.rules import translate


def detect_format(state: State) -> str:
    """Return the name of the format, a key of `FORMATS`, that these key names belong to.

    Raises:
        InputError: the names are of no format known here.
    """
    if any("cpb_mlp" in key or "logit_scale" in key for key in state):
        raise InputError("these are weights of Swin Transformer V2, which this version does not build.")
    for name, form in FORMATS.items():
        keys = [key.removeprefix(form.prefix) if form.prefix else key for key in state]
        if _any_match(keys, form.marks) and not _any_match(keys, form.lacks):
            return name
    raise InputError(
        f"these are not weights of a Swin Transformer as {', '.join(FORMATS)} name them: "
        f"{len(state)} keys, such as {listed(state)}."
    )


def rename(state: State, form: Format) -> tuple[State, dict[str, str]]:
    """Give every learnt tensor of the trunk and the head our name, without `backbone.`.

    Returns:
        The renamed tensors, and the original key of each.

    Raises:
        InputError: a key that the format does not have; the message names it.
    """
    beside = set(outside_backbone(state, form))
    names = {key: key.removeprefix(form.prefix) for key in state if key not in beside}
    learnt = {key: name for key, name in names.items() if not _any_match([name], form.buffers)}
    first = {key: translate(name, form.rules, last=0) for key, name in learnt.items()}
    unknown = [key for key, ours in first.items() if ours is None]
    if unknown:
        raise InputError(
            f"{len(unknown)} keys are not part of the {form.title} format: {listed(unknown)}; "
            "the file holds something else beside, or instead of, a Swin Transformer."
        )
    last = max(
        int(found[1]) for ours in first.values() if (found := re.match(r"stages\.(\d+)\.", ours or ""))
    )
    origin = {translate(name, form.rules, last=last) or "": key for key, name in learnt.items()}
    if len(origin) < len(learnt):
        twice = listed(key for key in learnt if key not in origin.values())
        raise InputError(f"the file holds some weights twice, under two names, such as {twice}.")
    renamed = {ours: state[key] for ours, key in origin.items()}
    return (form.incoming(renamed) if form.incoming else renamed), origin


def outside_backbone(state: State, form: Format) -> list[str]:
    """Return the keys of a detector or segmenter that are not its backbone's; none for other files."""
    if form.part != "backbone" or not any(key.startswith(form.prefix) for key in state):
        return []
    return [key for key in state if not key.startswith(form.prefix)]


def listed(keys: Iterable[str], limit: int = 4) -> str:
    """Name the first few keys and count the rest."""
    keys = list(keys)
    rest = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + rest


def _any_match(keys: Iterable[str], patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, key) for key in keys for pattern in patterns)
