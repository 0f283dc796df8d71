"""Average precision as COCO defines it, for boxes and for masks.

The counting is faster-coco-eval's; the numbers here are means over its tables of precision and recall.
"""

import copy
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from swinkit.data.coco import load_json
from swinkit.data.objects import is_box, to_rle
from swinkit.data.outlines import outline_fault
from swinkit.errors import InputError

Kind = Literal["bbox", "segm"]
SIZES = ("all", "small", "medium", "large")
"""Of objects: below 32 x 32 pixels, below 96 x 96, larger."""


@dataclass(frozen=True)
class ClassAp:
    """One class.

    Attributes:
        name: of the class.
        objects: in the truth, crowds not counted.
        ap: over IoU 0.5 to 0.95; nan without objects.
        ap50: at IoU 0.5.
        ap75: at IoU 0.75.
        recall: over IoU 0.5 to 0.95, with the largest number of detections.
    """

    name: str
    objects: int
    ap: float
    ap50: float
    ap75: float
    recall: float


@dataclass(frozen=True)
class ApReport:
    """How good detections are.

    Attributes:
        kind: bbox or segm.
        stats: AP, AP50, AP75, AP_small, AP_medium, AP_large, AR1, AR10, AR100 (by the numbers of detections
            asked for), AR_small, AR_medium, AR_large; nan where nothing is to be found.
        per_class: one row a class.
        pictures: in the truth.
        detections: that were scored.
    """

    kind: Kind
    stats: dict[str, float]
    per_class: tuple[ClassAp, ...]
    pictures: int
    detections: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; None for nan."""
        rows = [{key: _plain(value) for key, value in vars(row).items()} for row in self.per_class]
        return {
            "kind": self.kind,
            "pictures": self.pictures,
            "detections": self.detections,
            **{name: _plain(value) for name, value in self.stats.items()},
            "per_class": rows,
        }


def coco_ap(
    truth: dict[str, Any],
    detections: Sequence[dict[str, Any]],
    kind: Kind = "bbox",
    *,
    max_detections: tuple[int, int, int] = (1, 10, 100),
) -> ApReport:
    """Score detections against a COCO data set.

    Args:
        truth: as in a COCO file.
        detections: {"image_id", "category_id", "score", "bbox"} or, for masks, with "segmentation"; see
            `check_detections`.
        kind: compare boxes or masks.
        max_detections: best detections a picture that count, for the three recalls; AP takes the last.

    Raises:
        InputError: masks are to be compared and the truth or the detections have none.
    """
    if list(max_detections) != sorted(set(max_detections)) or len(max_detections) != 3:
        raise InputError(f"max_detections takes three growing numbers; got {max_detections}.")
    found = [dict(item) for item in detections]
    if kind == "segm":
        lacking = sum(not item.get("segmentation") for item in truth["annotations"])
        if lacking:
            raise InputError(f"{lacking} objects of the truth have no segmentation: score boxes only.")
        if any("segmentation" not in item for item in found):
            raise InputError("some detections have no segmentation: score boxes only.")
        for item in found:  # so that the size of a detection is its mask's
            item.pop("bbox", None)
    with _quiet():
        reference = COCO(copy.deepcopy(truth))
        evaluation = COCOeval_faster(reference, reference.loadRes(found), kind, print_function=_silent)
        evaluation.params.maxDets = list(max_detections)
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    names = {item["id"]: item["name"] for item in truth["categories"]}
    order = list(evaluation.params.catIds)
    counts = dict.fromkeys(order, 0)
    for item in truth["annotations"]:
        counts[item["category_id"]] += not item.get("iscrowd", 0)
    rows = tuple(
        ClassAp(
            name=names[number],
            objects=counts[number],
            ap=_mean(precision[:, :, at, 0, -1]),
            ap50=_mean(precision[0, :, at, 0, -1]),
            ap75=_mean(precision[5, :, at, 0, -1]),
            recall=_mean(recall[:, at, 0, -1]),
        )
        for at, number in enumerate(order)
    )
    sizes = [list(evaluation.params.areaRngLbl).index(name) for name in SIZES]
    stats = _stats(precision, recall, sizes, max_detections)
    return ApReport(kind, stats, rows, len(truth["images"]), len(found))


def read_detections(path: Path) -> list[dict[str, Any]]:
    """Read detections that any program wrote in COCO's result format: a JSON list.

    Raises:
        InputError: missing, or not a JSON list.
    """
    content = load_json(path)
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        content = content["annotations"]
    if not isinstance(content, list):
        raise InputError(f"{path} is not a list of detections: COCO's result format was expected.")
    return content


def check_detections(detections: Sequence[Any], truth: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the detections with their outlines as run-length codes.

    Args:
        detections: as read from a file.
        truth: as `read_truth` gives it.
        name: of the file, for errors.

    Raises:
        InputError: one lacks what scoring needs, or is of an unknown picture or category.
    """
    images = {item["id"]: (int(item["height"]), int(item["width"])) for item in truth["images"]}
    categories = {item["id"] for item in truth["categories"]}
    checked = []
    for number, item in enumerate(detections):
        keys = item.keys() if isinstance(item, dict) else set()
        missing = [key for key in ("image_id", "category_id", "score") if key not in keys]
        missing += [] if keys & {"bbox", "segmentation"} else ["bbox"]
        if missing:
            raise InputError(f"{name}: detection {number} has no {', '.join(missing)}.")
        for key, known in (("image_id", images), ("category_id", categories)):
            value = item[key]
            if not isinstance(value, (int, str)) or value not in known:
                what = key.removesuffix("_id")
                raise InputError(
                    f"{name}: detection {number} is of {what} {value!r}, which the annotations do not have."
                )
        fault = _fault(item, images[item["image_id"]])
        if fault is not None:
            raise InputError(f"{name}: detection {number} has {fault}.")
        outline = item.get("segmentation")
        code = {} if outline is None else {"segmentation": to_rle(outline, images[item["image_id"]])}
        checked.append({**item, **code})
    return checked


