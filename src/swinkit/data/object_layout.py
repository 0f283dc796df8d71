"""Which kind of data set with objects a folder holds, and opening one part of it."""

from pathlib import Path

import numpy as np

from swinkit.data.coco import read_coco
from swinkit.data.config import Split
from swinkit.data.object_config import ObjectDataConfig, ObjectKind
from swinkit.data.objects import ObjectDataset, Problems
from swinkit.data.stuff import find_stuff, with_known_stuff, with_stuff
from swinkit.data.voc import read_voc
from swinkit.data.yolo import NAME_FILES, read_yolo
from swinkit.errors import InputError

PARTS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
YAML = (".yaml", ".yml")


def open_objects(config: ObjectDataConfig, split: Split) -> ObjectDataset:
    """Open one part of the data; "all" takes data without parts whole.

    Understood: COCO as root/annotations/instances_PART*.json with root/PART*/ or root/images/PART*/, as
    root/PART/_annotations.coco.json beside the pictures, or as one JSON file; YOLO as root/images/PART with
    root/labels/PART, or root/PART/images with root/PART/labels, and data.yaml or classes.txt; Pascal VOC as
    Annotations/, JPEGImages/ and ImageSets/Main/PART.txt, or XML files in root/PART or in root. Without a
    validation part a share of the training pictures is held out.

    Raises:
        InputError: another layout, or wrong annotations.
    """
    root = config.path
    if root is None:
        raise InputError("no data: give a folder of pictures with objects, or a COCO JSON file, with --data.")
    if not root.exists():
        raise InputError(f"there is no {root}: give a folder of pictures with objects, or a COCO JSON file.")
    kind = resolve_object_kind(config)
    if root.suffix in YAML:
        raise InputError(f"{root} is a file: give the folder it describes, {root.parent}.")
    parts = [part for part in PARTS if _find(config, kind, root, part) is not None]
    problems = Problems(config.bad)
    if "train" in parts and "val" not in parts and config.val_fraction and split in ("train", "val"):
        whole = _open(config, kind, root, "train", problems)
        return whole.subset(_held_out(len(whole), config, held=split == "val"))
    if split in parts:
        return _open(config, kind, root, split, problems)
    if parts and split != "all":
        raise InputError(f"{root} has no {split} part; it has {', '.join(parts)}.")
    if parts:
        raise InputError(f"{root} has the parts {', '.join(parts)}: name the one to use, with --split.")
    if split == "test":
        raise InputError(f"{root} has no parts, so no test part.")
    whole = _open(config, kind, root, None, problems)
    if split == "all":
        return whole
    return whole.subset(_held_out(len(whole), config, held=split == "val"))


def has_part(config: ObjectDataConfig, part: Split) -> bool:
    """Whether the data has this part, or training pictures of which a share is held out for validation."""
    assert config.path is not None
    kind = resolve_object_kind(config)
    found = {name for name in PARTS if _find(config, kind, config.path, name) is not None}
    held = part == "val" and config.val_fraction > 0 and (not found or "train" in found)
    return part in found or held


def resolve_object_kind(config: ObjectDataConfig) -> ObjectKind:
    """Return the kind of the data; "auto" is decided by what lies at `config.path`.

    Raises:
        InputError: nothing that is known lies there.
    """
    if config.kind != "auto":
        return config.kind
    root = config.path
    assert root is not None
    if root.suffix in YAML:
        return "yolo"
    if root.is_file() or _json_files(root):
        return "coco"
    if any((root / name).is_dir() for name in ("Annotations", "JPEGImages")) or _xml_files(root):
        return "voc"
    if any((root / name).is_file() for name in NAME_FILES) or any(root.rglob("labels")):
        return "yolo"
    raise InputError(
        f"{root} holds no objects in a known form: COCO (a JSON file of images, annotations and categories), "
        "YOLO (images/, labels/ and data.yaml) or Pascal VOC (an XML file a picture)."
    )


def _open(
    config: ObjectDataConfig, kind: ObjectKind, root: Path, part: str | None, problems: Problems
) -> ObjectDataset:
    found = _find(config, kind, root, part)
    if found is None:
        raise InputError(f"{root} is not laid out as {kind} data are: see docs/detection.md.")
    if kind == "coco":
        dataset = read_coco(found, _coco_folders(config, root, found, part), problems)
    elif kind == "yolo":
        pictures = found
        labels = _labels_beside(pictures, root)
        dataset = read_yolo(root, pictures, labels, problems)
    else:
        dataset = _open_voc(config, root, found, problems)
    return _stuffed(config, dataset, root, part, problems) if len(dataset) else _refuse_empty(root)


def _stuffed(
    config: ObjectDataConfig, dataset: ObjectDataset, root: Path, part: str | None, problems: Problems
) -> ObjectDataset:
    """The pictures to train on with their stuff maps, if there are any."""
    if part not in ("train", None):
        return dataset
    if config.stuff is not None:
        return with_stuff(dataset, config.stuff, problems)
    # Those that lie there unasked for are no reason to leave out a picture: not every detector reads them.
    folder = find_stuff(dataset, root)
    return dataset if folder is None else with_known_stuff(dataset, folder)


