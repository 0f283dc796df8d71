"""Average precision against the official evaluator's numbers, and by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from swinkit.data.coco import read_truth
from swinkit.errors import InputError
from swinkit.evaluate.coco_ap import check_detections, coco_ap, read_detections

TRUTH: dict[str, Any] = {
    "images": [{"id": 1, "height": 100, "width": 100}, {"id": 2, "height": 100, "width": 100}],
    "categories": [{"id": 5, "name": "a"}, {"id": 8, "name": "b"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 5, "bbox": [0, 0, 20, 20], "area": 400, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 5, "bbox": [0, 0, 50, 50], "area": 2500, "iscrowd": 0},
        {"id": 3, "image_id": 2, "category_id": 5, "bbox": [50, 50, 50, 50], "area": 2500, "iscrowd": 1},
    ],
}


def found(image: int, box: list[float], score: float, category: int = 5) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_official_numbers(kind, data_dir: Path) -> None:
    folder = data_dir / "coco_eval_reference"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    rows = read_detections(folder / f"instances_val2014_fake{kind}100_results.json")
    assert check_detections(rows, truth, "results") == rows
    assert read_truth(folder / "instances_val2014_100.json")["categories"] == truth["categories"]
    report = coco_ap(truth, rows, kind)
    expected = json.loads((folder / "expected.json").read_text())[kind]
    assert report.stats.keys() == expected.keys()
    for name, value in expected.items():
        assert report.stats[name] == pytest.approx(value, abs=1e-9), name
    with_objects = [row.ap for row in report.per_class if row.objects]
    assert sum(with_objects) / len(with_objects) == pytest.approx(expected["AP"], abs=1e-9)


def test_by_hand() -> None:
    """One of two objects found exactly: recall 0.5, precision 1 up to there. 51 of 101 points of recall."""
    rows = [found(1, [0, 0, 20, 20], 0.9), found(2, [55, 55, 40, 40], 0.8)]
    report = coco_ap(TRUTH, rows)
    assert report.stats["AP"] == pytest.approx(51 / 101), "what lies in a crowd is not counted"
    assert report.stats["AP_small"] == pytest.approx(1.0)
    assert report.stats["AP_medium"] == pytest.approx(0.0)
    assert math.isnan(report.stats["AP_large"])
    a, b = report.per_class
    assert (a.name, a.objects, a.recall) == ("a", 2, pytest.approx(0.5))
    assert math.isnan(b.ap)
    assert report.to_dict()["AP_large"] is None


def test_only_the_best_detections_of_a_picture_count() -> None:
    rows = [found(1, [60, 60, 10, 10], 0.9), found(1, [0, 0, 20, 20], 0.5)]
    assert coco_ap(TRUTH, rows, max_detections=(1, 2, 3)).stats["AR2"] == pytest.approx(0.5)
    assert coco_ap(TRUTH, rows, max_detections=(1, 2, 3)).stats["AR1"] == 0
    with pytest.raises(InputError, match="three growing numbers"):
        coco_ap(TRUTH, rows, max_detections=(10, 1, 100))


def test_nothing_found_scores_nothing() -> None:
    assert coco_ap(TRUTH, []).stats["AP"] == 0


def test_scoring_leaves_its_arguments_alone() -> None:
    rows = [found(1, [0, 0, 20, 20], 0.9)]
    before = json.dumps([rows, TRUTH])
    coco_ap(TRUTH, rows)
    assert json.dumps([rows, TRUTH]) == before


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"image_id": 1, "category_id": 5, "bbox": [0, 0, 1, 1]}, "detection 0 has no score"),
        ({"image_id": 1, "category_id": 5, "score": 1.0}, "detection 0 has no bbox"),
        (found(3, [0, 0, 1, 1], 0.5), "image 3, which the annotations do not have"),
        (found(1, [0, 0, 1, 1], 0.5, 6), "category 6, which the annotations do not"),
        ({**found(1, [0, 0, 1, 1], 0.5), "image_id": [1]}, r"image \[1\], which the annotations do not"),
        (found(1, [0, 0, 1], 0.5), r"the box \[0, 0, 1\], not four numbers"),
        ({**found(1, [], 0.5), "bbox": None}, "the box None, not four numbers"),
        (found(1, [0, 0, 1, 1], math.nan), "the score nan, not a number"),
        ({**found(1, [0, 0, 1, 1], 0.5), "score": "high"}, "the score 'high', not a number"),
        ({**found(1, [0, 0, 1, 1], 0.5), "segmentation": {"size": [9, 9], "counts": "a"}}, "of size"),
        ({**found(1, [0, 0, 1, 1], 0.5), "segmentation": [[1, 2, 3, 4]]}, "a polygon of 2 points"),
    ],
)
def test_detections_that_cannot_be_scored_are_named(row: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_detections([row], TRUTH, "mine.json")


def test_outlines_of_detections_may_be_polygons() -> None:
    polygon = [[0, 0, 20, 0, 20, 20, 0, 20]]
    truth = {**TRUTH, "annotations": [{**TRUTH["annotations"][0], "segmentation": polygon}]}
    rows = check_detections([{**found(1, [0, 0, 20, 20], 0.9), "segmentation": polygon}], truth, "mine.json")
    assert coco_ap(truth, rows, "segm").stats["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 9}, "annotation 1 of .* is of image 9"),
        ({"bbox": [1, 2]}, r"annotation 1 of .* has the box \[1, 2\]"),
        ({"segmentation": [[1, 2, 3, 4]]}, "annotation 1 of .* a polygon of 2 points"),
    ],
)
def test_a_truth_that_cannot_be_scored_against_is_named(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    images = [{**image, "file_name": "x.png"} for image in TRUTH["images"]]
    plain = {"id": 1, "image_id": 1, "category_id": 5, "bbox": [0, 0, 20, 10]}
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({**TRUTH, "images": images, "annotations": [plain]}))
    read = read_truth(path)
    assert (read["annotations"][0]["area"], read["annotations"][0]["iscrowd"]) == (200, 0)
    path.write_text(json.dumps({**TRUTH, "images": images, "annotations": [{**plain, **change}]}))
    with pytest.raises(InputError, match=words):
        read_truth(path)


def test_masks_need_outlines() -> None:
    with pytest.raises(InputError, match="no segmentation"):
        coco_ap(TRUTH, [found(1, [0, 0, 20, 20], 0.9)], "segm")


def test_a_file_of_detections_must_be_a_list(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match="not a list of detections"):
        read_detections(tmp_path / "rows.json")
    (tmp_path / "rows.json").write_text("[{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_detections(tmp_path / "rows.json")
