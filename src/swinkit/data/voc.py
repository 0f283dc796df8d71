"""Pascal VOC annotations: an XML file a picture."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swinkit.data.objects import ObjectDataset, Problems, clean_box, make_record
from swinkit.data.yolo import known_size
from swinkit.errors import InputError


def read_voc(
    files: Sequence[Path], pictures: list[Path], problems: Problems, classes: tuple[str, ...] = ()
) -> ObjectDataset:
    """Read XML files and the picture that each names.

    Corners count pixels from 1 there and include the last one; a box (1, 1, w, h) is the whole picture.

    Args:
        files: the XML files.
        pictures: folders of the pictures, tried in turn; the folder of the XML file comes last.
        problems: what to do about wrong objects and missing pictures.
        classes: names in the order of the labels; () for those that occur, sorted.

    Raises:
        InputError: not XML, no files; or, as `problems` says, an object that cannot be used, or no picture.
    """
    if not files:
        raise InputError("no XML files: Pascal VOC keeps the objects of a picture in a file of its name.")
    trees = [(file, tree) for file in files if (tree := _parse(file, problems)) is not None]
    names = classes or tuple(
        sorted({(entry.findtext("name") or "").strip() for _, tree in trees for entry in tree.iter("object")})
    )
    if not names or "" in names:
        raise InputError(f"the XML files beside {files[0]} have objects without a name, or none at all.")
    records = []
    for file, tree in trees:
        path = _picture(file, tree, pictures)
        if path is None:
            problems.add(f"{file} has no picture {tree.findtext('filename') or file.stem}", "add the picture")
            continue
        size = known_size(path, problems)
        if size is None:
            continue
        rows = [row for entry in tree.iter("object") if (row := _row(entry, names, size, file, problems))]
        records.append(make_record(path, file.stem, size, rows))
    return ObjectDataset(names, tuple(range(1, len(names) + 1)), tuple(records), problems.close())


def _parse(file: Path, problems: Problems) -> ET.Element | None:
    try:
        return ET.parse(file).getroot()
    except (ET.ParseError, ValueError) as error:  # the latter from an unknown encoding
        problems.add(f"{file} is not valid XML ({error})", "correct or remove it")
        return None


def _picture(file: Path, tree: ET.Element, folders: list[Path]) -> Path | None:
    named = tree.findtext("filename") or ""
    for folder in [*folders, file.parent]:
        if named and (folder / named).is_file():
            return folder / named
        for suffix in (".jpg", ".jpeg", ".png", ".bmp"):
            if (folder / file.stem).with_suffix(suffix).is_file():
                return (folder / file.stem).with_suffix(suffix)
    return None


def _row(
    entry: ET.Element, names: tuple[str, ...], size: tuple[int, int], file: Path, problems: Problems
) -> dict[str, Any] | None:
    name = (entry.findtext("name") or "").strip()
    what = f"object {name!r} of {file}"
    if name not in names:
        problems.add(f"{what} is of a class that is not among the {len(names)} classes", "correct it")
        return None
    try:
        corners = [float(entry.findtext(f"bndbox/{key}") or "") for key in ("xmin", "ymin", "xmax", "ymax")]
    except ValueError:
        problems.add(f"{what} has no bndbox with xmin, ymin, xmax and ymax", "correct it")
        return None
    x1, y1, x2, y2 = corners[0] - 1, corners[1] - 1, corners[2], corners[3]
    box = clean_box([x1, y1, x2 - x1, y2 - y1], size, what, problems)
    if box is None:
        return None
    difficult = (entry.findtext("difficult") or "0").strip() == "1"
    area = (box[2] - box[0]) * (box[3] - box[1])
    return {"box": box, "label": names.index(name), "area": area, "crowd": difficult}