def _refuse_empty(root: Path) -> ObjectDataset:
    raise InputError(f"{root} lists no pictures.")


def _find(config: ObjectDataConfig, kind: ObjectKind, root: Path, part: str | None) -> Path | None:
    """The JSON file, picture folder, or list or folder of XML files of a part; of all when it is None."""
    if kind == "coco":
        return _find_coco(root, part)
    names = PARTS[part] if part else ()
    if kind == "yolo":
        if part is None:
            places = [root / "images", root]
        else:
            places = [place for name in names for place in (root / "images" / name, root / name / "images")]
        return next(
            (place for place in places if place.is_dir() and _labels_beside(place, root).is_dir()), None
        )
    if part is None:
        return root / "Annotations" if (root / "Annotations").is_dir() else root
    lists = [root / "ImageSets" / "Main" / f"{name}.txt" for name in names]
    found = next((place for place in lists if place.is_file()), None)
    folders = [root / name for name in names if any((root / name).glob("*.xml"))]
    return found or next(iter(folders), None)


def _find_coco(root: Path, part: str | None) -> Path | None:
    if root.is_file():
        return root if part is None else None
    files = _json_files(root)
    if part is None:
        return (
            files[0] if len(files) == 1 and not any(_is_of(files[0], name, root) for name in PARTS) else None
        )
    fitting = [file for file in files if _is_of(file, part, root)]
    # "instances" before "person_keypoints" and the plain name before variants of it.
    return min(fitting, key=lambda file: ("instances" not in file.name, len(file.name)), default=None)


def _is_of(file: Path, part: str, root: Path) -> bool:
    words = file.stem.lower().replace("-", "_").split("_")
    own = any(word.rstrip("0123456789") in PARTS[part] for word in words)
    # A folder of one part alone, not the one that all of the data lie in, whatever it is called.
    inside = file.parent != root and file.parent.name.lower().rstrip("0123456789") in PARTS[part]
    return own or inside


def _json_files(root: Path) -> list[Path]:
    places = ("annotations/*.json", "*.json", "*/_annotations*.json", "*/annotations*.json")
    found = [file for place in places for file in sorted(root.glob(place))]
    return [file for file in dict.fromkeys(found) if not file.name.startswith(("captions", "image_info"))]


def _coco_folders(config: ObjectDataConfig, root: Path, file: Path, part: str | None) -> list[Path]:
    if config.pictures is not None:
        return [config.pictures]
    base = file.parent if root.is_file() else root
    year = file.stem.rpartition("_")[2]
    names = [year, *(PARTS[part] if part else ())]
    places = [place for name in names for place in (base / name, base / "images" / name)]
    places += [file.parent, base / "images", base, base.parent]
    return [place for place in places if place.is_dir()]


def _labels_beside(pictures: Path, root: Path) -> Path:
    """Folder of the text files: "labels" in place of the last "images" of the path, or the same folder."""
    parts = list(pictures.relative_to(root).parts)
    for at in range(len(parts) - 1, -1, -1):
        if parts[at] == "images":
            parts[at] = "labels"
            return root.joinpath(*parts)
    return pictures


def _xml_files(root: Path) -> list[Path]:
    return sorted(root.glob("*.xml")) or sorted(root.glob("*/*.xml"))


def _open_voc(config: ObjectDataConfig, root: Path, found: Path, problems: Problems) -> ObjectDataset:
    annotations = root / "Annotations"
    if found.is_file():
        names = [line.split()[0] for line in found.read_text(encoding="utf-8").splitlines() if line.strip()]
        files = [annotations / f"{name}.xml" for name in names]
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise InputError(f"{found} lists {missing[0].stem}, but there is no {missing[0]}.")
    else:
        files = sorted(found.rglob("*.xml"))
    # All parts have the same classes: those of the whole folder.
    every = sorted(root.rglob("*.xml"))
    names = read_voc_names(every)
    folders = [config.pictures] if config.pictures is not None else [root / "JPEGImages", root / "images"]
    return read_voc(files, folders, problems, names)


def read_voc_names(files: list[Path]) -> tuple[str, ...]:
    """Return the names of the objects in these XML files, sorted."""
    found: set[str] = set()
    for file in files:
        text = file.read_text(encoding="utf-8", errors="replace")
        for block in text.split("<object>")[1:]:
            name = block.partition("<name>")[2].partition("</name>")[0].strip()
            found.add(name)
    return tuple(sorted(found))


def _held_out(count: int, config: ObjectDataConfig, *, held: bool) -> list[int]:
    order = np.random.default_rng(config.split_seed).permutation(count)
    share = min(max(round(config.val_fraction * count), 1), count - 1) if config.val_fraction else 0
    return sorted(order[:share].tolist() if held else order[share:].tolist())


def without_empty(dataset: ObjectDataset) -> ObjectDataset:
    """Leave out the pictures that have no object to train on."""
    return dataset.subset([i for i, record in enumerate(dataset.records) if not record.crowd.all()])


def trained_on(config: ObjectDataConfig, dataset: ObjectDataset) -> ObjectDataset:
    """Return the pictures of a training part that are trained on."""
    return dataset if config.keep_empty else without_empty(dataset)
