"""A picture seen at several sizes, mirrored and in tiles, and detections as files hold them."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from swinkit.backbones import SwinConfig
from swinkit.build import build_model
from swinkit.data.objects import ObjectDataset, draw_segment, make_record
from swinkit.detection.config import (
    BoxHeadConfig,
    DetectorConfig,
    FpnConfig,
    MaskHeadConfig,
    RpnConfig,
    SelectConfig,
    TwoStageConfig,
    ViewConfig,
)
from swinkit.detection.structures import Detections
from swinkit.detection.two_stage import TwoStageDetector
from swinkit.detection.views import merge_tiles, tile_corners
from swinkit.errors import InputError
from swinkit.evaluate.detection import evaluate_detector, match_classes, to_coco
from swinkit.evaluate.picture_detector import PictureDetector
from swinkit.ops.boxes import pairwise_iou
from swinkit.spec import ModelSpec

SELECT = SelectConfig(score=0.0, most=20, before_nms=50, proposals=30)


@pytest.fixture
def model() -> TwoStageDetector:
    config = DetectorConfig(
        backbone=SwinConfig(
            embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4, window_policy="pad"
        ),
        num_classes=2,
        neck=FpnConfig(channels=16),
        head=TwoStageConfig(
            rpn=RpnConfig(channels=16),
            box=BoxHeadConfig(fc_channels=16),
            mask=MaskHeadConfig(convs=1, channels=8),
        ),
        short_side=64,
        long_side=128,
    )
    return build_model(ModelSpec(config=config, class_names=("cat", "dog")))


def picture(height: int = 80, width: int = 100, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((width, height))


def found(*boxes: list[float], scores: list[float] | None = None) -> Detections:
    values = torch.tensor(scores or [0.5] * len(boxes))
    return Detections(torch.tensor(boxes).view(-1, 4), values, torch.zeros(len(boxes), dtype=torch.int64))


def test_one_view_through_the_merging_is_the_plain_detection(model: TwoStageDetector) -> None:
    plain = PictureDetector(model, select=SELECT)(picture())
    every = PictureDetector(model, select=SELECT, view=ViewConfig(classes=("cat", "dog")))(picture())
    torch.testing.assert_close(every.boxes, plain.boxes)
    torch.testing.assert_close(every.scores, plain.scores)
    assert every.masks is not None
    assert plain.masks is not None
    torch.testing.assert_close(every.masks, plain.masks)


def test_a_mirrored_picture_gives_mirrored_detections_when_both_are_seen(model: TwoStageDetector) -> None:
    detector = PictureDetector(model, select=SELECT, view=ViewConfig(flip=True))
    image = picture()
    one, other = detector(image), detector(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    x1, y1, x2, y2 = other.boxes.unbind(1)
    turned = torch.stack([image.width - x2, y1, image.width - x1, y2], dim=1)
    torch.testing.assert_close(one.scores, other.scores, atol=1e-4, rtol=0)
    overlaps = pairwise_iou(one.boxes, turned).max(dim=1).values
    assert float(overlaps.min()) > 0.99


def test_several_sizes_see_the_same_places(model: TwoStageDetector) -> None:
    detector = PictureDetector(model, select=SELECT, view=ViewConfig(scales=(0.75, 1.0, 1.5)))
    assert [view.size for view in detector.prepare(picture())] == [(48, 60), (64, 80), (96, 120)]
    result = detector(picture())
    assert len(result) == 20
    assert float(result.boxes[:, 2].max()) <= 100.01
    assert float(result.boxes[:, 3].max()) <= 80.01


def test_pictures_together_are_as_each_alone(model: TwoStageDetector) -> None:
    detector = PictureDetector(model, select=SELECT)
    pictures = [picture(seed=1), picture(seed=2), picture(60, 90, seed=3)]
    for alone, together in zip(map(detector, pictures), detector.many(pictures), strict=True):
        torch.testing.assert_close(alone.boxes, together.boxes, atol=1e-3, rtol=1e-4)


def test_only_the_classes_asked_for(model: TwoStageDetector) -> None:
    detector = PictureDetector(model, select=SELECT, view=ViewConfig(classes=("dog",)))
    assert set(detector(picture()).labels.tolist()) == {1}
    with pytest.raises(InputError, match="knows no class 'cow': it has cat, dog"):
        PictureDetector(model, view=ViewConfig(classes=("cow",)))


def test_tiles_cover_the_picture_with_their_overlap() -> None:
    corners = tile_corners((1000, 640), 400, 0.25)
    rows = sorted({row for row, _ in corners})
    assert rows[0] == 0
    assert rows[-1] == 600
    assert max(b - a for a, b in itertools.pairwise(rows)) <= 300
    assert tile_corners((300, 200), 400, 0.2) == [(0, 0)]


def test_an_object_in_two_tiles_is_found_once_and_whole() -> None:
    """Tiles of 100 at columns 0 and 60. The first tile cuts an object that the second sees whole."""
    first = found([10.0, 10, 20, 20], [80, 40, 100, 60], scores=[0.6, 0.9])
    second = found([20.0, 40, 50, 60], [70, 70, 80, 80], scores=[0.7, 0.5])
    merged = merge_tiles([first, second], [(0, 0), (0, 60)], 100, (100, 160))
    assert merged.boxes.tolist() == [[80, 40, 110, 60], [10, 10, 20, 20], [130, 70, 140, 80]]
    assert merged.scores.tolist() == pytest.approx([0.7, 0.6, 0.5])


def test_a_tiled_picture_is_searched_everywhere(model: TwoStageDetector) -> None:
    detector = PictureDetector(model, select=SELECT, view=ViewConfig(tile=64, overlap=0.25))
    result = detector(picture(100, 140))
    centres = (result.boxes[:, :2] + result.boxes[:, 2:]) / 2
    assert float(centres[:, 0].max()) > 76
    assert float(centres[:, 1].max()) > 50
    assert result.masks is not None
    assert len(result.masks) == len(result)


def test_detections_in_coco_s_form_hold_the_pasted_masks(model: TwoStageDetector) -> None:
    result = PictureDetector(model, select=SELECT)(picture())
    rows = to_coco(result, 7, (80, 100), (3, 90), 0.5)
    assert {row["image_id"] for row in rows} == {7}
    assert {row["category_id"] for row in rows} <= {3, 90}
    from swinkit.ops.masks import paste_masks

    assert result.masks is not None
    masks = paste_masks(result.masks, result.boxes, (80, 100))
    for row, mask, box in zip(rows, masks, result.boxes, strict=True):
        assert np.array_equal(draw_segment(row["segmentation"], (80, 100)).astype(bool), mask.numpy())
        assert row["bbox"][2] == pytest.approx(float(box[2] - box[0]))


def test_a_detector_is_scored_on_pictures_with_objects(model: TwoStageDetector, tmp_path) -> None:
    picture().save(tmp_path / "a.png")
    outline = [[10.0, 10, 50, 10, 50, 60, 10, 60]]
    rows = [{"box": (10, 10, 50, 60), "label": 0, "area": 2000, "segment": outline}]
    data = ObjectDataset(("cat", "dog"), (1, 2), (make_record(tmp_path / "a.png", 1, (80, 100), rows),))
    seen: list[int] = []
    detector = PictureDetector(model, select=SELECT)
    report, detections = evaluate_detector(detector, data, on_picture=lambda: seen.append(1))
    assert len(seen) == 1
    assert len(detections) == 20
    assert report.masks is not None
    assert 0 <= report.boxes.stats["AP"] <= 1
    assert report.to_dict()["masks"]["pictures"] == 1


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("cat", "cow"), "have 'cow', which the model does not know"),
        (("cat",), "knows 'dog', which the data do not have"),
    ],
)
def test_categories_that_are_not_the_checkpoints_are_named(classes: tuple[str, ...], words: str) -> None:
    data = ObjectDataset(classes, tuple(range(len(classes))), ())
    with pytest.raises(InputError, match=words):
        match_classes(data, ("cat", "dog"), 2)
    with pytest.raises(InputError, match="1 classes and the model 2"):
        match_classes(ObjectDataset(("cat",), (1,), ()), (), 2)


def test_categories_in_another_order_are_put_into_the_models(tmp_path) -> None:
    rows = [{"box": (0, 0, 9, 9), "label": label, "area": 81} for label in (0, 1, 0)]
    data = ObjectDataset(("dog", "cat"), (7, 3), (make_record(tmp_path / "a.png", 1, (80, 100), rows),))
    same = match_classes(data, ("cat", "dog"), 2)
    assert (same.classes, same.category_ids) == (("cat", "dog"), (3, 7))
    assert same.records[0].labels.tolist() == [1, 0, 1]
    numbers = [item["category_id"] for item in data.to_coco()["annotations"]]
    assert [item["category_id"] for item in same.to_coco()["annotations"]] == numbers == [7, 3, 7]
    assert match_classes(data, ("dog", "cat"), 2) is data


@pytest.mark.parametrize("bad", [{"tile": 8}, {"overlap": 0.95}, {"scales": ()}, {"scales": (0.0,)}])
def test_views_that_cannot_be_are_refused(bad) -> None:
    with pytest.raises(InputError):
        ViewConfig(**bad)


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -1.0), (float("nan"),), (float("inf"),)])
def test_scales_are_numbers_above_0(scales: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="scales must be one or more numbers above 0"):
        ViewConfig(scales=scales)
