"""Between published key names and ours, in both directions, with every key accounted for."""

import torch

from swinkit.backbones.config import SwinConfig, stage_windows
from swinkit.errors import InputError
from swinkit.ops.windows import fit_shift, fit_window, relative_position_index, to_pair
from swinkit.spec import ModelSpec, swin_config
from swinkit.weights.formats import FORMATS, HEADS, Format, State
from swinkit.weights.formats.rules import translate
from swinkit.weights.infer import infer_spec, positions_grid, window_of_table
from swinkit.weights.naming import listed, rename


def to_swinkit(state: State, fmt: str, spec: ModelSpec | None = None) -> State:
    """Turn a published state dict into ours: every key used or known to be a computed buffer.

    Args:
        state: tensors by published key.
        fmt: a name in `FORMATS`.
        spec: the model the file holds; inferred when not given.

    Returns:
        Tensors by our names: with `backbone.` for a classifier, without for a backbone alone.

    Raises:
        InputError: unknown keys, or a computed buffer that does not say what we compute.
    """
    form = _form(fmt)
    renamed, _ = rename(state, form)
    if spec is None:
        spec = infer_spec(state)
    _check_indices(state, renamed)
    positions = renamed.get("absolute_pos_embed")
    if positions is not None and positions.ndim == 3:
        grid = positions_grid(spec, positions.shape[1])
        renamed["absolute_pos_embed"] = positions.unflatten(1, grid)
    if form.part == "backbone" or (form.name == "swinkit" and not has_trunk_prefix(state)):
        return renamed
    return {key if key.startswith(HEADS) else f"backbone.{key}": value for key, value in renamed.items()}


def from_swinkit(state: State, fmt: str, spec: ModelSpec) -> State:
    """Turn our state dict into a published one, with the buffers its code saves; inverse of `to_swinkit`.

    Raises:
        InputError: the format has no place for some key, or its code would compute something else.
    """
    form = _form(fmt)
    ours = {key.removeprefix("backbone."): value for key, value in state.items()}
    if form.name == "swinkit":
        return dict(state)
    _check_same_meaning(spec, form)
    last = len(swin_config(spec).depths) - 1
    ready = form.outgoing(ours) if form.outgoing else ours
    names = {key: translate(key, form.rules, last=last, reverse=True) for key in ready}
    lost = [key for key, name in names.items() if name is None]
    if lost:
        raise InputError(f"the {form.title} format has no place for {listed(lost)}: choose another format.")
    prefix = form.prefix if form.writes_prefix else ""
    published = {
        (name if key.startswith(HEADS) else prefix + name): ready[key].contiguous()
        for key, name in names.items()
        if name is not None
    }
    return published | (form.make_buffers(spec) if form.make_buffers else {})


def to_file(state: State, fmt: str, spec: ModelSpec) -> State:
    """Turn our state dict into what a file of the published code holds, every buffer included.

    Raises:
        InputError: as `from_swinkit`.
    """
    form = _form(fmt)
    prefix = form.prefix if form.writes_prefix else ""
    buffers = form.file_buffers(spec) if form.file_buffers else {}
    return from_swinkit(state, fmt, spec) | {prefix + key: value for key, value in buffers.items()}


def original_name(key: str, fmt: str, last: int) -> str:
    """Return the published name of one of our keys, for messages; ours when there is none."""
    return translate(key.removeprefix("backbone."), _form(fmt).rules, last=last, reverse=True) or key


def has_trunk_prefix(state: State) -> bool:
    """Whether the trunk's keys start with `backbone.`."""
    return any(key.startswith("backbone.") for key in state)


def _form(fmt: str) -> Format:
    if fmt not in FORMATS:
        raise InputError(f"unknown format {fmt!r}: choose one of {', '.join(FORMATS)}.")
    return FORMATS[fmt]


def _check_indices(state: State, renamed: State) -> None:
    """Raise InputError when a saved relative_position_index orders the bias table otherwise than we do."""
    for key, index in state.items():
        if not key.endswith("relative_position_index") or index.is_meta:
            continue
        table = state.get(key.removesuffix("index") + "bias_table")
        window = window_of_table(table, index) if table is not None else None
        if window is None or not torch.equal(
            index.flatten(), relative_position_index(window).flatten().to(index)
        ):
            raise InputError(
                f"{key} orders the bias table in a way this format does not: was the file edited?"
            )


def _check_same_meaning(spec: ModelSpec, form: Format) -> None:
    """Raise InputError where the other code would clamp or shift windows differently at the model's size."""
    config = swin_config(spec)
    patch = to_pair(config.patch_size)
    rows, columns = -(-config.img_size[0] // patch[0]), -(-config.img_size[1] // patch[1])
    for stage, window in enumerate(stage_windows(config.window_size, len(config.depths))):
        ours, theirs = (
            (fit_window((rows, columns), window, policy), fit_shift((rows, columns), window, policy))
            for policy in (config.window_policy, form.policy)
        )
        shifts = config.shift and config.depths[stage] > 1
        if ours[0] != theirs[0] or (shifts and ours[1] != theirs[1]):
            raise InputError(
                f"the {form.title} format cannot hold this model: on stage {stage}'s {rows}x{columns} map "
                f"its code uses window {theirs[0]} and shift {theirs[1]}, this model window {ours[0]} and "
                f"shift {ours[1]}."
            )
        rows, columns = -(-rows // 2), -(-columns // 2)
    if isinstance(config, SwinConfig) and (
        not config.shift or config.position == "relative_without_appearance"
    ):
        raise InputError(f"the {form.title} format cannot hold an ablation (shift off, no appearance term).")
