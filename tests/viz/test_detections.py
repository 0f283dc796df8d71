"""Objects drawn into pictures: names where there is room, a legend where there is none."""

import numpy as np
import pytest
from PIL import Image

from swinkit.viz.detections import MANY, STRENGTH, draw_objects
from swinkit.viz.legend import class_colors, with_legend

GREY = Image.new("RGB", (600, 600), (90, 90, 90))


def grid(count: int, side: int) -> np.ndarray:
    """Boxes of this side in rows of ten, 60 pixels apart."""
    places = np.array([[10 + 58 * (i % 10), 40 + 58 * (i // 10)] for i in range(count)], dtype=float)
    return np.concatenate([places, places + side], axis=1)


def square(box: np.ndarray) -> list[list[float]]:
    x1, y1, x2, y2 = box.tolist()
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def test_a_few_objects_have_their_names() -> None:
    boxes = grid(3, 50)
    plain = draw_objects(GREY, boxes, [0, 1, 0], ["", "", ""], names=("cat", "dog"))
    named = draw_objects(GREY, boxes, [0, 1, 0], ["cat 0.9"] * 3, names=("cat", "dog"))
    assert named.size == plain.size == (600, 600)
    assert np.asarray(named)[:39].tobytes() != np.asarray(plain)[:39].tobytes(), "above the first box"


def test_names_that_would_hide_many_objects_become_a_legend() -> None:
    boxes, labels = grid(20, 30), [0] * 15 + [1] * 5
    drawn = draw_objects(GREY, boxes, labels, ["cat 0.9"] * 20, names=("cat", "dog"))
    empty = draw_objects(GREY, boxes, labels, [""] * 20, names=("cat", "dog"))
    assert drawn.width == 600
    assert drawn.height > 600
    assert np.array_equal(np.asarray(drawn)[:600], np.asarray(empty)), "boxes, and no text"
    wide = draw_objects(GREY, grid(20, 56), labels, ["cat 0.9"] * 20, names=("cat", "dog"))
    assert wide.size == (600, 600), "in large boxes there is room"
    assert draw_objects(GREY, boxes, labels, ["cat 0.9"] * 20).size == (600, 600), "no names, no legend"


@pytest.mark.parametrize(("count", "colours"), [(MANY, 1), (MANY + 1, 24)])
def test_masks_of_many_alike_are_coloured_apart(count: int, colours: int) -> None:
    boxes = grid(count, 40)
    drawn = draw_objects(
        GREY, boxes, [0] * count, [""] * count, segments=[square(box) for box in boxes], names=("cell",)
    )
    pixels = np.asarray(drawn)
    inside = {tuple(pixels[int(y) + 20, int(x) + 20].tolist()) for x, y, _, _ in boxes}
    assert len(inside) == colours
    edges = {tuple(pixels[int(y), int(x) + 20].tolist()) for x, y, _, _ in boxes}
    assert (edges == inside) == (count > MANY), "no boxes where colours tell the objects apart"
    if count > MANY:
        wanted = np.round(90 * (1 - STRENGTH) + np.array(class_colors(24)) * STRENGTH)
        assert {tuple(color) for color in wanted.tolist()} == inside
        assert drawn.height > 600


def test_nothing_found_leaves_the_picture() -> None:
    drawn = draw_objects(GREY, np.zeros((0, 4)), [], [], segments=[], names=("cell",))
    assert np.array_equal(np.asarray(drawn), np.asarray(GREY))


def test_a_legend_lists_texts_beside_their_colours() -> None:
    red, blue = (200, 10, 10), (10, 10, 200)
    drawn = with_legend(GREY, [("a", red), ("b", blue), ("c", None)])
    strip = np.asarray(drawn)[600:].reshape(-1, 3)
    assert {red, blue, (255, 255, 255)} <= {tuple(color) for color in strip.tolist()}
    assert with_legend(GREY, []).size == GREY.size
