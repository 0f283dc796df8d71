"""One function that opens any kind of data set."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from swinkit.data.cache import with_cache
from swinkit.data.config import DataConfig, DataKind, Split
from swinkit.data.folder import has_splits, split_folder
from swinkit.errors import InputError

KINDS: dict[str, str] = {
    "folder": "swinkit.data.folder:open_folder",
    "digits": "swinkit.data.digits:open_digits",
    "cifar10": "swinkit.data.torchvision_sets:open_cifar10",
    "cifar100": "swinkit.data.torchvision_sets:open_cifar100",
    "imagenet": "swinkit.data.torchvision_sets:open_imagenet",
    "webdataset": "swinkit.data.webdataset_shards:open_shards",
}
"""Kind -> builder (DataConfig, Split) -> data set.

They are imported when used, because scikit-learn and webdataset are slow to import.
"""


class PictureDataset(Protocol):
    """Labelled pictures. Data sets of files also have `paths`, those that can be split have `labels`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Image.Image, int]: ...


def open_dataset(config: DataConfig, split: Split) -> Any:
    """Open one split of the data: a `PictureDataset`, or an iterable `ShardDataset` for tar shards.

    Raises:
        InputError: the data is missing or not laid out as its kind needs.
    """
    kind = resolve_kind(config)
    module, _, name = KINDS[kind].partition(":")
    dataset = getattr(importlib.import_module(module), name)(replace(config, kind=kind), split)
    return with_cache(dataset) if config.cache == "auto" else dataset


def resolve_kind(config: DataConfig) -> DataKind:
    """The kind of the data; "auto" is decided by what lies at `config.path`."""
    if config.kind != "auto":
        return config.kind
    if config.shards is not None:
        return "webdataset"
    if config.path is not None and str(config.path) in KINDS and not Path(config.path).exists():
        raise InputError(
            f"there is no folder {config.path}: for the built-in data write --data.kind {config.path}."
        )
    if config.path is not None and Path(config.path).is_dir() and _has_shards(Path(config.path)):
        return "webdataset"
    return "folder"  # whose errors describe the expected layout


def has_validation(config: DataConfig) -> bool:
    """Whether there are pictures to validate on: held out of the training ones, or a part of their own."""
    kind = resolve_kind(config)
    if config.val_fraction > 0 or kind == "imagenet":
        return True
    if kind == "webdataset":
        return importlib.import_module("swinkit.data.webdataset_shards").has_val_shards(config)
    root = config.path if kind == "folder" else None
    return config.val_path is not None or (
        root is not None and has_splits(Path(root)) and split_folder(Path(root), "val") is not None
    )


def is_flat_folder(config: DataConfig) -> bool:
    """Whether the data is a folder of classes that is not divided into train, val and test."""
    return resolve_kind(config) == "folder" and config.path is not None and not has_splits(Path(config.path))


def _has_shards(root: Path) -> bool:
    return any(root.glob("*.tar")) or any(root.glob("*/*.tar"))
