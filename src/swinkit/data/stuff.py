"""Stuff maps: the class of every pixel beside the objects of a picture, as COCO-Stuff has them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from swinkit.data.mask_files import read_mask
from swinkit.data.objects import ObjectDataset, ObjectRecord, Problems
from swinkit.errors import InputError

FOLDER = "stuffthingmaps"
"""Of the published COCO maps, beside the folder of annotations; its parts are called as those of the
pictures."""
NOTHING = 255
"""The value of pixels without a class."""


def find_stuff(dataset: ObjectDataset, root: Path) -> Path | None:
    """Return the folder of the published layout that holds the maps of these pictures, or None."""
    if not dataset.records:
        return None
    name = dataset.records[0].path.parent.name
    base = root if root.is_dir() else root.parent
    places = [base / FOLDER / name, base.parent / FOLDER / name]
    return next((place for place in places if place.is_dir()), None)


def with_stuff(dataset: ObjectDataset, folder: Path, problems: Problems) -> ObjectDataset:
    """Give every picture its map, FOLDER/NAME.png, NAME being the picture's.

    Raises:
        InputError: there is no such folder; or, as `problems` says, a picture has no map.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: --data.stuff is a folder with a PNG file a picture.")
    return _only_mapped(
        with_known_stuff(dataset, folder),
        problems,
        lambda record: f"{record.path.name} has no stuff map {_place(record, folder)}",
    )


def with_known_stuff(dataset: ObjectDataset, folder: Path) -> ObjectDataset:
    """Give every picture its map, if the folder has it; whether all must have one depends on the detector."""
    records = (
        replace(record, stuff=place) if (place := _place(record, folder)).is_file() else record
        for record in dataset.records
    )
    return replace(dataset, records=tuple(records))


def only_with_stuff(dataset: ObjectDataset, problems: Problems) -> ObjectDataset:
    """Report the pictures without a map where others have one.

    Raises:
        InputError: as `problems` says.
    """
    if not any(record.stuff is not None for record in dataset.records):
        return dataset
    return _only_mapped(
        dataset,
        problems,
        lambda record: f"{record.path.name} has no stuff map, as other pictures have",
    )


def open_stuff(record: ObjectRecord, classes: int) -> Image.Image:
    """Return a picture's map, 8 bit.

    Args:
        record: a picture with a map.
        classes: pixels have a number below this, or 255.

    Raises:
        InputError: the map cannot be read, has another size than the picture, or a class too high.
    """
    assert record.stuff is not None
    stuff = read_mask(record.stuff)
    if stuff.ndim != 2:
        raise InputError(f"{record.stuff} is a colour picture: a stuff map has one number a pixel.")
    if stuff.shape != record.size:
        raise InputError(
            f"{record.stuff} is {stuff.shape[1]} x {stuff.shape[0]} pixels, its picture {record.size[1]} x "
            f"{record.size[0]}: they must be alike."
        )
    numbers = np.unique(stuff)
    wrong = numbers[((numbers < 0) | (numbers >= classes)) & (numbers != NOTHING)]
    if len(wrong):
        raise InputError(
            f"{record.stuff} has the class {wrong[0]}, but there are {classes}: correct it, or raise "
            "--model.stuff-classes."
        )
    return Image.fromarray(stuff.astype(np.uint8))


def _place(record: ObjectRecord, folder: Path) -> Path:
    return folder / f"{record.path.stem}.png"


def _only_mapped(
    dataset: ObjectDataset, problems: Problems, told: Callable[[ObjectRecord], str]
) -> ObjectDataset:
    """Report the pictures without a map, and leave them out."""
    for record in dataset.records:
        if record.stuff is None:
            problems.add(told(record), "add it")
    kept = tuple(record for record in dataset.records if record.stuff is not None)
    return replace(dataset, records=kept, problems=(*dataset.problems, *problems.close()))
