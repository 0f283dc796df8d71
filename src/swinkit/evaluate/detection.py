"""Measuring a detector on pictures with known objects."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from swinkit.data.objects import ObjectDataset, encode_mask
from swinkit.detection.structures import Detections
from swinkit.errors import InputError
from swinkit.evaluate.coco_ap import ApReport, coco_ap
from swinkit.evaluate.picture_detector import PictureDetector
from swinkit.ops.masks import paste_mask


@dataclass(frozen=True)
class DetectionReport:
    """How good a detector is.

    Attributes:
        boxes: average precision of the boxes.
        masks: of the masks; None where model or truth has none.
        seconds: that detection took, with reading the pictures.
    """

    boxes: ApReport
    masks: ApReport | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        masks = None if self.masks is None else self.masks.to_dict()
        return {"boxes": self.boxes.to_dict(), "masks": masks, "seconds": self.seconds}


def evaluate_detector(
    detector: PictureDetector,
    dataset: ObjectDataset,
    *,
    max_detections: tuple[int, int, int] = (1, 10, 100),
    on_picture: Callable[[], None] = lambda: None,
    on_bad: Callable[[InputError], None] | None = None,
) -> tuple[DetectionReport, list[dict[str, Any]]]:
    """Detect in all pictures and score; return the report and the detections in COCO's format.

    Args:
        detector: the model and how it looks.
        dataset: the pictures; their classes may be in another order than the model's.
        max_detections: best detections a picture that count.
        on_picture: called after each picture.
        on_bad: called with the error of a picture that cannot be read, which is then not scored; None: the
            error is raised.

    Raises:
        InputError: a picture cannot be read, or the classes are not the model's.
    """
    dataset = match_classes(dataset, detector.model.spec.class_names, detector.model.config.num_classes)
    start = time.perf_counter()
    rows: list[dict[str, Any]] = []
    seen: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(dataset.__getitem__, index) for index in range(min(4, len(dataset)))]
        for index in range(len(dataset)):
            future = waiting.pop(0)
            if index + 4 < len(dataset):
                waiting.append(pool.submit(dataset.__getitem__, index + 4))
            try:
                picture, record = future.result()
            except InputError as error:
                if on_bad is None:
                    raise
                on_bad(error)
            else:
                found = detector(picture)
                rows += to_coco(found, index, record.size, dataset.category_ids, detector.select.mask)
                seen.append(index)
            on_picture()
    if not seen:
        raise InputError(f"not one of the {len(dataset)} pictures can be read.")
    seconds = time.perf_counter() - start
    counted, known = without_unseen(rows, dataset, seen)
    masks = detector.model.has_masks
    return score(counted, known, masks=masks, max_detections=max_detections, seconds=seconds), rows


def without_unseen(
    rows: list[dict[str, Any]], dataset: ObjectDataset, seen: Sequence[int]
) -> tuple[list[dict[str, Any]], ObjectDataset]:
    """Leave the pictures that could not be read out of the truth, and number the detections accordingly."""
    kept = sorted(set(seen))
    if len(kept) == len(dataset):
        return rows, dataset
    place = {number: at for at, number in enumerate(kept)}
    return [{**row, "image_id": place[row["image_id"]]} for row in rows], dataset.subset(kept)


def score(
    rows: Sequence[dict[str, Any]],
    dataset: ObjectDataset,
    *,
    masks: bool,
    max_detections: tuple[int, int, int] = (1, 10, 100),
    seconds: float = 0.0,
) -> DetectionReport:
    """Score detections, whose image ids are positions in `dataset`; with `masks` they have masks, which are
    scored too if the data have."""
    truth = dataset.to_coco()
    boxes = coco_ap(truth, rows, "bbox", max_detections=max_detections)
    outlined = masks and dataset.has_masks
    found = coco_ap(truth, rows, "segm", max_detections=max_detections) if outlined else None
    return DetectionReport(boxes, found, seconds)


def to_coco(
    found: Detections,
    image_id: int | str,
    size: tuple[int, int],
    category_ids: Sequence[int],
    threshold: float = 0.5,
) -> list[dict[str, Any]]:
    """Return detections in COCO's result format: bbox is x, y, width, height; masks are run-length codes.

    Args:
        found: in pixels of the picture.
        image_id: of the picture.
        size: its (height, width).
        category_ids: number of each class.
        threshold: least probability of a pixel of a mask.
    """
    codes = mask_codes(found, size, threshold)
    rows = []
    for at, (box, value, label) in enumerate(
        zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    ):
        row: dict[str, Any] = {
            "image_id": image_id,
            "category_id": category_ids[label],
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "score": value,
        }
        if codes is not None:
            row["segmentation"] = codes[at]
        rows.append(row)
    return rows


def mask_codes(found: Detections, size: tuple[int, int], threshold: float) -> list[dict[str, Any]] | None:
    """Return the masks as run-length codes over a picture of `size`; None without masks."""
    if found.masks is None:
        return None
    codes = []
    for probability, box in zip(found.masks, found.boxes, strict=True):
        pasted, corner = paste_mask(probability, box, size)
        mask = np.zeros((0, 0), dtype=bool) if pasted.numel() == 0 else (pasted >= threshold).cpu().numpy()
        codes.append(encode_mask(mask, corner, size))
    return codes


def match_classes(dataset: ObjectDataset, names: Sequence[str], count: int) -> ObjectDataset:
    """Return the data with their classes in the model's order.

    Args:
        dataset: the pictures.
        names: the model's classes; none when it does not know them.
        count: how many it has.

    Raises:
        InputError: the data's classes are not the model's.
    """
    if names and set(names) == set(dataset.classes) and len(names) == len(dataset.classes):
        return dataset.ordered(tuple(names))
    if names:
        missing = [name for name in dataset.classes if name not in names]
        more = [name for name in names if name not in dataset.classes]
        what = f"the data have {missing[0]!r}, which the model does not know" if missing else ""
        what = what or f"the model knows {more[0]!r}, which the data do not have"
        raise InputError(
            f"the data's {len(dataset.classes)} classes are not the model's {len(names)}: {what}; give data "
            "with the categories the model was trained on."
        )
    if count != len(dataset.classes):
        raise InputError(
            f"the data have {len(dataset.classes)} classes and the model {count}: give data with the "
            "categories the model was trained on."
        )
    return dataset
