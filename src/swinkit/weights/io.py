"""Reading and writing checkpoint files. Nothing a file contains is ever executed."""

import json
import os
import pickle
import pickletools
import re
import warnings
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from swinkit.errors import InputError
from swinkit.files import atomic_path
from swinkit.spec import ModelSpec, from_dict, to_dict

METADATA_KEY = "swinkit"
"""Where the specification is, as JSON: safetensors' metadata, or the top level of a torch file."""

CLASSES_KEY = "classes"
"""Metadata entry with the class names, as a JSON list, that a training program wrote beside the tensors."""

IN_A_FOLDER = ("model.safetensors", "pytorch_model.bin", "checkpoints/best.ckpt", "checkpoints/last.ckpt")
"""What a run folder or a downloaded model folder may hold, the preferred first."""

_WRAPPERS = ("state_dict", "model", "model_state_dict", "model_state", "module", "net")
"""Entries under which training programs keep the tensors."""
_HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
_PREFIXES = ("module.", "model.")
"""What wrappers put before every key."""


def find_file(path: str | os.PathLike[str]) -> Path:
    """Return the weights file at a path or in a folder.

    Raises:
        InputError: nothing there, or a folder without weights.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        for name in IN_A_FOLDER:
            if (path / name).is_file():
                return path / name
        raise InputError(f"{path} is a folder without weights: expected {' or '.join(IN_A_FOLDER)} in it.")
    if not path.exists():
        raise InputError(
            f"no file {path}: give the path of a checkpoint, a run folder or a name of `swinkit models`."
        )
    return path


def read_state_dict(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a checkpoint's tensors, on the CPU, and its metadata.

    Args:
        path: a .safetensors file, one written by torch.save (.pth, .pt, .bin, .ckpt), or a folder with one.

    Returns:
        Tensors by key, without "module." and the like; metadata ("swinkit": specification as JSON, if any).

    Raises:
        InputError: missing, not readable, corrupt, truncated, not a checkpoint, or pickled code.
    """
    path = find_file(path)
    try:
        path.open("rb").close()  # the reader of safetensors would say that there is no such file
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        content = _read_torch(path)
    except PermissionError as error:
        raise InputError(f"{path} may not be read: its permissions forbid it, so change them.") from error
    metadata = {METADATA_KEY: content[METADATA_KEY]} if isinstance(content.get(METADATA_KEY), str) else {}
    names = _class_names(content.get("meta"))
    if names:
        metadata[CLASSES_KEY] = json.dumps(names)
    return _strip(_unwrap(content, path)), metadata


def read_spec(metadata: Mapping[str, str]) -> ModelSpec | None:
    """Return the specification stored in a file's metadata, or None when there is none.

    Raises:
        InputError: it is damaged or of a newer version.
    """
    text = metadata.get(METADATA_KEY)
    if text is None:
        return None
    try:
        spec = from_dict(json.loads(text))
        if not isinstance(spec, ModelSpec):
            raise TypeError(f"it is of a {type(spec).__name__}")
    except (json.JSONDecodeError, TypeError, RecursionError) as error:
        raise InputError(f"the model description in the file's metadata is damaged ({error}).") from error
    return spec


def spec_of(model: nn.Module) -> ModelSpec:
    """Return `model.spec`.

    Raises:
        InputError: the module has none, so it cannot be stored in a way that `load` could rebuild.
    """
    spec = getattr(model, "spec", None)
    if not isinstance(spec, ModelSpec):
        raise InputError(
            f"{type(model).__name__} has no `spec`: build it with swinkit.create_model or swinkit.load."
        )
    return spec


def save(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a model as safetensors with its specification inside, so that `load(path)` rebuilds it.

    The file appears whole or not at all; what stood there before stays until then.

    Raises:
        InputError: the model has no `spec` or is an optimised one, or the disk is full or not writable.
    """
    if any(isinstance(getattr(part, "source", None), nn.Module) for part in model.modules()):
        raise InputError("an optimised model holds no weights: save the model it was made from.")
    write_safetensors(model.state_dict(), path, spec_of(model))


def write_safetensors(
    state: Mapping[str, Tensor], path: str | os.PathLike[str], spec: ModelSpec | None
) -> None:
    """Write tensors, and the specification when there is one, as a safetensors file."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    metadata = {"format": "pt"}
    if spec is not None:
        metadata[METADATA_KEY] = json.dumps(to_dict(spec))
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # its writer reports a full disk this way
            raise OSError(str(error)) from error


def write_torch(
    state: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    *,
    key: str = "model",
    class_names: Sequence[str] = (),
) -> None:
    """Write tensors under "model", as the official classifiers have them, or under another `key`.

    Class names go where both generations of mmsegmentation and mmdetection look for them.
    """
    content: dict[str, Any] = {key: dict(state)}
    if class_names:
        names = tuple(class_names)
        content["meta"] = {"CLASSES": names, "dataset_meta": {"classes": names}}
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # torch's zip writer reports a full disk this way
            raise OSError(str(error)) from error


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
            return _strip(state), file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is not a readable safetensors file, it may be truncated ({error}): download or copy it "
            "again."
        ) from error