def _fault(item: dict[str, Any], size: tuple[int, int]) -> str | None:
    """What is wrong with the score, box or outline of a detection, if anything."""
    score = item["score"]
    if not isinstance(score, (int, float)) or not math.isfinite(score):
        return f"the score {score!r}, not a number"
    if "bbox" in item and not is_box(item["bbox"]):
        return f"the box {item['bbox']!r}, not four numbers x, y, width, height"
    return outline_fault(item["segmentation"], size) if item.get("segmentation") is not None else None


def _stats(
    precision: np.ndarray, recall: np.ndarray, sizes: list[int], most: tuple[int, int, int]
) -> dict[str, float]:
    stats = {
        "AP": _mean(precision[..., sizes[0], -1]),
        "AP50": _mean(precision[0, :, :, sizes[0], -1]),
        "AP75": _mean(precision[5, :, :, sizes[0], -1]),
    }
    stats |= {
        f"AP_{name}": _mean(precision[..., at, -1]) for name, at in zip(SIZES[1:], sizes[1:], strict=True)
    }
    stats |= {f"AR{count}": _mean(recall[..., sizes[0], at]) for at, count in enumerate(most)}
    return stats | {
        f"AR_{name}": _mean(recall[..., at, -1]) for name, at in zip(SIZES[1:], sizes[1:], strict=True)
    }


def _mean(values: np.ndarray) -> float:
    """Of the entries that exist; absent ones are -1."""
    there = values[values > -1]
    return float(there.mean()) if there.size else float("nan")


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _silent(*_: Any) -> None:
    """Take the place of print."""


@contextmanager
def _quiet() -> Iterator[None]:
    """The library logs every step."""
    logger = logging.getLogger("faster_coco_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
