"""What is written above the pictures of the grid."""

import pytest
from PIL import Image

from swinkit.viz.predictions import caption, predictions_figure


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("6", 0.55), "6 (55%)"),
        (("6", 0.55, "6"), "\N{CHECK MARK} 6 (55%)"),
        (("6", 0.55, "4"), "\N{BALLOT X} said 6 (55%), is 4"),
        (("tiger", 0.9, "tabby cat"), "\N{BALLOT X} said tiger (90%),\nis tabby cat"),
    ],
)
def test_the_caption_says_right_or_wrong_without_colour(words, expected):
    assert caption(*words) == expected


def test_the_grid_shows_the_captions_in_a_font_that_has_the_marks():
    pictures = [Image.new("RGB", (8, 8))] * 2
    figure = predictions_figure(pictures, ["6", "4"], [0.5, 0.5], ["6", "6"])
    figure.draw_without_rendering()  # a missing glyph is a warning, and so an error
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [caption("6", 0.5, "6"), caption("4", 0.5, "6")]
