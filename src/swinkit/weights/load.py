"""Filling a model with weights: every key used, every parameter filled, or an error that names the keys."""

import re
from dataclasses import dataclass, field

from torch import Tensor, nn

from swinkit.backbones.config import BackboneConfig, stage_windows
from swinkit.backbones.pyramid import map_sizes
from swinkit.errors import InputError
from swinkit.ops.windows import Pair, fit_window, to_pair
from swinkit.spec import ClassifierConfig, ModelSpec, stands_on_swin, swin_config
from swinkit.weights.adapters import has_trunk_prefix, original_name, to_swinkit
from swinkit.weights.classes import IMAGENET_1K, IMAGENET_22K, rows_of_1k_in_22k
from swinkit.weights.formats import FORMATS, HEADS, State
from swinkit.weights.infer import describe, infer_spec
from swinkit.weights.naming import detect_format, listed, outside_backbone
from swinkit.weights.resize import adapt_input_channels, resize_bias_table, resize_positions

_TABLE = "relative_position_bias_table"
_CLASSIFIERS = re.compile(
    r"(head|decode_head\.classify|auxiliary_head\.classify"
    r"|roi\.\d+\.(box\.classes|box\.deltas|mask\.logits|classes)|semantic\.logits|dense\.(scores|foreground))"
)
"""Layers with outputs for each class."""
_BRANCHES = (re.compile(r"roi\.\d+\.mask\..*"), re.compile(r"semantic\..*"))
"""Keys of the branches that a detector may be given or may lose."""
_NORMS = re.compile(r"backbone\.norms\.\d+\.(weight|bias)")
_STEM = "patch_embed.proj.weight"


@dataclass
class LoadReport:
    """What `load_weights` did beside copying.

    Attributes:
        format: name of the format the weights came in.
        spec: the model they were of.
        resized: our names of tensors interpolated or adapted to another size.
        fresh: our names of parameters left at their random start (a new head, norms a classifier does not
            have).
        unused: our names of tensors left out (a replaced head, norms a classifier does not use).
    """

    format: str
    spec: ModelSpec
    resized: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


def load_weights(
    model: nn.Module,
    state: State,
    *,
    replace_head: bool = False,
    name: str = "",
    spec: ModelSpec | None = None,
) -> LoadReport:
    """Copy weights of any known format into a classifier or a backbone.

    Tensors of another window, picture size or number of input channels are adapted (section 3.2). A backbone
    takes a whole model's weights without its head; norms that a classifier does not have stay as they are.

    Args:
        model: a `Classifier` or a backbone of this library.
        state: tensors by published or own key.
        replace_head: give the model a head of its own where the file's has other classes. From 21841 to 1000
            classes the published class map selects the rows; otherwise the head stays at its random start.
        name: file name, for what the tensors do not tell.
        spec: the model the file holds; inferred when not given.

    Raises:
        InputError: any other key that is missing, unexpected or of another shape; or a head of other classes
            without `replace_head`.
    """
    if spec is not None and not stands_on_swin(spec):
        return _copy_as_is(model, state, spec)
    config = _config_of(model)
    fmt = detect_format(state)
    if spec is None:
        spec = infer_spec(state, name, like=config)
    report = LoadReport(fmt, spec)
    report.unused += outside_backbone(state, FORMATS[fmt])
    target = model.state_dict()
    weights = _align(to_swinkit(state, fmt, spec), target, report)
    _fit_head(weights, target, report, replace_head=replace_head)
    for key in [key for key in weights if key in target and weights[key].shape != target[key].shape]:
        fitted = _fit(key, weights[key], target[key], swin_config(spec), config)
        if fitted is not None:
            weights[key] = fitted
            report.resized.append(key)
    _check(weights, target, report, config)
    kept = {key: target[key] for key in report.fresh}
    model.load_state_dict(weights | kept, strict=True)
    return report


def _config_of(model: nn.Module) -> BackboneConfig:
    trunk = getattr(model, "backbone", model)
    config = getattr(trunk, "config", None)
    if not isinstance(config, BackboneConfig):
        raise InputError(
            f"expected a Classifier or a backbone of swinkit to load into; got {type(model).__name__}."
        )
    return config


def _align(weights: State, target: State, report: LoadReport) -> State:
    """Give the trunk the prefix the model has, and set aside what only one of the two has by its nature."""
    wanted, given = has_trunk_prefix(target), has_trunk_prefix(weights)
    if wanted and not given:  # a backbone alone into a classifier
        weights = {f"backbone.{key}": value for key, value in weights.items()}
        report.unused += [key for key in weights if key.startswith("backbone.norms.") and key not in target]
    if given and not wanted:  # a classifier into a backbone
        weights = {key.removeprefix("backbone."): value for key, value in weights.items()}
        report.unused += [key for key in weights if key.startswith(HEADS)]
        report.unused += [key for key in weights if key.startswith("norms.") and key not in target]
        report.fresh += [key for key in target if key.startswith("norms.") and key not in weights]
    return {key: value for key, value in weights.items() if key not in report.unused}


def _fit_head(weights: State, target: State, report: LoadReport, *, replace_head: bool) -> None:
    """Drop, select or refuse a head of other classes than the model's."""
    layers = {key.rpartition(".")[0] for key in target if not key.startswith("head.")}
    for layer in sorted(filter(_CLASSIFIERS.fullmatch, layers)):
        _drop_layer(layer, weights, target, report, replace_head=replace_head)
    if replace_head:
        _fit_branches(weights, target, report)
        _drop_unread_norms(weights, target, report)
    head, wanted = weights.get("head.weight"), target.get("head.weight")
    if head is None and replace_head:
        report.fresh += [key for key in target if key.startswith("head.")]
    if not replace_head or head is None or (wanted is not None and head.shape == wanted.shape):
        return
    classes = 0 if wanted is None else wanted.shape[0]
    for key in ("head.weight", "head.bias"):
        if (head.shape[0], classes) == (IMAGENET_22K, IMAGENET_1K):
            weights[key] = weights[key][list(rows_of_1k_in_22k())]
            report.resized.append(key)
        else:
            report.unused.append(key)
            report.fresh += [key] if key in target else []
            del weights[key]


