"""The shifted-window figure (figures 2 and 4 of the paper), drawn with the functions of the model itself.

Legend: H W rows and columns of the map in tokens, N tokens of a window. Positions are (row, column).
"""

import os
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from swinkit.errors import InputError
from swinkit.ops.windows import Pair, merge, padded_size, region_ids, region_mask
from swinkit.viz.style import FONT, INK, MUTED, PALETTE, PAPER, new_figure, save, tint

REGION_NAMES = "ABCDEFGHI"
"""Region number -> letter on the figure; the first is the piece that needs no mask."""

REGION_COLORS = [tint(color, 0.42) for color in PALETTE]

Box = tuple[int, int, int, int]
"""Top row, left column, rows, columns."""


def draw_windows(
    path: str | os.PathLike[str], map_size: Pair = (8, 8), window: Pair = (4, 4), shift: Pair = (2, 2)
) -> None:
    """Write the shifted-window figure to `path` (PNG, SVG or PDF by its ending).

    Args:
        path: the file; it appears whole or not at all.
        map_size: rows and columns of the token map, multiples of the window.
        window: rows and columns of a window.
        shift: rows and columns the windows of the second block move by, less than the window.

    Raises:
        InputError: the map is no multiple of the window, the shift is not smaller than the window, or
            `path` cannot be written.
    """
    save(windows_figure(map_size, window, shift), path)


def windows_figure(map_size: Pair = (8, 8), window: Pair = (4, 4), shift: Pair = (2, 2)) -> Figure:
    """Return the figure `draw_windows` saves: three maps and the mask of the last window."""
    layout = layout_windows(map_size, window, shift)
    height = 0.75 + 2.9 * max(0.5, min(map_size[0] / map_size[1], 2.0))
    figure = new_figure(12.4, height)
    figure.get_layout_engine().set(w_pad=0.14, h_pad=0.08)  # type: ignore[union-attr]  # "constrained" has pads
    regular, shifted, rolled, mask = figure.subplots(1, 4)
    _draw_regular(regular, layout)
    _draw_regions(shifted, layout.regions_HW, layout.shifted_boxes)
    _mark(shifted, layout.token)
    _caption(shifted, "2  Windows shifted", "the next block's windows cross the old borders")
    _draw_regions(rolled, layout.rolled_HW, layout.regular_boxes)
    _mark(rolled, layout.rolled_token)
    _caption(rolled, "3  Rolled into equal windows", "one batch of windows again, no extra ones")
    _draw_mask(mask, layout)
    return figure


@dataclass(frozen=True, kw_only=True)
class WindowLayout:
    """What the figure shows, as arrays.

    Attributes:
        windows_HW: number of the regular window each token is in.
        regions_HW: region of each token, at its own place on the map.
        rolled_HW: region of each token after the cyclic shift.
        last_N: regions of the last window's tokens.
        mask_NN: whether two tokens of the last window may attend to each other.
        regular_boxes: the windows of the unshifted block.
        shifted_boxes: the windows of the shifted block where they lie on the map, cut at its edges.
        token: one token to follow, at the inner corner of the first window.
        rolled_token: the same token after the cyclic shift.
    """

    windows_HW: np.ndarray
    regions_HW: np.ndarray
    rolled_HW: np.ndarray
    last_N: np.ndarray
    mask_NN: np.ndarray
    regular_boxes: list[Box]
    shifted_boxes: list[Box]
    token: Pair
    rolled_token: Pair


def layout_windows(map_size: Pair, window: Pair, shift: Pair) -> WindowLayout:
    """Compute the figure's arrays with `swinkit.ops.windows`; same arguments and errors as `draw_windows`."""
    if min(window) < 1 or min(map_size) < 1 or padded_size(map_size, window) != map_size:
        raise InputError(
            f"the figure needs a map that is a multiple of the window; got map {map_size}, window {window}."
        )
    if any(not 0 <= offset < side for offset, side in zip(shift, window, strict=True)):
        raise InputError(f"the shift must be smaller than the window; got shift {shift}, window {window}.")
    ids_TN = region_ids(map_size, window, shift)
    rolled = merge(ids_TN[..., None], window, map_size)[0, :, :, 0]
    numbers_TN = torch.arange(ids_TN.shape[0])[:, None].expand_as(ids_TN)
    token = (window[0] - 1, window[1] - 1)
    return WindowLayout(
        windows_HW=merge(numbers_TN[..., None], window, map_size)[0, :, :, 0].numpy(),
        regions_HW=torch.roll(rolled, shift, dims=(0, 1)).numpy(),
        rolled_HW=rolled.numpy(),
        last_N=ids_TN[-1].numpy(),
        mask_NN=region_mask(map_size, window, shift)[-1].numpy(),
        regular_boxes=_boxes(_cuts(map_size[0], window[0], 0), _cuts(map_size[1], window[1], 0)),
        shifted_boxes=_boxes(
            _cuts(map_size[0], window[0], shift[0]), _cuts(map_size[1], window[1], shift[1])
        ),
        token=token,
        rolled_token=((token[0] - shift[0]) % map_size[0], (token[1] - shift[1]) % map_size[1]),
    )


