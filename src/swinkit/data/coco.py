"""COCO annotations (Lin et al., 2014): one JSON file for all pictures of a part."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from swinkit.data.objects import (
    ObjectDataset,
    ObjectRecord,
    Problems,
    Segment,
    clean_box,
    make_record,
)
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
    data = load_json(path)
    if not isinstance(data, dict) or any(not isinstance(data.get(name), list) for name in LISTS):
        raise InputError(f"{path} is not a COCO file: it needs the lists {', '.join(LISTS)}.")
    classes = sorted((int(entry["id"]), str(entry["name"])) for entry in _checked(data, "categories", path))
    images = {entry["id"]: entry for entry in _checked(data, "images", path)}
    for what, ids in (("category", [number for number, _ in classes]), ("image", list(images))):
        count = len(data["categories" if what == "category" else "images"])
        if len(set(ids)) < count:
            raise InputError(f"{path} gives an {what} id twice: ids must differ.".replace("an cat", "a cat"))
    if not classes:
        raise InputError(f"{path} has no categories: there is nothing to detect.")
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


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: missing, or not JSON; the sentence says where it breaks off.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: give the path of a JSON file.") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} is not valid JSON (line {error.lineno}, column {error.colno}: {error.msg}): was it cut "
            "off?"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} could not be read ({error}).") from error


def _checked(data: dict[str, Any], name: str, path: Path) -> list[dict[str, Any]]:
    needed = {"images": ("id", "file_name", "height", "width"), "categories": ("id", "name")}[name]
    for number, entry in enumerate(data[name]):
        missing = [key for key in needed if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise InputError(f"{path}: entry {number} of {name} has no {', '.join(missing)}.")
    return data[name]


def _row(
    annotation: Any, images: dict[Any, Any], labels: dict[int, int], path: Path, problems: Problems
) -> dict[str, Any] | None:
    if not isinstance(annotation, dict) or not {"image_id", "category_id", "bbox"} <= annotation.keys():
        problems.add(f"an annotation of {path} has no image_id, category_id or bbox", "correct it")
        return None
    name = f"annotation {annotation.get('id', '?')} of {path.name}"
    image = images.get(annotation["image_id"])
    if image is None:
        problems.add(
            f"{name} is of image {annotation['image_id']}, which is not among the images", "add the image"
        )
        return None
    label = labels.get(annotation["category_id"])
    if label is None:
        problems.add(
            f"{name} is of category {annotation['category_id']}, which is not among the categories",
            "add the category",
        )
        return None
    size = (int(image["height"]), int(image["width"]))
    name = f"{name} ({image['file_name']})"
    box = clean_box(annotation["bbox"], size, name, problems)
    if box is None:
        return None
    segment: Segment | None = annotation.get("segmentation") or None
    if segment is not None and not _is_outline(segment, size, name, problems):
        return None
    area = annotation.get("area", (box[2] - box[0]) * (box[3] - box[1]))
    return {
        "box": box,
        "label": label,
        "crowd": bool(annotation.get("iscrowd", 0)),
        "area": float(area),
        "segment": segment,
    }


def _is_outline(segment: Any, size: tuple[int, int], name: str, problems: Problems) -> bool:
    if isinstance(segment, dict):
        if "counts" in segment and list(segment.get("size", ())) == list(size):
            return True
        problems.add(
            f"{name} has a run-length code of size {segment.get('size')}, but the picture is {list(size)}",
            "correct it",
        )
        return False
    polygons = segment if isinstance(segment, list) else []
    for polygon in polygons:
        count = len(polygon) if isinstance(polygon, list) else 0
        if count < 6 or count % 2:
            problems.add(
                f"{name} has a polygon of {count / 2:g} points, and an outline needs three or more",
                "correct it",
            )
            return False
    if not polygons:
        problems.add(
            f"{name} has a segmentation that is neither polygons nor a run-length code", "correct it"
        )
    return bool(polygons)


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
