"""The shifted-window figure shows what `swinkit.ops.windows` computes: checked by the arrays drawn."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from swinkit.errors import InputError
from swinkit.ops.windows import region_mask
from swinkit.viz.windows import draw_windows, layout_windows, windows_figure


@pytest.mark.parametrize(
    ("map_size", "window", "shift"),
    [((8, 8), (4, 4), (2, 2)), ((6, 9), (3, 3), (1, 1)), ((4, 8), (4, 2), (0, 1))],
)
def test_rolling_the_regions_gives_the_rolled_map(map_size, window, shift):
    layout = layout_windows(map_size, window, shift)
    expected = np.roll(layout.regions_HW, (-shift[0], -shift[1]), axis=(0, 1))
    np.testing.assert_array_equal(layout.rolled_HW, expected)


def test_a_region_is_one_piece_of_the_shifted_partition():
    layout = layout_windows((8, 8), (4, 4), (2, 2))
    assert len(layout.shifted_boxes) == 9
    for top, left, rows, columns in layout.shifted_boxes:
        assert len(np.unique(layout.regions_HW[top : top + rows, left : left + columns])) == 1


def test_the_shifted_window_joins_what_regular_windows_separate():
    layout = layout_windows((8, 8), (4, 4), (2, 2))
    below = (layout.token[0] + 1, layout.token[1] + 1)
    assert layout.windows_HW[layout.token] != layout.windows_HW[below]
    assert layout.regions_HW[layout.token] == layout.regions_HW[below]
    assert layout.rolled_token == (1, 1)


def test_the_drawn_arrays_are_the_layout():
    layout = layout_windows((8, 8), (4, 4), (2, 2))
    figure = windows_figure((8, 8), (4, 4), (2, 2))
    regular, shifted, rolled, mask = (axes.images[0].get_array() for axes in figure.axes)
    np.testing.assert_array_equal(regular, layout.windows_HW == 0)
    np.testing.assert_array_equal(shifted, layout.regions_HW)
    np.testing.assert_array_equal(rolled, layout.rolled_HW)
    np.testing.assert_array_equal(np.asarray(mask) >= 0, region_mask((8, 8), (4, 4), (2, 2))[-1].numpy())
    borders = [sum(isinstance(patch, Rectangle) for patch in axes.patches) for axes in figure.axes]
    assert borders == [4, 9, 4, 1]


def test_no_shift_has_one_region_and_an_open_mask():
    layout = layout_windows((4, 4), (2, 2), (0, 0))
    assert set(layout.regions_HW.flat) == {0}
    assert layout.mask_NN.all()


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_writes_the_file(tmp_path, ending):
    path = tmp_path / "figures" / f"windows.{ending}"
    draw_windows(path)
    assert path.stat().st_size > 5_000
    assert [item.name for item in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("map_size", "window", "shift"),
    [((7, 8), (4, 4), (2, 2)), ((8, 8), (4, 4), (4, 2)), ((8, 8), (0, 4), (0, 0))],
)
def test_refuses_what_it_cannot_draw(tmp_path, map_size, window, shift):
    with pytest.raises(InputError, match="got"):
        draw_windows(tmp_path / "windows.png", map_size, window, shift)
    assert not list(tmp_path.iterdir())