def _drop_layer(layer: str, weights: State, target: State, report: LoadReport, *, replace_head: bool) -> None:
    """Leave out a segmenter's classifier of other classes, where the model may have its own."""
    given, wanted = weights.get(f"{layer}.weight"), target.get(f"{layer}.weight")
    if not replace_head or given is None or wanted is None or given.shape == wanted.shape:
        return
    for key in (f"{layer}.weight", f"{layer}.bias"):
        report.unused.append(key)
        report.fresh.append(key)
        del weights[key]


def _fit_branches(weights: State, target: State, report: LoadReport) -> None:
    """Leave a branch out, or at its random start, where only one of file and model has it."""
    for branch in _BRANCHES:
        given = [key for key in weights if branch.fullmatch(key)]
        wanted = [key for key in target if branch.fullmatch(key)]
        if given and not wanted:
            report.unused += given
            for key in given:
                del weights[key]
        if wanted and not given:
            report.fresh += [key for key in wanted if key not in report.fresh]


def _drop_unread_norms(weights: State, target: State, report: LoadReport) -> None:
    """Leave out the norms of backbone maps that the model's neck does not read."""
    for key in [key for key in weights if _NORMS.fullmatch(key) and key not in target]:
        report.unused.append(key)
        del weights[key]


def _copy_as_is(model: nn.Module, state: State, spec: ModelSpec) -> LoadReport:
    """Fill a model on a backbone of timm's from our own file: the keys are the model's own."""
    target = model.state_dict()
    troubled = sorted(set(target) ^ set(state)) or [
        key for key in target if target[key].shape != state[key].shape
    ]
    if troubled:
        raise InputError(f"the weights do not fit the model: {listed(troubled)} differ.")
    model.load_state_dict(state, strict=True)
    return LoadReport("swinkit", spec)


def _fit(key: str, value: Tensor, wanted: Tensor, old: BackboneConfig, new: BackboneConfig) -> Tensor | None:
    """Return the tensor resized to the model's shape, or None when that has no meaning."""
    name = key.removeprefix("backbone.")
    if name == _STEM and value.shape[0] == wanted.shape[0] and value.shape[2:] == wanted.shape[2:]:
        return adapt_input_channels(value, wanted.shape[1])
    if name == "absolute_pos_embed" and value.shape[-1] == wanted.shape[-1]:
        return resize_positions(value, (wanted.shape[1], wanted.shape[2]))
    if name.endswith(_TABLE) and value.shape[1] == wanted.shape[1]:
        stage = int(name.split(".")[1])
        if stage < min(len(old.depths), len(new.depths)):
            return resize_bias_table(value, built_windows(old)[stage], built_windows(new)[stage])
    return None


def built_windows(config: BackboneConfig) -> list[Pair]:
    """Return the window (rows, columns) that each stage's tensors are made for."""
    sizes = map_sizes(config.img_size, to_pair(config.patch_size), len(config.depths))
    windows = stage_windows(config.window_size, len(config.depths))
    return [
        fit_window(size, window, config.window_policy) for size, window in zip(sizes, windows, strict=True)
    ]


def _check(weights: State, target: State, report: LoadReport, config: BackboneConfig) -> None:
    """Raise InputError unless weights and model have the same keys and shapes, except in `report.fresh`."""
    missing = [key for key in target if key not in weights and key not in report.fresh]
    unexpected = [key for key in weights if key not in target]
    differing = [key for key in weights if key in target and weights[key].shape != target[key].shape]
    troubled = missing + unexpected + differing
    if not troubled:
        return
    if all(_CLASSIFIERS.fullmatch(key.rpartition(".")[0]) for key in troubled):
        got, wanted = _head_words(weights), _head_words(target)
        raise InputError(
            f"the file has {got}, the model {wanted}: ask for the file's num_classes, or let "
            "create_model(pretrained=..., num_classes=...) give the model a new head."
        )
    last = len(swin_config(report.spec).depths) - 1

    def theirs(keys: list[str]) -> str:
        return listed([original_name(key, report.format, last) for key in keys])

    parts = []
    if missing:
        parts.append(f"{len(missing)} parameters missing from the file ({listed(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} keys the model does not have ({theirs(unexpected)})")
    if differing:
        shapes = [f"{key} {tuple(weights[key].shape)} for {tuple(target[key].shape)}" for key in differing]
        parts.append(f"{len(differing)} of another shape ({listed(shapes, 2)})")
    here = ModelSpec(config=ClassifierConfig(backbone=config, num_classes=_classes(target)))
    raise InputError(
        f"the weights do not fit: {'; '.join(parts)}. The file is {describe(report.spec)}; the model is "
        f"{describe(here)}."
    )


def _classes(state: State) -> int:
    if "roi.0.box.classes.weight" in state:
        return state["roi.0.box.classes.weight"].shape[0] - 1
    heads = ("head.weight", "decode_head.classify.weight", "roi.0.classes.weight", "dense.scores.weight")
    return next((state[name].shape[0] for name in heads if name in state), 0)


def _head_words(state: State) -> str:
    return f"a head of {_classes(state)} classes" if _classes(state) else "no head"
