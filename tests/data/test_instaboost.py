"""Objects that are moved a little: picture, box and outline go together, and no hole is left."""

import numpy as np
import pytest
import torch
from PIL import Image

from swinkit.data import instaboost
from swinkit.data.instaboost import DEGREES, SCALES, SHIFT, fill_hole, move_objects
from swinkit.data.object_config import ObjectAugmentConfig
from swinkit.data.object_transforms import ObjectTrainTransform
from swinkit.data.objects import ObjectRecord, draw_segment, make_record
from swinkit.errors import InputError
from swinkit.spec import Preprocess

SIZE = (90, 120)


def scene(tmp_path, *, code: bool = False, crowd: bool = False) -> tuple[Image.Image, ObjectRecord]:
    """A white rectangle on a grey ramp."""
    pixels = np.repeat(np.linspace(40, 120, SIZE[1])[None, :, None], SIZE[0], axis=0).repeat(3, axis=2)
    pixels[20:60, 30:80] = 255
    outline = [[30.0, 20, 80, 20, 80, 60, 30, 60]]
    segment = outline
    if code:
        mask = np.zeros(SIZE, dtype=np.uint8)
        mask[20:60, 30:80] = 1
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], mask.T.ravel(), [0]])) != 0), prepend=0)
        segment = {"size": list(SIZE), "counts": [*runs.tolist(), mask.size - int(runs.sum())]}
    row = {"box": (30, 20, 80, 60), "label": 1, "area": 2000, "segment": segment, "crowd": crowd}
    record = make_record(tmp_path / "x.png", 0, SIZE, [row])
    return Image.fromarray(pixels.astype(np.uint8)), record


@pytest.mark.parametrize("code", [False, True])
def test_box_and_outline_are_where_the_object_went(code: bool, tmp_path) -> None:
    picture, record = scene(tmp_path, code=code)
    sides, areas = [], []
    for seed in range(12):
        torch.manual_seed(seed)
        moved, new = move_objects(picture, record)
        assert new.segments[0] is not None
        white = np.asarray(moved)[..., 0] > 190
        assert (white != (draw_segment(new.segments[0], SIZE) > 0)).mean() < 0.02
        rows, columns = np.nonzero(white)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert new.boxes[0].tolist() == pytest.approx([float(v) for v in found], abs=1.5)
        assert new.labels.tolist() == [1]
        # What was white and is so no more shows the ramp again, not white and not black.
        left = (np.asarray(picture)[..., 0] == 255) & (np.asarray(moved)[..., 0] < 190)
        assert np.asarray(moved)[..., 0][left].min(initial=255) >= 40
        centre = (new.boxes[0][:2] + new.boxes[0][2:]) / 2
        assert np.abs(centre - (55, 40)).max() <= SHIFT * 50 + 1.5
        sides.append(float(new.boxes[0][2] - new.boxes[0][0]) / 50)
        areas.append(new.areas[0])
    turned = 40 / 50 * np.sin(np.radians(DEGREES))
    assert min(sides) >= SCALES[0] - 0.06
    assert max(sides) <= SCALES[1] + turned + 0.06
    assert max(sides) - min(sides) > 0.2
    assert areas == pytest.approx([2000 * s * s for s in sides], rel=0.12)


def test_the_same_seed_moves_alike_and_crowds_stay(tmp_path) -> None:
    picture, record = scene(tmp_path)
    torch.manual_seed(3)
    first, one = move_objects(picture, record)
    torch.manual_seed(3)
    second, two = move_objects(picture, record)
    assert np.array_equal(np.asarray(first), np.asarray(second))
    assert np.array_equal(one.boxes, two.boxes)
    picture, record = scene(tmp_path, crowd=True)
    same, kept = move_objects(picture, record)
    assert same is picture
    assert kept is record


def test_moves_are_drawn_from_the_published_ranges() -> None:
    """Shifts up to 1/15 of a side, 0.8 to 1.2 in size, 1 degree to either side."""
    torch.manual_seed(0)
    moves = [instaboost._Move(np.array([0.0, 0, 30, 60])) for _ in range(2000)]
    shifts = np.array([move.target - move.centre for move in moves])
    assert shifts.max(axis=0).tolist() == pytest.approx([2, 4], rel=0.01)
    assert shifts.min(axis=0).tolist() == pytest.approx([-2, -4], rel=0.01)
    scales = [move.scale for move in moves]
    assert (min(scales), max(scales)) == pytest.approx((0.8, 1.2), abs=1e-3)
    turns = np.degrees([np.arcsin(move.turn[1, 0]) for move in moves])
    assert (turns.min(), turns.max()) == pytest.approx((-1, 1), abs=1e-2)


def test_pixels_come_from_where_points_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instaboost, "DEGREES", 60.0)
    torch.manual_seed(0)
    move = instaboost._Move(np.array([10.0, 20, 40, 60]))
    point = np.array([[13.0, 27.0]])
    a, b, c, d, e, f = move.sources((5, 7))
    x, y = move.points(point)[0] - (5, 7)
    assert (a * x + b * y + c, d * x + e * y + f) == pytest.approx((13, 27))


