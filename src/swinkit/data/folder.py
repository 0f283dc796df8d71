"""Pictures in one folder per class, with or without train / val / test folders above them."""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from swinkit.data.config import DataConfig, Split
from swinkit.data.pictures import open_picture, pictures_below
from swinkit.data.splitting import stratified_split
from swinkit.errors import InputError

SPLIT_FOLDERS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
LAYOUT = (
    "expected CLASS/picture.jpg with one folder per class, or train/CLASS/picture.jpg and "
    "val/CLASS/picture.jpg, or WebDataset *.tar shards"
)
_log = logging.getLogger("swinkit")


class FolderDataset:
    """Labelled picture files, read when asked for.

    Attributes:
        classes: class names; a label is a position in them.
        paths: one file per item.
        labels: one label per item.
    """

    def __init__(self, paths: Sequence[Path], labels: Sequence[int], classes: Sequence[str]) -> None:
        assert len(paths) == len(labels)
        self.paths = tuple(paths)
        self.labels = tuple(labels)
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return open_picture(self.paths[index]), self.labels[index]

    def pixel_counts(self) -> Iterator[int]:
        """Pixels of each picture in turn, from the file headers alone (for the cache)."""
        for path in self.paths:
            try:
                with Image.open(path) as image:
                    yield image.width * image.height
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
                yield 0  # a damaged file is reported, with its name, when it is its turn


def open_folder(config: DataConfig, split: Split) -> FolderDataset:
    """Open one split of a folder of classes; "all" is every picture of a folder that has no split folders.

    Raises:
        InputError: the folder is missing or empty, a class has no pictures, train and val differ in their
            classes, or the split asked for does not exist.
    """
    root = _require_folder(config.path)
    train_root = split_folder(root, "train") if has_splits(root) else root
    other = config.val_path if split == "val" and config.val_path else None
    if other is None and split in ("val", "test") and has_splits(root):
        other = split_folder(root, split)
    if other is not None:
        dataset = _read_classes(_require_folder(other))
        if train_root is not None:
            _check_same_classes(train_root, Path(other))
    elif split == "test" or train_root is None:
        here = ", ".join(sorted(item.name for item in root.iterdir() if item.is_dir()))
        raise InputError(
            f"{root} has no {split} folder (folders there: {here}): add it or ask for another split."
        )
    else:
        dataset = _read_classes(train_root)
        dataset = dataset if split == "all" else _hold_out(dataset, config, root, split)
    return without_bad_pictures(dataset) if config.bad_pictures == "skip" else dataset


def has_splits(root: Path) -> bool:
    """Whether `root` holds train, val or test folders of classes rather than classes."""
    names = (name for names in SPLIT_FOLDERS.values() for name in names)
    return any(class_folders(root / name) for name in names if (root / name).is_dir())


def split_folder(root: Path, split: str) -> Path | None:
    """The folder of `split` in `root`, or None."""
    return next((root / name for name in SPLIT_FOLDERS[split] if (root / name).is_dir()), None)


def class_folders(root: Path) -> list[Path]:
    """The folders in `root`, sorted by name; hidden ones are left out."""
    return sorted(item for item in root.iterdir() if item.is_dir() and not item.name.startswith("."))


def without_bad_pictures(dataset: FolderDataset) -> FolderDataset:
    """Decode every picture once; name those that fail in the log, once each, and leave them out."""

    def failure(path: Path) -> str | None:
        try:
            open_picture(path, at_least=(1, 1))  # the smallest decode still reads the whole file
        except InputError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failures = list(pool.map(failure, dataset.paths))
    for message in filter(None, failures):
        _log.warning("left out: %s", message)
    good = [index for index, message in enumerate(failures) if message is None]
    kept = _select(dataset, good)
    for label, name in enumerate(kept.classes):
        if label not in set(kept.labels) and label in set(dataset.labels):
            raise InputError(
                f"class {name!r} has no readable picture left after leaving out the damaged ones."
            )
    return kept


def _require_folder(path: Path | None) -> Path:
    if path is None:
        raise InputError(f"no data folder was given: use --data FOLDER; {LAYOUT}.")
    path = Path(path)
    if not path.exists():
        raise InputError(f"the data folder {path} does not exist: {LAYOUT}.")
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: {LAYOUT}.")
    if not any(path.iterdir()):
        raise InputError(f"the data folder {path} is empty: {LAYOUT}.")
    return path


def _read_classes(root: Path) -> FolderDataset:
    folders = class_folders(root)
    if not folders:
        raise InputError(f"{root} has no class folders: {LAYOUT}.")
    paths: list[Path] = []
    labels: list[int] = []
    empty: list[str] = []
    for label, folder in enumerate(folders):
        found = pictures_below(folder)
        paths += found
        labels += [label] * len(found)
        if not found:
            empty.append(folder.name)
    if empty:
        raise InputError(f"no pictures in {_names(empty)} of {root}: add some or remove the folder.")
    return FolderDataset(paths, labels, [folder.name for folder in folders])


def _check_same_classes(first: Path, second: Path) -> None:
    one, two = ({folder.name for folder in class_folders(root)} for root in (first, second))
    parts = [
        f"{_names(sorted(extra))} only in {root}"
        for extra, root in ((one - two, first), (two - one, second))
        if extra
    ]
    if parts:
        raise InputError(f"the classes differ: {'; '.join(parts)}: both need the same class folders.")


def _hold_out(dataset: FolderDataset, config: DataConfig, root: Path, split: str) -> FolderDataset:
    has_own_val = config.val_path is not None or (has_splits(root) and split_folder(root, "val") is not None)
    if split == "train" and has_own_val:
        return dataset
    kept, held = stratified_split(dataset.labels, config.val_fraction, config.split_seed)
    if split == "val" and not held:
        raise InputError(
            f"nothing to validate on in {root}: set val_fraction above 0 or add a val folder "
            "(a class needs at least two pictures)."
        )
    return _select(dataset, kept if split == "train" else held)


def _select(dataset: FolderDataset, indices: Sequence[int]) -> FolderDataset:
    return FolderDataset(
        [dataset.paths[index] for index in indices],
        [dataset.labels[index] for index in indices],
        dataset.classes,
    )


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{'class' if len(names) == 1 else 'classes'} {shown}{more}"
