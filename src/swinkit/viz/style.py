"""One look for every figure: colours, fonts, figures without global state, and saving all or nothing.

Figures use matplotlib's object-oriented interface on the Agg canvas: no pyplot, no display, no state that one
figure leaves to the next.
"""

import os

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from swinkit.files import atomic_path

INK = "#1f2933"
"""Text and axes."""
MUTED = "#7b8794"
"""Secondary text."""
LINE = "#d5dae1"
"""Grid and hairlines."""
PAPER = "#ffffff"
"""Background."""
PALETTE = ("#3b6fd4", "#e8793a", "#2a9d78", "#8a5cc4", "#d9485f", "#d8a31f", "#3aa7c2", "#9a6b4f", "#6c7a89")
"""Colours of series and regions, in the order to use them."""
BAD = PALETTE[4]
"""Wrong predictions; always beside a mark or a word, for those who do not see it."""

FONT = "DejaVu Sans"
"""Ships inside matplotlib, so a figure looks the same everywhere."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of `width` x `height` inches on an Agg canvas, laid out so that labels fit."""
    figure = Figure(figsize=(width, height), facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes, *, title: str = "", x: str = "", y: str = "", grid: bool = True) -> Axes:
    """Give a plot the common look: title at the left, two spines, a faint grid behind the data."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK, fontfamily=FONT)
    axes.set_xlabel(x, color=INK, fontsize=9, fontfamily=FONT)
    axes.set_ylabel(y, color=INK, fontsize=9, fontfamily=FONT)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(LINE)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(visible=True, color=LINE, linewidth=0.6, alpha=0.7)
    return axes


def tint(color: str, amount: float) -> tuple[float, float, float]:
    """Mix a colour with the background: `amount` 1 leaves it, 0 gives the background."""
    red, green, blue = to_rgb(color)
    return (
        1 - amount * (1 - red),
        1 - amount * (1 - green),
        1 - amount * (1 - blue),
    )


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 160) -> None:
    """Write the figure; the ending of `path` says the format. Either the whole file appears or none.

    Raises:
        InputError: the folder cannot be written to or the disk is full.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, facecolor=figure.get_facecolor())
