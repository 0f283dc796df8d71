"""COCO, YOLO and Pascal VOC data, and every way in which annotations can be wrong."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from swinkit.data.object_config import ObjectAugmentConfig, ObjectDataConfig
from swinkit.data.object_layout import has_part, open_objects, without_empty
from swinkit.data.objects import ObjectDataset, draw_segment, encode_mask
from swinkit.data.outlines import outline_fault
from swinkit.errors import InputError

TRUTH: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a.png", "height": 40, "width": 60},
        {"id": 9, "file_name": "b.png", "height": 50, "width": 30},
        {"id": 11, "file_name": "empty.png", "height": 20, "width": 20},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 90,
            "bbox": [10, 5, 20, 30],
            "area": 600,
            "iscrowd": 0,
            "segmentation": [[10, 5, 30, 5, 30, 35, 10, 35]],
        },
        {
            "id": 2,
            "image_id": 7,
            "category_id": 3,
            "bbox": [0, 0, 60, 40],
            "area": 2400,
            "iscrowd": 1,
            "segmentation": {"size": [40, 60], "counts": [0, 2400]},
        },
        {
            "id": 3,
            "image_id": 9,
            "category_id": 3,
            "bbox": [25, 40, 10, 20],
            "area": 50,
            "segmentation": [[25, 40, 30, 40, 30, 50]],
        },
    ],
    "categories": [{"id": 90, "name": "cell"}, {"id": 3, "name": "dust"}],
}

Make = Callable[..., Path]


@pytest.fixture
def coco(tmp_path: Path) -> Make:
    """Write the data set above, changed by a function, as root/annotations/instances_train.json."""

    def make(change: Callable[[dict[str, Any]], None] = lambda _: None, part: str = "train") -> Path:
        data = copy.deepcopy(TRUTH)
        change(data)
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / part).mkdir(exist_ok=True)
        for entry in TRUTH["images"]:
            Image.new("RGB", (entry["width"], entry["height"])).save(tmp_path / part / entry["file_name"])
        (tmp_path / "annotations" / f"instances_{part}.json").write_text(json.dumps(data))
        return tmp_path

    return make


def read(root: Path, **settings: Any) -> ObjectDataset:
    return open_objects(ObjectDataConfig(path=root, **{"val_fraction": 0, **settings}), "train")


def test_coco_ids_need_not_be_consecutive(coco: Make) -> None:
    data = read(coco())
    assert data.classes == ("dust", "cell")
    assert data.category_ids == (3, 90)
    first, second, third = data.records
    assert (first.id, second.id, third.id) == (7, 9, 11)
    assert first.labels.tolist() == [1, 0]
    assert first.crowd.tolist() == [False, True]
    assert first.boxes[0].tolist() == [10, 5, 30, 35]
    assert second.boxes[0].tolist() == [25, 40, 30, 50], "clipped to the picture"
    assert len(third) == 0
    assert data.has_masks
    assert data[0][0].size == (60, 40)
    assert [len(record) for record in without_empty(data).records] == [2, 1]


def test_outlines_become_masks() -> None:
    square = draw_segment([[10, 5, 30, 5, 30, 35, 10, 35]], (40, 60))
    assert square[5:35, 10:30].all()
    assert square.sum() == 600
    code = draw_segment({"size": [4, 5], "counts": [2, 3, 15]}, (4, 5))
    assert np.argwhere(code).tolist() == [[0, 1], [2, 0], [3, 0]]


@pytest.mark.parametrize("seed", range(4))
def test_a_mask_code_is_the_mask(seed: int) -> None:
    mask = np.random.default_rng(seed).random((9, 7)) > 0.4
    whole = np.zeros((9, 12), dtype=bool) if seed % 2 else np.zeros((30, 20), dtype=bool)
    corner = (0, 5) if seed % 2 else (4, 6)
    whole[corner[0] : corner[0] + 9, corner[1] : corner[1] + 7] = mask
    code = encode_mask(mask, corner, (whole.shape[0], whole.shape[1]))
    assert isinstance(code["counts"], str)
    assert np.array_equal(draw_segment(code, (whole.shape[0], whole.shape[1])).astype(bool), whole)
    empty = encode_mask(np.zeros((0, 0), dtype=bool), (0, 0), (5, 6))
    assert draw_segment(empty, (5, 6)).sum() == 0


def test_a_data_set_written_as_coco_reads_the_same(coco: Make, tmp_path: Path) -> None:
    data = read(coco())
    written = data.to_coco()
    assert [item["image_id"] for item in written["annotations"]] == [0, 0, 1]
    assert [item["category_id"] for item in written["annotations"]] == [90, 3, 3]
    assert [item["iscrowd"] for item in written["annotations"]] == [0, 1, 0]


def _set(at: int, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        data["annotations"][at][key] = value

    return change


BAD = {
    "image": (_set(0, "image_id", 404), "annotation 1 .*image 404, which is not among the images"),
    "category": (_set(0, "category_id", 5), "annotation 1 .*category 5, which is not among the categories"),
    "outside": (_set(2, "bbox", [31, 3, 5, 5]), r"annotation 3 .*\(b.png\) has a box outside its picture"),
    "no area": (_set(0, "bbox", [3, 3, 0, 5]), r"annotation 1 .*box of no area \(0 x 5\)"),
    "not a box": (_set(0, "bbox", [3, 3, 5]), "not four numbers"),
    "two points": (_set(0, "segmentation", [[1, 2, 3, 4]]), "annotation 1 .*polygon of 2 points"),
    "other size": (_set(1, "segmentation", {"size": [4, 6], "counts": [24]}), "run-length code of size"),
    "no box": (lambda data: data["annotations"][0].pop("bbox"), "no image_id, category_id or bbox"),
    "no list": (_set(0, "bbox", None), "the box None, not four numbers"),
    "words": (_set(0, "bbox", ["a", 1, 2, 3]), "not four numbers"),
    "not finite": (_set(0, "bbox", [1, 2, float("nan"), 3]), "not four numbers"),
    "list of images": (_set(0, "image_id", [7]), r"the image_id \[7\], not a number"),
    "image in words": (_set(0, "image_id", "7"), "is of image '7', which is not among"),
    "flat outline": (_set(0, "segmentation", [1, 1, 5, 5, 3, 3]), "bare numbers"),
    "outline of nothing": (_set(0, "segmentation", [[None, 1, 2, 3, 4, 5]]), "the coordinate None"),
    "not a number": (_set(0, "segmentation", [[float("nan"), 1, 2, 3, 4, 5]]), "the coordinate nan"),
    "far away": (_set(0, "segmentation", [[1e9, 1, 2e9, 3, 4, 5]]), "the coordinate 1000000000.0"),
    "text": (_set(0, "segmentation", "outline"), "neither polygons nor a run-length code"),
    "short code": (_set(1, "segmentation", {"size": [40, 60], "counts": [9]}), "do not add up"),
    "long code": (_set(1, "segmentation", {"size": [40, 60], "counts": [9, 10**9]}), "do not add up"),
    "negative code": (_set(1, "segmentation", {"size": [40, 60], "counts": [-9, 2409]}), "do not add up"),
    "broken text": (_set(1, "segmentation", {"size": [40, 60], "counts": "zzz!"}), "do not add up"),
    "no counts": (_set(1, "segmentation", {"size": [40, 60]}), "do not add up"),
    "area": (_set(0, "area", None), "the area None"),
    "crowd": (_set(0, "iscrowd", "yes"), "iscrowd 'yes'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_annotation_is_named_or_left_out(name: str, coco: Make) -> None:
    change, words = BAD[name]
    root = coco(change)
    with pytest.raises(InputError, match=words):
        read(root)
    data = read(root, bad="skip")
    assert sum(len(record) for record in data.records) == 2
    assert len(data.problems) == 1


@pytest.mark.parametrize("seed", range(3))
def test_compressed_codes_are_read_as_the_library_writes_them(seed: int) -> None:
    mask = np.random.default_rng(seed).random((61, 90)) > (0.02, 0.5, 1.0)[seed]
    code = encode_mask(mask, (3, 5), (70, 100))
    assert outline_fault(code, (70, 100)) is None
    cut = {**code, "counts": code["counts"][:-1]}
    assert "do not add up" in str(outline_fault(cut, (70, 100)))


def test_a_file_with_a_byte_order_mark_is_read(coco: Make) -> None:
    root = coco()
    path = root / "annotations" / "instances_train.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert len(read(root)) == 3


def test_a_missing_picture_is_named_or_left_out(coco: Make) -> None:
    root = coco()
    (root / "train" / "b.png").unlink()
    with pytest.raises(InputError, match=r"lists b.png, but there is no .*b.png"):
        read(root)
    assert [record.id for record in read(root, bad="skip").records] == [7, 11]


def test_a_picture_of_another_size_is_named(coco: Make) -> None:
    root = coco()
    Image.new("RGB", (40, 60)).save(root / "train" / "a.png")
    with pytest.raises(InputError, match=r"a.png is 40 x 60 pixels, but its annotation says 60 x 40"):
        read(root)[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"images": [', "not valid JSON .*cut off"),
        ("[]", "not a COCO file"),
        ('{"images": [], "annotations": []}', "needs the lists"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "name": "a"}]}', "file_name"),
        ('{"images": [], "annotations": [], "categories": []}', "no categories"),
        (
            '{"images": [], "annotations": [], '
            '"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}',
            "more than one category 'a'",
        ),
        ('{"images": [], "annotations": [], "categories": [{"id": "x", "name": "a"}]}', "a whole number"),
        (
            '{"images": [{"id": 1, "file_name": "a", "height": null, "width": 3}], "annotations": [], '
            '"categories": [{"id": 1, "name": "a"}]}',
            "height of entry 0 of images must be a number of pixels; got None",
        ),
    ],
)
def test_a_broken_file_is_named(text: str, words: str, coco: Make) -> None:
    root = coco()
    (root / "annotations" / "instances_train.json").write_text(text)
    with pytest.raises(InputError, match=words):
        read(root)


def test_ids_given_twice_are_named(coco: Make) -> None:
    with pytest.raises(InputError, match="an image id twice"):
        read(coco(lambda data: data["images"][1].update(id=7)))
    with pytest.raises(InputError, match="a category id twice"):
        read(coco(lambda data: data["categories"][1].update(id=90)))


def test_parts_and_shares(coco: Make) -> None:
    root = coco()
    config = ObjectDataConfig(path=root, val_fraction=0.34)
    assert has_part(config, "train")
    assert has_part(config, "val"), "a share of the training part, where there is no part for it"
    assert (len(open_objects(config, "train")), len(open_objects(config, "val"))) == (2, 1)
    with pytest.raises(InputError, match="has no test part; it has train"):
        open_objects(config, "test")
    config = ObjectDataConfig(path=root, val_fraction=0)
    assert not has_part(config, "val")
    assert len(open_objects(config, "train")) == 3
    with pytest.raises(InputError, match="has no val part; it has train"):
        open_objects(config, "val")
    single = ObjectDataConfig(
        path=root / "annotations" / "instances_train.json", pictures=root / "train", val_fraction=0.34
    )
    train, val = open_objects(single, "train"), open_objects(single, "val")
    assert (len(train), len(val)) == (2, 1)
    assert not {record.id for record in train.records} & {record.id for record in val.records}
    assert len(open_objects(single, "all")) == 3


def yolo(root: Path, lines: str = "1 0.5 0.5 0.5 0.25\n0 0.1 0.1 0.9 0.1 0.9 0.9\n") -> Path:
    for part in ("train", "val"):
        (root / "images" / part).mkdir(parents=True)
        (root / "labels" / part).mkdir(parents=True)
        Image.new("RGB", (80, 40)).save(root / "images" / part / "x.jpg")
        Image.new("RGB", (80, 40)).save(root / "images" / part / "none.jpg")
        (root / "labels" / part / "x.txt").write_text(lines)
    (root / "data.yaml").write_text("names: {0: cat, 1: dog}\n")
    return root


def test_yolo_folders_are_recognised(tmp_path: Path) -> None:
    data = read(yolo(tmp_path))
    assert data.classes == ("cat", "dog")
    none, some = data.records
    assert len(none) == 0
    assert some.labels.tolist() == [1, 0]
    assert some.boxes.tolist() == [[20, 15, 60, 25], [8, 4, 72, 36]]
    assert some.segments[0] is None
    assert not data.has_masks


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 0.5 0.5 0.1 0.1", "line 1 of .*x.txt is of class 2, and there are 2 classes"),
        ("0 0.5 0.5 0.1", "has 3 numbers after the class"),
        ("0 a b c d", "not numbers"),
        ("0 0.5 0.5 0 0.1", "no area"),
        ("0 1.5 1.5 0.1 0.1", "outside its picture"),
        ("0 0.1 nan 0.9 0.1 0.9 0.9", "the coordinate nan"),
        ("0 0.1 0.1 9e9 0.1 0.9 0.9", "the coordinate"),
        ("inf 0.5 0.5 0.1 0.1", "not numbers"),
    ],
)
def test_a_wrong_yolo_line_is_named_or_left_out(line: str, words: str, tmp_path: Path) -> None:
    root = yolo(tmp_path, line + "\n1 0.5 0.5 0.5 0.25\n")
    with pytest.raises(InputError, match=words):
        read(root)
    assert sum(len(record) for record in read(root, bad="skip").records) == 1


def test_a_yolo_description_stands_for_its_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give the folder it describes"):
        read(yolo(tmp_path) / "data.yaml")


def test_a_folder_called_test_is_not_a_test_part(coco: Make, tmp_path: Path) -> None:
    root = coco()
    whole = tmp_path / "test"
    (root / "train").rename(whole)
    (root / "annotations" / "instances_train.json").rename(whole / "cells.json")
    assert len(open_objects(ObjectDataConfig(path=whole), "all")) == 3


def test_yolo_without_names_is_named(tmp_path: Path) -> None:
    (yolo(tmp_path) / "data.yaml").write_text("nc: 2\n")
    with pytest.raises(InputError, match="lists no names"):
        read(tmp_path)


def test_damaged_yolo_files_are_named_or_left_out(tmp_path: Path) -> None:
    root = yolo(tmp_path)
    (root / "images" / "train" / "none.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"none\.jpg is not a readable picture"):
        read(root)
    assert [record.path.name for record in read(root, bad="skip").records] == ["x.jpg"]
    (root / "labels" / "train" / "x.txt").write_bytes(b"\xff\xfe\x00")
    Image.new("RGB", (80, 40)).save(root / "images" / "train" / "none.jpg")
    with pytest.raises(InputError, match=r"x\.txt is not text"):
        read(root)


def voc(root: Path, name: str = "dog", box: str = "<xmin>11</xmin><ymin>6</ymin><xmax>30</xmax>") -> Path:
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    Image.new("RGB", (60, 40)).save(root / "JPEGImages" / "x.jpg")
    entry = (
        f"<object><name>{name}</name><difficult>0</difficult><bndbox>{box}<ymax>35</ymax></bndbox></object>"
    )
    text = f"<annotation><filename>x.jpg</filename>{entry}{entry.replace('>0<', '>1<')}</annotation>"
    (root / "Annotations" / "x.xml").write_text(text)
    (root / "ImageSets/Main/train.txt").write_text("x\n")
    return root


def test_pascal_voc_is_recognised(tmp_path: Path) -> None:
    data = read(voc(tmp_path))
    assert data.classes == ("dog",)
    assert data.records[0].boxes[0].tolist() == [10, 5, 30, 35]
    assert data.records[0].crowd.tolist() == [False, True], "difficult objects are not counted"


def test_wrong_pascal_voc_is_named(tmp_path: Path) -> None:
    root = voc(tmp_path, box="<xmin>11</xmin>")
    with pytest.raises(InputError, match="no bndbox"):
        read(root)
    text = (root / "Annotations" / "x.xml").read_text()
    (root / "JPEGImages" / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"x\.jpg is not a readable picture"):
        read(root)
    (root / "ImageSets/Main/train.txt").write_text("x\ny\n")
    (root / "Annotations" / "y.xml").write_text(text.replace("x.jpg", "y.jpg"))
    Image.new("RGB", (60, 40)).save(root / "JPEGImages" / "y.jpg")
    assert [record.id for record in read(root, bad="skip").records] == ["y"]
    (root / "Annotations" / "x.xml").write_text("<annotation>")
    with pytest.raises(InputError, match="not valid XML"):
        read(root)
    assert [record.id for record in read(root, bad="skip").records] == ["y"]
    (root / "Annotations" / "x.xml").unlink()
    with pytest.raises(InputError, match=r"lists x, but there is no"):
        read(root)


def test_data_that_are_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no objects in a known form"):
        read(tmp_path)
    with pytest.raises(InputError, match="there is no"):
        read(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no data"):
        open_objects(ObjectDataConfig(), "train")
    settings: list[dict[str, Any]] = [{"kind": "other"}, {"val_fraction": 1.0}, {"batch_size": 0}]
    for bad in settings:
        with pytest.raises(InputError):
            ObjectDataConfig(**bad)
    worst: list[dict[str, Any]] = [{"hflip": 2.0}, {"ratio": (2.0, 1.0)}, {"short_sides": ()}]
    worst += [{"long_side": 0}, {"size": (0, 64)}, {"color_jitter": -1.0}]
    for worse in worst:
        with pytest.raises(InputError):
            ObjectAugmentConfig(**worse)


def test_published_data_sets_are_read_whole(data_dir: Path) -> None:
    data = open_objects(ObjectDataConfig(path=data_dir / "coco_mini"), "val")
    assert (len(data), len(data.classes)) == (206, 80)
    assert sum(int(record.crowd.sum()) for record in data.records) == 21
    assert sum(len(record) == 0 for record in data.records) == 2
    cells = open_objects(ObjectDataConfig(path=data_dir / "bccd"), "test")
    assert (len(cells), cells.classes, cells.has_masks) == (72, ("RBC", "WBC", "Platelets"), False)
