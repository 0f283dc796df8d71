"""Geometry of windows: partition, regions, relative positions, and the four policies for small maps."""

import pytest
import torch

from swinkit.errors import InputError
from swinkit.ops import windows


@pytest.mark.parametrize(("size", "window"), [((8, 12), (4, 4)), ((6, 6), (2, 3)), ((7, 7), (7, 7))])
def test_merge_inverts_partition(size, window):
    x = torch.randn(2, *size, 3)
    cut = windows.partition(x, window)
    assert cut.shape == (2 * size[0] * size[1] // (window[0] * window[1]), window[0] * window[1], 3)
    assert torch.equal(windows.merge(cut, window, size), x)


def test_partition_goes_row_by_row():
    x = torch.arange(16).view(1, 4, 4, 1)
    assert windows.partition(x, (2, 2))[..., 0].tolist() == [
        [0, 1, 4, 5],
        [2, 3, 6, 7],
        [8, 9, 12, 13],
        [10, 11, 14, 15],
    ]


def test_padding_goes_to_the_bottom_and_the_right():
    x = torch.ones(1, 3, 5, 1)
    padded = windows.pad_map(x, windows.padded_size((3, 5), (4, 4)))
    assert padded.shape == (1, 4, 8, 1)
    assert padded.sum() == 15
    assert padded[0, :3, :5].sum() == 15


def test_regions_of_the_paper_s_figure():
    """An 8 x 8 map, windows of 4, shift 2: the last window holds four regions of four tokens each."""
    ids = windows.region_ids((8, 8), (4, 4), (2, 2))
    assert [len(set(window.tolist())) for window in ids] == [1, 2, 2, 4]
    mask = windows.region_mask((8, 8), (4, 4), (2, 2))
    assert mask.shape == (4, 16, 16)
    assert mask.sum((1, 2)).tolist() == [256, 128, 128, 64]


def test_a_shift_along_one_axis_divides_only_that_axis():
    ids = windows.region_ids((8, 8), (4, 4), (2, 0))
    assert [len(set(window.tolist())) for window in ids] == [1, 1, 2, 2]


def test_relative_positions_depend_on_the_difference_alone():
    index = windows.relative_position_index((3, 5))
    assert index.shape == (15, 15)
    assert index.min() == 0
    assert index.max() == 5 * 9 - 1
    assert index[0, 0] == index[7, 7] == index[14, 14]
    assert index[0, 1] == index[8, 9]
    assert index[0, 1] != index[1, 0]


def test_expanded_bias_picks_rows_of_the_table():
    table = torch.randn(3 * 5, 2)
    bias = windows.expand_bias(table, (2, 3))
    index = windows.relative_position_index((2, 3))
    assert bias.shape == (2, 6, 6)
    assert torch.equal(bias[1, 4, 2], table[index[4, 2], 1])


@pytest.mark.parametrize(
    ("policy", "map_size", "window", "shift"),
    [
        ("clamp", (14, 14), (7, 7), (3, 3)),
        ("clamp", (7, 7), (7, 7), (0, 0)),
        ("clamp", (4, 4), (4, 4), (0, 0)),
        ("clamp", (4, 14), (4, 4), (0, 0)),
        ("clamp_axis", (4, 14), (4, 7), (0, 3)),
        ("pad", (4, 4), (7, 7), (3, 3)),
        ("pad_axis", (4, 14), (7, 7), (0, 3)),
    ],
)
def test_policies_on_small_maps(policy, map_size, window, shift):
    fitted = windows.fit_window(map_size, (7, 7), policy)
    assert fitted == window
    assert windows.fit_shift(map_size, fitted, policy) == shift


def test_to_pair_rejects_other_things():
    assert windows.to_pair(7) == (7, 7)
    assert windows.to_pair([3, 5]) == (3, 5)
    for wrong in ((1, 2, 3), (1.0, 2), 3.5, None, "77"):
        with pytest.raises(InputError, match="expected an int or a"):
            windows.to_pair(wrong)  # type: ignore[arg-type]
