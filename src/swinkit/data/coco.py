"""COCO annotations (Lin et al., 2014): one JSON file for all pictures of a part."""

import json
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from swinkit.data.objects import ObjectDataset, ObjectRecord, Problems, clean_box, is_box, make_record
from swinkit.data.outlines import outline_fault
from swinkit.errors import InputError

LISTS = ("images", "annotations", "categories")


def read_coco(path: Path, pictures: Path | list[Path], problems: Problems) -> ObjectDataset:
    """Read a COCO file. Category ids may be any numbers; classes are numbered in the order of these ids.

    Args:
        path: the JSON file.
        pictures: folder of the pictures, or several that are tried in turn.
        problems: what to do about wrong annotations and missing pictures.

    Raises:
        InputError: not JSON, lists missing, ids given twice; or, as `problems` says, an annotation of an
            unknown picture or category, a wrong box or outline, a missing picture.
    """
    data, classes, images = _load(path)
    labels = {number: label for label, (number, _) in enumerate(classes)}
    rows: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for annotation in data["annotations"]:
        row = _row(annotation, images, labels, path, problems)
        if row is not None:
            rows[annotation["image_id"]].append(row)
    folders = [pictures] if isinstance(pictures, Path) else pictures
    records = [_record(entry, rows[key], folders, path, problems) for key, entry in images.items()]
    return ObjectDataset(
        classes=tuple(name for _, name in classes),
        category_ids=tuple(number for number, _ in classes),
        records=tuple(record for record in records if record is not None),
        problems=problems.close(),
    )


def read_truth(path: Path) -> dict[str, Any]:
    """Read a COCO file to score detections against, without its pictures; areas that lack are the boxes'.

    Raises:
        InputError: not a COCO file, or an annotation of an unknown picture or category, or with no box or an
            outline that cannot be drawn.
    """
    data, classes, images = _load(path)
    labels = {number: label for label, (number, _) in enumerate(classes)}
    annotations = []
    for number, annotation in enumerate(data["annotations"], start=1):
        stray = _stray(annotation, images, labels, path)
        if stray is not None:
            raise InputError(f"{stray[0]}: {stray[1]}.")
        image, box, segment = (
            images[annotation["image_id"]],
            annotation["bbox"],
            annotation.get("segmentation"),
        )
        size = (int(image["height"]), int(image["width"]))
        fault = outline_fault(segment, size) if segment else None
        if not is_box(box):
            fault = f"the box {box!r}, not four numbers x, y, width, height"
        if fault is not None:
            raise InputError(f"annotation {annotation.get('id', '?')} of {path} has {fault}.")
        known = {"area": box[2] * box[3], "iscrowd": 0, **annotation}
        annotations.append({**known, "id": number})
    return {**data, "annotations": annotations}


def _load(path: Path) -> tuple[dict[str, Any], list[tuple[int, str]], dict[Any, dict[str, Any]]]:
    """The content, the categories (id, name) in order, and the images by their id."""
    data = load_json(path)
    if not isinstance(data, dict) or any(not isinstance(data.get(name), list) for name in LISTS):
        raise InputError(f"{path} is not a COCO file: it needs the lists {', '.join(LISTS)}.")
    classes = sorted((entry["id"], entry["name"]) for entry in _checked(data, "categories", path))
    images = {entry["id"]: entry for entry in _checked(data, "images", path)}
    for what, ids in (("category", [number for number, _ in classes]), ("image", list(images))):
        count = len(data["categories" if what == "category" else "images"])
        if len(set(ids)) < count:
            raise InputError(f"{path} gives an {what} id twice: ids must differ.".replace("an cat", "a cat"))
    if not classes:
        raise InputError(f"{path} has no categories: there is nothing to detect.")
    twice = [name for name, count in Counter(name for _, name in classes).items() if count > 1]
    if twice:
        raise InputError(f"{path} has more than one category {twice[0]!r}: names must differ.")
    return data, classes, images


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: missing, or not JSON; the sentence says where it breaks off.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: give the path of a JSON file.") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} is not valid JSON (line {error.lineno}, column {error.colno}: {error.msg}): was it cut "
            "off?"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} could not be read ({error}).") from error


