"""YOLO folders: a text file a picture, a line an object: its class, then centre and size, or an outline, as
shares of the picture."""

from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from swinkit.data.objects import ObjectDataset, Problems, clean_box, make_record
from swinkit.data.outlines import outline_fault
from swinkit.data.pictures import pictures_below
from swinkit.errors import InputError

NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")


def read_yolo(root: Path, pictures: Path, labels: Path, problems: Problems) -> ObjectDataset:
    """Read the pictures of a folder and the text file of each; no text file means no object.

    Args:
        root: where data.yaml or classes.txt is.
        pictures: folder of the pictures.
        labels: folder of the text files, laid out alike.
        problems: what to do about wrong lines.

    Raises:
        InputError: no list of classes, no pictures; or, as `problems` says, a line that cannot be used.
    """
    classes = read_names(root)
    files = pictures_below(pictures)
    if not files:
        raise InputError(f"no pictures in {pictures}.")
    has_text = any(labels.rglob("*.txt"))
    if not has_text:
        raise InputError(
            f"no text files in {labels}: YOLO keeps the objects of a picture in a file of its name."
        )
    records = []
    for file in files:
        size = known_size(file, problems)
        if size is None:
            continue
        text = (labels / file.relative_to(pictures)).with_suffix(".txt")
        rows = _rows(text, size, len(classes), problems) if text.is_file() else []
        records.append(make_record(file, len(records), size, rows))
    return ObjectDataset(classes, tuple(range(len(classes))), tuple(records), problems.close())


def read_names(root: Path) -> tuple[str, ...]:
    """Return the class names that data.yaml, classes.txt or obj.names in `root` list.

    Raises:
        InputError: there is no such file, or it has no names.
    """
    path = next((root / name for name in NAME_FILES if (root / name).is_file()), None)
    if path is None:
        raise InputError(f"{root} does not say what its classes are called: add data.yaml or classes.txt.")
    if path.suffix not in (".yaml", ".yml"):
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    else:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise InputError(f"{path} is not valid YAML ({' '.join(str(error).split())}).") from error
        found = content.get("names") if isinstance(content, dict) else None
        names = [found[key] for key in sorted(found)] if isinstance(found, dict) else found
    if not names:
        raise InputError(f"{path} lists no names of classes.")
    return tuple(str(name) for name in names)


def picture_size(path: Path) -> tuple[int, int]:
    """Return (height, width) in pixels of the upright picture, from its header.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is not a readable picture ({error}): replace or remove it.") from error


def known_size(path: Path, problems: Problems) -> tuple[int, int] | None:
    """Return `picture_size`, or None after reporting a picture that cannot be read."""
    try:
        return picture_size(path)
    except InputError as error:
        problems.add(str(error).partition(": replace")[0], "replace or remove it")
        return None


def _rows(path: Path, size: tuple[int, int], classes: int, problems: Problems) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        problems.add(f"{path} is not text", "correct it")
        return []
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name = f"line {number} of {path}"
        try:
            label, *numbers = line.split()
            label, values = int(float(label)), [float(value) for value in numbers]
        except (ValueError, OverflowError):  # the latter from inf
            problems.add(f"{name} is {line.strip()!r}, not numbers", "correct it")
            continue
        if not 0 <= label < classes:
            problems.add(f"{name} is of class {label}, and there are {classes} classes", "correct it")
            continue
        row = _row(values, size, name, problems)
        if row is not None:
            rows.append({"label": label, **row})
    return rows


def _row(values: list[float], size: tuple[int, int], name: str, problems: Problems) -> dict[str, Any] | None:
    height, width = size
    segment = None
    if len(values) == 4:
        x, y, across, down = values
        box = [(x - across / 2) * width, (y - down / 2) * height, across * width, down * height]
    elif len(values) >= 6 and len(values) % 2 == 0:
        points = [
            value * side for value, side in zip(values, [width, height] * (len(values) // 2), strict=True)
        ]
        fault = outline_fault([points], size)
        if fault is not None:
            problems.add(f"{name} has {fault}", "correct it")
            return None
        xs, ys = points[0::2], points[1::2]
        box, segment = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)], [points]
    else:
        problems.add(
            f"{name} has {len(values)} numbers after the class: a box has 4, an outline three points or more",
            "correct it",
        )
        return None
    clean = clean_box(box, size, name, problems)
    if clean is None:
        return None
    return {"box": clean, "area": (clean[2] - clean[0]) * (clean[3] - clean[1]), "segment": segment}