@pytest.mark.parametrize("code", [False, True])
def test_an_object_that_does_not_move_is_as_it_was(
    code: bool, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, still in (("SHIFT", 0.0), ("SCALES", (1.0, 1.0)), ("DEGREES", 0.0)):
        monkeypatch.setattr(instaboost, name, still)
    picture, record = scene(tmp_path, code=code)
    moved, new = move_objects(picture, record)
    assert np.array_equal(np.asarray(moved), np.asarray(picture))
    assert new.boxes.tolist() == [[30, 20, 80, 60]]
    assert new.areas.tolist() == [2000]
    assert new.segments[0] is not None
    assert record.segments[0] is not None
    assert np.array_equal(draw_segment(new.segments[0], SIZE), draw_segment(record.segments[0], SIZE))


def test_every_object_leaves_a_hole_that_is_filled(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, half in (("SHIFT", 0.0), ("SCALES", (0.5, 0.5)), ("DEGREES", 0.0)):
        monkeypatch.setattr(instaboost, name, half)
    pixels = np.full((*SIZE, 3), 90, dtype=np.uint8)
    rows = []
    for x in (10, 70):
        pixels[20:60, x : x + 40] = 255
        outline = [[float(v) for v in (x, 20, x + 40, 20, x + 40, 60, x, 60)]]
        rows.append(
            {"box": (x, 20, x + 40, 60), "label": 1, "area": 1600, "segment": outline, "crowd": False}
        )
    record = make_record(tmp_path / "x.png", 0, SIZE, rows)
    moved, new = move_objects(Image.fromarray(pixels), record)
    assert new.boxes.tolist() == [[20, 30, 40, 50], [80, 30, 100, 50]]
    white = np.asarray(moved)[..., 0] > 150
    for x in (0, 60):
        assert white[:, x : x + 60].sum() == pytest.approx(400, rel=0.05)


def test_an_object_too_thin_to_be_drawn_anew_stays(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made smaller and moved by half a pixel, its mask falls between the pixels."""

    class HalfPixel(instaboost._Move):
        def __init__(self, box: np.ndarray) -> None:
            super().__init__(box)
            self.target = self.centre + np.array([0.5, 0.0])

    monkeypatch.setattr(instaboost, "_Move", HalfPixel)
    for name, still in (("SHIFT", 0.0), ("SCALES", (0.4, 0.4)), ("DEGREES", 0.0)):
        monkeypatch.setattr(instaboost, name, still)
    pixels = np.full((*SIZE, 3), 90, dtype=np.uint8)
    pixels[20:60, 30] = 255
    row = {
        "box": (30, 20, 31, 60),
        "label": 1,
        "area": 40,
        "segment": [[30.0, 20, 31, 20, 31, 60, 30, 60]],
        "crowd": False,
    }
    thin = make_record(tmp_path / "x.png", 0, SIZE, [row])
    moved, new = move_objects(Image.fromarray(pixels), thin)
    assert np.array_equal(np.asarray(moved), pixels)
    assert new.boxes.tolist() == [[30, 20, 31, 60]]


def test_a_hole_is_filled_from_around() -> None:
    ramp = np.repeat(np.linspace(0, 1, 31, dtype=np.float32)[None, :, None], 17, axis=0)
    hole = np.zeros((17, 31), dtype=bool)
    hole[4:13, 10:21] = True
    filled = fill_hole(np.where(hole[..., None], 9.0, ramp).astype(np.float32), hole)
    assert np.array_equal(filled[~hole], ramp[~hole])
    assert np.abs(filled - ramp).max() < 0.25
    everything = np.ones((4, 4), dtype=bool)
    assert np.array_equal(fill_hole(np.ones((4, 4, 1), np.float32), everything), np.ones((4, 4, 1)))


def test_training_moves_the_share_of_pictures_asked_for(tmp_path) -> None:
    picture, record = scene(tmp_path)
    raw = Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    still = ObjectAugmentConfig(short_sides=(90,), crop_probability=0.0, hflip=0.0)
    for share, wanted in ((0.0, {0}), (1.0, {1}), (0.5, {0, 1})):
        transform = ObjectTrainTransform(
            ObjectAugmentConfig(**{**vars(still), "instaboost": share}), raw, masks=True
        )
        seen = set()
        for seed in range(10):
            torch.manual_seed(seed)
            _, targets = transform(picture, record)
            seen.add(int(targets.boxes[0].tolist() != [30, 20, 80, 60]))
        assert seen == wanted
    with pytest.raises(InputError, match="instaboost must be from 0 to 1"):
        ObjectAugmentConfig(instaboost=2.0)


def test_short_sides_are_drawn_from_the_whole_range(tmp_path) -> None:
    picture, record = scene(tmp_path)
    raw = Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    augment = ObjectAugmentConfig(short_range=(40, 140), long_side=160, crop_probability=0.0)
    transform = ObjectTrainTransform(augment, raw, masks=False)
    sizes = set()
    for seed in range(30):
        torch.manual_seed(seed)
        sizes.add(tuple(transform(picture, record)[0].shape[1:]))
    assert max(max(size) for size in sizes) == 160
    assert min(min(size) for size in sizes) < 60
    assert len(sizes) > 15
    with pytest.raises(InputError, match="short_range must be two numbers"):
        ObjectAugmentConfig(short_range=(100, 50))
