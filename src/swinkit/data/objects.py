"""Pictures with objects: boxes, classes and outlines, whatever files they came from."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from PIL import Image

from swinkit.data.pictures import open_picture
from swinkit.errors import InputError

Segment = list[list[float]] | dict[str, Any]
"""An outline: polygons of x, y, x, y, ... in pixels, or a run-length code {"size": [h, w], "counts": ...}."""

MASKS: Any = coco_mask
"""Its annotations do not tell one code from a list of them."""
_log = logging.getLogger("swinkit")


@dataclass(frozen=True, eq=False)
class ObjectRecord:
    """One picture and its objects.

    Attributes:
        path: the picture.
        id: of the picture, in the annotations.
        size: (height, width) in pixels.
        boxes: (G, 4) float32, x1 y1 x2 y2 in pixels.
        labels: (G,) int64, class numbers from 0.
        crowd: (G,) bool: a box around many objects, which is neither trained nor counted as missed.
        areas: (G,) in square pixels, as the annotations say.
        segments: an outline of each object; None where there are none.
    """

    path: Path
    id: int | str
    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    segments: tuple[Segment | None, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ObjectDataset:
    """Pictures with objects.

    Attributes:
        classes: names in the order of the labels.
        category_ids: the annotations' number of each class.
        records: the pictures.
        problems: what was left out of the annotations, one sentence each.
    """

    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    records: tuple[ObjectRecord, ...]
    problems: tuple[str, ...] = field(default=(), repr=False)

    @property
    def paths(self) -> tuple[Path, ...]:
        """One file a picture."""
        return tuple(record.path for record in self.records)

    @property
    def has_masks(self) -> bool:
        """Whether every object has an outline."""
        segments = [segment for record in self.records for segment in record.segments]
        return bool(segments) and all(segment is not None for segment in segments)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Image.Image, ObjectRecord]:
        """The picture, upright RGB, and its objects.

        Raises:
            InputError: the picture cannot be read, or has another size than the annotations say.
        """
        record = self.records[index]
        picture = open_picture(record.path)
        if (picture.height, picture.width) != record.size:
            raise InputError(
                f"{record.path} is {picture.width} x {picture.height} pixels, but its annotation says "
                f"{record.size[1]} x {record.size[0]}: correct the annotation, or the picture."
            )
        return picture, record

    def subset(self, indices: Sequence[int]) -> "ObjectDataset":
        """Return only these pictures."""
        records = tuple(self.records[index] for index in indices)
        return ObjectDataset(self.classes, self.category_ids, records, self.problems)

    def ordered(self, classes: tuple[str, ...]) -> "ObjectDataset":
        """Return the same with the classes, and the labels accordingly, in this order."""
        if classes == self.classes:
            return self
        place = np.array([classes.index(name) for name in self.classes])
        records = tuple(replace(record, labels=place[record.labels]) for record in self.records)
        numbers = tuple(self.category_ids[self.classes.index(name)] for name in classes)
        return ObjectDataset(classes, numbers, records, self.problems)

    def to_coco(self) -> dict[str, Any]:
        """Return everything as a COCO data set; pictures are numbered from 0 in their order here."""
        return {
            "info": {},
            "images": [
                {
                    "id": number,
                    "file_name": record.path.name,
                    "height": record.size[0],
                    "width": record.size[1],
                }
                for number, record in enumerate(self.records)
            ],
            "annotations": list(self._annotations()),
            "categories": [
                {"id": number, "name": name}
                for number, name in zip(self.category_ids, self.classes, strict=True)
            ],
        }

    def _annotations(self) -> Iterator[dict[str, Any]]:
        number = 1
        for picture, record in enumerate(self.records):
            for at, label in enumerate(record.labels):
                x1, y1, x2, y2 = (float(value) for value in record.boxes[at])
                annotation: dict[str, Any] = {
                    "id": number,
                    "image_id": picture,
                    "category_id": self.category_ids[label],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(record.areas[at]),
                    "iscrowd": int(record.crowd[at]),
                }
                if record.segments[at] is not None:
                    annotation["segmentation"] = record.segments[at]
                number += 1
                yield annotation


def draw_segment(segment: Segment, size: tuple[int, int]) -> np.ndarray:
    """Return an outline as a mask (H, W) uint8 of 0 and 1 in a picture of `size` (height, width)."""
    return MASKS.decode(to_rle(segment, size))


def to_rle(segment: Segment, size: tuple[int, int]) -> dict[str, Any]:
    """Return an outline as COCO's compressed run-length code."""
    height, width = size
    if isinstance(segment, dict):
        counts = segment["counts"]
        return MASKS.frPyObjects(segment, height, width) if isinstance(counts, list) else segment
    return MASKS.merge(MASKS.frPyObjects(segment, height, width))