def _cuts(length: int, side: int, offset: int) -> list[int]:
    """Borders of the windows along one axis, with the map's two edges."""
    return sorted({0, length, *range(offset, length, side)})


def _boxes(rows: list[int], columns: list[int]) -> list[Box]:
    return [
        (top, left, bottom - top, right - left)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]


def _draw_regular(axes: Axes, layout: WindowLayout) -> None:
    """The unshifted block: plain windows, the one that holds the followed token in colour."""
    here = layout.windows_HW == layout.windows_HW[layout.token]
    axes.imshow(here, cmap=ListedColormap([tint(MUTED, 0.16), tint(PALETTE[0], 0.42)]), vmin=0, vmax=1)
    _frame(axes, here.shape, layout.regular_boxes)
    _mark(axes, layout.token)
    _caption(axes, "1  Regular windows", "a token attends inside its own window only")


def _draw_regions(axes: Axes, regions_HW: np.ndarray, boxes: list[Box]) -> None:
    """A map with its regions in colour and lettered, and the windows' borders over it."""
    axes.imshow(regions_HW, cmap=ListedColormap(REGION_COLORS), vmin=-0.5, vmax=len(REGION_NAMES) - 0.5)
    _frame(axes, regions_HW.shape, boxes)
    font = {"fontsize": 13, "fontweight": "bold", "color": INK, "ha": "center", "va": "center"}
    for top, left, height, width in boxes:
        piece = regions_HW[top : top + height, left : left + width]
        for region in np.unique(piece):
            rows, columns = np.nonzero(piece == region)
            axes.text(left + columns.mean(), top + rows.mean(), REGION_NAMES[region], **font)


def _draw_mask(axes: Axes, layout: WindowLayout) -> None:
    """Which token (row) of the last window sees which (column), in the colour of their common region."""
    allowed_NN = np.where(layout.mask_NN, layout.last_N[:, None], -1)
    colors = ListedColormap([tint(MUTED, 0.07), *REGION_COLORS])
    axes.imshow(allowed_NN, cmap=colors, vmin=-1.5, vmax=len(REGION_NAMES) - 0.5)
    _frame(axes, allowed_NN.shape, [(0, 0, *allowed_NN.shape)], hair=0.5)
    for row, region in enumerate(layout.last_N):
        font = {"fontsize": 7, "fontweight": "bold", "color": PALETTE[region]}
        axes.text(-0.9, row, REGION_NAMES[region], ha="right", va="center", **font)
    _caption(axes, "4  Mask of the last window", "a token (row) sees those of its own region")


def _frame(axes: Axes, size: tuple[int, ...], boxes: list[Box], hair: float = 1.2) -> None:
    """White hairlines between tokens and dark borders around windows; no ticks."""
    for row in range(1, size[0]):
        axes.axhline(row - 0.5, color=PAPER, linewidth=hair)
    for column in range(1, size[1]):
        axes.axvline(column - 0.5, color=PAPER, linewidth=hair)
    for top, left, rows, columns in boxes:
        corner = (left - 0.5, top - 0.5)
        look = {"fill": False, "edgecolor": INK, "linewidth": 2.2, "joinstyle": "round", "clip_on": False}
        axes.add_patch(Rectangle(corner, columns, rows, zorder=2.5, **look))
    axes.set_axis_off()


def _mark(axes: Axes, token: Pair) -> None:
    """A dot on the token that the reader follows from map to map."""
    axes.add_patch(Circle((token[1], token[0]), 0.2, facecolor=INK, edgecolor=PAPER, linewidth=1.2, zorder=3))


def _caption(axes: Axes, title: str, text: str) -> None:
    axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=INK, fontfamily=FONT, pad=10)
    axes.text(0, -0.05, text, transform=axes.transAxes, va="top", fontsize=8.2, color=MUTED, fontfamily=FONT)