NEEDED: dict[str, dict[str, tuple[type, ...]]] = {
    "images": {"id": (int, str), "file_name": (str,), "height": (int, float), "width": (int, float)},
    "categories": {"id": (int,), "name": (str,)},
}
"""List -> what each of its entries must have, and the types it may be of."""


def _checked(data: dict[str, Any], name: str, path: Path) -> list[dict[str, Any]]:
    for number, entry in enumerate(data[name]):
        missing = [key for key in NEEDED[name] if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise InputError(f"{path}: entry {number} of {name} has no {', '.join(missing)}.")
        for key, types in NEEDED[name].items():
            value = entry[key]
            if not isinstance(value, types) or (key in ("height", "width") and not value >= 1):
                what = {(int,): "a whole number", (str,): "a text", (int, str): "a number or a text"}
                wanted = what.get(types, "a number of pixels")
                raise InputError(
                    f"{path}: {key} of entry {number} of {name} must be {wanted}; got {value!r}."
                )
    return data[name]


def _row(
    annotation: Any, images: dict[Any, Any], labels: dict[int, int], path: Path, problems: Problems
) -> dict[str, Any] | None:
    stray = _stray(annotation, images, labels, path)
    if stray is not None:
        problems.add(*stray)
        return None
    image = images[annotation["image_id"]]
    size = (int(image["height"]), int(image["width"]))
    name = f"annotation {annotation.get('id', '?')} of {path.name} ({image['file_name']})"
    box = clean_box(annotation["bbox"], size, name, problems)
    if box is None:
        return None
    segment = annotation.get("segmentation") or None
    fault = None if segment is None else outline_fault(segment, size)
    area = annotation.get("area", (box[2] - box[0]) * (box[3] - box[1]))
    if fault is None and not (isinstance(area, (int, float)) and 0 <= area < math.inf):
        fault = f"the area {area!r}, not a number of square pixels"
    crowd = annotation.get("iscrowd", 0)
    if fault is None and crowd not in (0, 1):
        fault = f"iscrowd {crowd!r}, which is 0 or 1"
    if fault is not None:
        problems.add(f"{name} has {fault}", "correct it")
        return None
    label = labels[annotation["category_id"]]
    return {"box": box, "label": label, "crowd": bool(crowd), "area": float(area), "segment": segment}


def _stray(
    annotation: Any, images: dict[Any, Any], labels: dict[int, int], path: Path
) -> tuple[str, str] | None:
    """Why an annotation is of no picture or category, and the cure; None if it is."""
    if not isinstance(annotation, dict) or not {"image_id", "category_id", "bbox"} <= annotation.keys():
        return f"an annotation of {path} has no image_id, category_id or bbox", "correct it"
    name = f"annotation {annotation.get('id', '?')} of {path.name}"
    for key, known, what, among in (
        ("image_id", images, "image", "images"),
        ("category_id", labels, "category", "categories"),
    ):
        value = annotation[key]
        if not isinstance(value, (int, str)):
            return f"{name} has the {key} {value!r}, not a number", "correct it"
        if value not in known:
            return f"{name} is of {what} {value!r}, which is not among the {among}", f"add the {what}"
    return None


def _record(
    entry: dict[str, Any], rows: list[dict[str, Any]], folders: list[Path], path: Path, problems: Problems
) -> ObjectRecord | None:
    places = [folder / entry["file_name"] for folder in folders]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        problems.add(
            f"{path.name} lists {entry['file_name']}, but there is no {places[0]}", "add the picture"
        )
        return None
    return make_record(found, entry["id"], (int(entry["height"]), int(entry["width"])), rows)
