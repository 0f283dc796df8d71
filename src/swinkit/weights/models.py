"""A whole model from a file or a published name, and a file of another format from it."""

import dataclasses
import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from swinkit.backbones import VARIANTS, build_backbone
from swinkit.build import build_model
from swinkit.errors import InputError
from swinkit.ops.window_attention import Implementation
from swinkit.spec import ModelSpec, stands_on_swin, swin_config
from swinkit.weights import catalog
from swinkit.weights.adapters import has_trunk_prefix, to_file
from swinkit.weights.classes import IMAGENET_1K, imagenet_names
from swinkit.weights.download import fetch
from swinkit.weights.formats import FORMATS, State
from swinkit.weights.infer import infer_spec
from swinkit.weights.io import (
    CLASSES_KEY,
    find_file,
    read_spec,
    read_state_dict,
    spec_of,
    write_safetensors,
    write_torch,
)
from swinkit.weights.load import load_weights
from swinkit.weights.naming import detect_format, listed, outside_backbone


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A file's tensors and the model they are of.

    Attributes:
        path: the file.
        state: tensors by the file's own keys.
        format: how the keys are named.
        spec: stored in the file, or inferred from it and the catalog.
    """

    path: Path
    state: State
    format: str
    spec: ModelSpec

    @property
    def beside(self) -> list[str]:
        """Keys of a detector or segmenter outside its backbone."""
        return outside_backbone(self.state, FORMATS[self.format])


def read_checkpoint(path_or_name: str | os.PathLike[str]) -> Checkpoint:
    """Read a file, a run folder or a published checkpoint, and find out what it is.

    Raises:
        InputError: no such file or name, not readable, or not a Swin Transformer.
    """
    path, entry = _locate(path_or_name)
    state, metadata = read_state_dict(path)
    try:
        spec = read_spec(metadata)
        # Only our own files tell of a backbone of timm's, and only by their description.
        fmt = "swinkit" if spec is not None and not stands_on_swin(spec) else detect_format(state)
        spec = spec or _named(_published(infer_spec(state, path.stem), entry), metadata)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Checkpoint(path, state, fmt, spec)


def load(
    path_or_name: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    attention_impl: Implementation = "auto",
) -> nn.Module:
    """Build the model that a file holds and fill it, in evaluation mode.

    Args:
        path_or_name: our own file, a run folder, any published classification or backbone checkpoint
            (recognised by its keys), or a name of the catalog, which is downloaded once.
        device: where the model goes.
        attention_impl: see `swinkit.ops.window_attention`.

    Returns:
        A `Classifier` or a `Segmenter`, or a backbone where there is only that; its `spec` says what it is.

    Raises:
        InputError: nothing there, not readable, or keys that are left over or missing.
    """
    checkpoint = read_checkpoint(path_or_name)
    if checkpoint.beside:
        raise InputError(
            f"{checkpoint.path} holds more than a backbone ({listed(checkpoint.beside)}): this version loads "
            "its backbone alone, with swinkit.create_backbone(name, pretrained=path)."
        )
    model = build(checkpoint, attention_impl=attention_impl)
    load_weights(model, checkpoint.state, spec=checkpoint.spec)
    return model.to(device).eval()


def build(checkpoint: Checkpoint, *, attention_impl: Implementation = "auto") -> nn.Module:
    """Build a checkpoint's model with random weights: a classifier, or a backbone if there is only that."""
    spec = checkpoint.spec
    if is_backbone(checkpoint.state, checkpoint.format):
        model = build_backbone(swin_config(spec), attention_impl=attention_impl)
        vars(model)["spec"] = spec  # nn.Module types its attributes as tensors and modules only
        return model
    if (
        FORMATS[checkpoint.format].part == "classifier" and checkpoint.format != "swinkit"
    ):  # a published classifier norms only its last stage
        last = (len(swin_config(spec).depths) - 1,)
        backbone = dataclasses.replace(swin_config(spec), out_indices=last)
        spec = dataclasses.replace(spec, config=dataclasses.replace(spec.config, backbone=backbone))
    return build_model(spec, attention_impl=attention_impl)


def convert(src: str | os.PathLike[str], dst: str | os.PathLike[str], fmt: str = "swinkit") -> None:
    """Write a checkpoint in another format: .safetensors, or for any other suffix a torch file of "model" (of
    "state_dict", with the class names in "meta", for segmenters and detectors).

    Args:
        src: what `load` takes.
        dst: file to write; replaced when it exists.
        fmt: a name in `FORMATS`.

    Raises:
        InputError: as `load`; or the format cannot hold the model.
    """
    if fmt not in FORMATS:
        raise InputError(f"unknown format {fmt!r}: choose one of {', '.join(FORMATS)}.")
    model = load(src)
    spec = spec_of(model)
    state = to_file(model.state_dict(), fmt, spec)
    if Path(dst).suffix == ".safetensors":
        write_safetensors(state, dst, spec if fmt == "swinkit" else None)
    elif fmt == "swinkit":
        raise InputError(f"{dst}: swinkit files are safetensors; choose a name that ends in .safetensors.")
    else:
        dense = FORMATS[fmt].part in ("segmenter", "detector")  # their code reads "state_dict" alone
        write_torch(
            state,
            dst,
            key="state_dict" if dense else "model",
            class_names=spec.class_names if dense else (),
        )


def is_backbone(state: State, fmt: str) -> bool:
    """Whether a file holds a backbone alone."""
    return FORMATS[fmt].part == "backbone" or (fmt == "swinkit" and not has_trunk_prefix(state))


def _locate(path_or_name: str | os.PathLike[str]) -> tuple[Path, catalog.Entry | None]:
    if Path(path_or_name).expanduser().exists():
        path = find_file(path_or_name)
        return path, catalog.find(path.name)
    entry = catalog.find(str(path_or_name))
    if entry is not None:
        return fetch(entry.name), entry
    close = difflib.get_close_matches(
        str(path_or_name), [*catalog.DEFAULT_TAGS, *catalog.CATALOG, *VARIANTS], n=2
    )
    hint = (
        f"did you mean {' or '.join(close)}?"
        if close
        else "give a checkpoint, a run folder or a published name."
    )
    raise InputError(f"no file and no published checkpoint {str(path_or_name)!r}: {hint}")


def _named(spec: ModelSpec, metadata: Mapping[str, str]) -> ModelSpec:
    """Add the class names that a training program wrote into the file."""
    names = json.loads(metadata.get(CLASSES_KEY, "[]"))
    fits = len(names) == spec.config.num_classes and not spec.class_names
    return dataclasses.replace(spec, class_names=tuple(map(str, names))) if fits else spec


def _published(spec: ModelSpec, entry: catalog.Entry | None) -> ModelSpec:
    """Add what the catalog knows: name, preparation of pictures, class names."""
    if entry is None or entry.variant != spec.name or entry.num_classes != spec.config.num_classes:
        return spec
    names = imagenet_names() if entry.num_classes == IMAGENET_1K else ()
    return dataclasses.replace(spec, name=entry.name, preprocess=entry.preprocess, class_names=names)