def encode_mask(mask: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> dict[str, Any]:
    """Return a mask as COCO's compressed run-length code, with text for counts as JSON needs it.

    Args:
        mask: (h, w) bool, the part of the picture in which there is anything.
        corner: (row, column) of its top left pixel.
        size: (height, width) of the picture.
    """
    height = size[0]
    edges = np.diff(np.pad(mask.astype(np.int8), ((1, 1), (0, 0))), axis=0)
    # Runs go down the columns; both lists come out in that order.
    first_column, first_row = np.nonzero(edges.T == 1)
    last_column, last_row = np.nonzero(edges.T == -1)
    starts = (corner[1] + first_column) * height + corner[0] + first_row
    ends = (corner[1] + last_column) * height + corner[0] + last_row
    turns = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(np.concatenate([[0], turns, [height * size[1]]]))
    code = MASKS.frPyObjects({"size": list(size), "counts": counts.tolist()}, *size)
    text = code["counts"]
    return {"size": list(size), "counts": text.decode() if isinstance(text, bytes) else text}


class Problems:
    """Collects what is wrong with annotations: stops at the first, or leaves it out and goes on.

    Args:
        policy: "error" or "skip".
    """

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.found: list[str] = []

    def add(self, sentence: str, cure: str) -> None:
        """Report one.

        Raises:
            InputError: with the policy "error".
        """
        if self.policy == "error":
            raise InputError(f"{sentence}: {cure}, or leave such out with --data.bad skip.")
        self.found.append(sentence)
        if len(self.found) <= 5:
            _log.warning("left out: %s", sentence)

    def close(self) -> tuple[str, ...]:
        """Say how many there were and return them."""
        if len(self.found) > 5:
            _log.warning("left out: %d more wrong annotations or pictures", len(self.found) - 5)
        return tuple(self.found)


def clean_box(
    box: Sequence[float], size: tuple[int, int], name: str, problems: Problems
) -> tuple[float, float, float, float] | None:
    """Return x1 y1 x2 y2 clipped to the picture, or None after reporting a box that cannot be used.

    Args:
        box: x, y, width, height in pixels.
        size: (height, width) of the picture.
        name: what the box is called in errors.
        problems: where to report.
    """
    if not is_box(box):
        problems.add(f"{name} has the box {box!r}, not four numbers x, y, width, height", "correct it")
        return None
    x, y, width, height = (float(value) for value in box)
    if width <= 0 or height <= 0:
        problems.add(f"{name} has a box of no area ({width:g} x {height:g})", "correct it")
        return None
    x1, y1 = max(x, 0.0), max(y, 0.0)
    x2, y2 = min(x + width, float(size[1])), min(y + height, float(size[0]))
    if x2 <= x1 or y2 <= y1:
        problems.add(
            f"{name} has a box outside its picture (x {x:g}, y {y:g}, {width:g} x {height:g} in "
            f"{size[1]} x {size[0]})",
            "correct it",
        )
        return None
    return x1, y1, x2, y2


def is_box(box: Any) -> bool:
    """Whether this is a list of four finite numbers."""
    return (
        isinstance(box, (list, tuple))
        and len(box) == 4
        and all(isinstance(value, (int, float)) and math.isfinite(value) for value in box)
    )


def make_record(
    path: Path, number: int | str, size: tuple[int, int], rows: list[dict[str, Any]]
) -> ObjectRecord:
    """Gather rows {"box", "label", "crowd", "area", "segment"} into a record."""
    return ObjectRecord(
        path=path,
        id=number,
        size=size,
        boxes=np.array([row["box"] for row in rows], dtype=np.float32).reshape(-1, 4),
        labels=np.array([row["label"] for row in rows], dtype=np.int64),
        crowd=np.array([row.get("crowd", False) for row in rows], dtype=bool),
        areas=np.array([row["area"] for row in rows], dtype=np.float64),
        segments=tuple(row.get("segment") for row in rows),
    )