def _harmless() -> list[Any]:
    """Classes often found beside the weights that only hold data; everything else is refused.

    Configuration nodes of the official training code, and the loss curves that mmengine keeps, come out as
    plain ordered dictionaries.
    """
    scalar, reconstruct = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
    makers = [
        (make, f"{home}.multiarray.{name}")
        for home in ("numpy.core", "numpy._core")
        for make, name in ((scalar, "scalar"), (reconstruct, "_reconstruct"))
    ]
    types = {type(np.dtype(code)) for code in ("?", "i1", "u1", "i4", "i8", "f2", "f4", "f8")}
    return [
        *makers,
        *types,
        np.ndarray,
        np.dtype,
        Namespace,
        (OrderedDict, "yacs.config.CfgNode"),
        (OrderedDict, _HISTORY),
    ]


def _read_torch(path: Path) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)  # refused just below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(_explain(path, str(error))) from error
    except Exception as error:  # whatever its unpickler stumbles over in bytes that are no pickle
        if _was_checkpoint(path):
            raise InputError(f"{path} is damaged or truncated: download or copy it again.") from error
        raise InputError(_no_checkpoint(path)) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a checkpoint: named tensors.")
    return content


def _class_names(meta: Any) -> list[str]:
    """Class names that mmsegmentation and mmdetection keep: meta.CLASSES, or meta.dataset_meta.classes."""
    if not isinstance(meta, dict):
        return []
    inner = meta.get("dataset_meta")
    names = meta.get("CLASSES") or (inner.get("classes") if isinstance(inner, dict) else None)
    return [str(name) for name in names] if isinstance(names, (list, tuple)) else []


def _explain(path: Path, message: str) -> str:
    found = re.search(r"(?:GLOBAL|[Cc]lass|global:?)\s+`?([\w.]+\.[\w]+)", message)
    name = found[1] if found else _first_global(path)
    if name is None:
        return _no_checkpoint(path)
    return (
        f"{path} contains pickled code ({name}), which could do anything when it is loaded, so it is "
        "refused: if you trust its source, re-save only its tensors with the program that made it."
    )


def _no_checkpoint(path: Path) -> str:
    return f"{path} is not a checkpoint: expected a .safetensors file or one written by torch.save."


def _was_checkpoint(path: Path) -> bool:
    """Whether a file that torch cannot read begins as its files do, and is no zip file of something else."""
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK":
        try:
            return bool(_pickle_in(path))
        except Exception:  # a zip file with a hole
            return True
    return start[:1] == pickle.PROTO and start[1:] <= bytes([pickle.HIGHEST_PROTOCOL])


def _pickle_in(path: Path) -> bytes:
    """The pickle of a zip file of torch.save, or nothing: another zip file, or a TorchScript program."""
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
        name = next((name for name in names if name.endswith("/data.pkl")), None)
        script = any(name.endswith("/constants.pkl") for name in names)
        return b"" if name is None or script else file.read(name)


def _first_global(path: Path) -> str | None:
    """Name of the first class or function that a whole pickle asks for. It is only read, not run."""
    words: list[str] = []
    found: list[str] = []
    try:
        content = _pickle_in(path) if zipfile.is_zipfile(path) else path.read_bytes()
        for opcode, value, _ in pickletools.genops(content):
            if opcode.name in ("GLOBAL", "INST"):
                found.append(str(value).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                found.append(".".join(words[-2:]))
            elif isinstance(value, str):
                words.append(value)
    except Exception:  # not a pickle to its end
        return None
    return found[0] if found else None


def _unwrap(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    for _ in range(3):
        if any(isinstance(value, Tensor) for value in content.values()):
            break
        inner = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), dict)), None)
        if inner is None:
            break
        content = inner
    state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        keys = ", ".join(map(str, list(content)[:4])) or "nothing"
        raise InputError(f"{path} holds no named tensors (it holds {keys}): expected a checkpoint.")
    return state


def _strip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {key.replace("_orig_mod.", ""): value for key, value in state.items()}
    for prefix in _PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
