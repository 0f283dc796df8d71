"""A look at the masks before training: which classes there are, how much of each, and what will go wrong."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from swinkit.data.masks import MaskDataset
from swinkit.errors import InputError
from swinkit.segmentation.config import IGNORE

RARE = 0.005
"""Share of the labelled pixels below which a class is called rare."""
HIDDEN = 0.5
"""Share of ignored pixels above which that is worth a word."""


@dataclass(frozen=True, kw_only=True)
class LookOver:
    """What the masks hold.

    Attributes:
        names: of the classes.
        masks: how many were read.
        of: how many there are.
        pixels: labelled pixels of each class.
        pictures: masks in which each class occurs.
        ignored: pixels without a class.
    """

    names: tuple[str, ...]
    masks: int
    of: int
    pixels: tuple[int, ...]
    pictures: tuple[int, ...]
    ignored: int

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the labelled pixels, each class's."""
        total = max(1, sum(self.pixels))
        return tuple(count / total for count in self.pixels)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        rows = zip(self.names, self.pixels, self.shares, self.pictures, strict=True)
        return {
            "masks_read": self.masks,
            "masks": self.of,
            "ignored_pixels": self.ignored,
            "classes": [
                {"name": name, "pixels": pixels, "share": share, "pictures": pictures}
                for name, pixels, share, pictures in rows
            ],
        }


def look_over(
    dataset: MaskDataset, *, limit: int = 4000, on_mask: Callable[[], None] | None = None
) -> LookOver:
    """Read the masks (an even sample above `limit`) and the sizes of their pictures.

    Raises:
        InputError: a mask cannot be read, has a value of no class or another size than its picture, has no
            labelled pixel at all, or all of them together have fewer than two classes.
    """
    count = len(dataset)
    chosen = sorted({int(index) for index in np.linspace(0, count - 1, min(count, limit))})
    classes = len(dataset.classes)
    pixels, pictures, ignored = np.zeros(classes, np.int64), np.zeros(classes, np.int64), 0

    def read(index: int) -> np.ndarray:
        mask = dataset.mask(index)
        _check_size(dataset, index, mask)
        return np.bincount(mask.ravel(), minlength=256)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for index, counts in zip(chosen, pool.map(read, chosen), strict=True):
            if not counts[:classes].sum():
                raise InputError(
                    f"{dataset.mask_paths[index]} has no labelled pixel, all are ignored: remove the mask "
                    f"and {dataset.paths[index]}, or correct it."
                )
            pixels += counts[:classes]
            pictures += counts[:classes] > 0
            ignored += int(counts[IGNORE])
            if on_mask is not None:
                on_mask()
    found = LookOver(
        names=dataset.classes,
        masks=len(chosen),
        of=count,
        pixels=tuple(pixels.tolist()),
        pictures=tuple(pictures.tolist()),
        ignored=ignored,
    )
    present = [name for name, count in zip(found.names, found.pixels, strict=True) if count]
    if len(present) < 2:
        raise InputError(
            f"all {len(chosen)} masks hold only the class {present[0]!r}: there is nothing to tell apart; "
            "if 255 is a class of yours, name the values with --data.values."
        )
    return found


def warnings_of(train: LookOver, val: LookOver | None = None, *, balanced: bool = False) -> list[str]:
    """Say what will go wrong: classes missing, rare, or only in validation; most pixels ignored.

    Args:
        train: of the training masks.
        val: of the validation masks.
        balanced: whether the loss weighs rare classes already.
    """
    lines = []
    missing = [name for name, count in zip(train.names, train.pixels, strict=True) if not count]
    if missing:
        lines.append(
            f"{_listed(missing)} never occur in the training masks, so the model cannot learn them: "
            "check the class list."
        )
    shares = zip(train.names, train.shares, strict=True)
    rare = [f"{name} ({100 * share:.2g}%)" for name, share in shares if 0 < share < RARE]
    if rare and not balanced:
        lines.append(
            f"{_listed(rare)} have few pixels, and plain cross-entropy tends to forget such classes: "
            "consider --loss.class-weights counted or --loss.dice 1."
        )
    hidden = train.ignored / max(1, train.ignored + sum(train.pixels))
    if hidden > HIDDEN:
        lines.append(f"{100 * hidden:.0f}% of the training pixels are ignored: is that meant?")
    if val is not None:
        pairs = zip(train.names, train.pixels, val.pixels, strict=True)
        unseen = [name for name, seen, wanted in pairs if wanted and not seen]
        if unseen:
            lines.append(f"{_listed(unseen)} occur in validation only and will score 0 there.")
        absent = [name for name, count in zip(val.names, val.pixels, strict=True) if not count]
        if absent:
            lines.append(f"{_listed(absent)} do not occur in validation, so its mean IoU leaves them out.")
    return lines


def _check_size(dataset: MaskDataset, index: int, mask: np.ndarray) -> None:
    """Compare to the picture's size, from its header alone unless that may be turned by EXIF."""
    try:
        with Image.open(dataset.paths[index]) as image:
            turned = image.getexif().get(0x0112, 1) >= 5
            size = image.size if turned else image.size[::-1]
    except (OSError, SyntaxError, ValueError):
        return  # reading it will say what is wrong
    if size != mask.shape:
        dataset[index]


def _listed(names: list[str], limit: int = 6) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
