"""The course of a training run as one picture: loss, accuracy and learning rate over the epochs."""

import math
import os
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from swinkit.viz.style import INK, PALETTE, new_figure, save, style_axes


def draw_curves(
    path: str | os.PathLike[str],
    rows: Sequence[Mapping[str, str]],
    *,
    title: str = "",
    score: str = "val_top1",
    label: str = "top-1",
) -> None:
    """Draw the rows of a metrics.csv.

    Args:
        path: picture to write; its ending says the format.
        rows: each with "epoch" and any of "loss", "lr", "val_loss" and `score`, "" where there is none.
        title: above the first panel.
        score: column with the score of the validations, a fraction.
        label: how a person calls it.

    Raises:
        InputError: the picture cannot be written.
    """
    save(curves_figure(rows, title=title, score=score, label=label), path)


def curves_figure(
    rows: Sequence[Mapping[str, str]], *, title: str = "", score: str = "val_top1", label: str = "top-1"
) -> Figure:
    """Return the figure that `draw_curves` writes."""
    figure = new_figure(11, 3.4)
    loss, accuracy, rate = figure.subplots(1, 3)
    style_axes(loss, title=title or "Loss", x="epoch")
    _plot(loss, rows, "loss", "training", PALETTE[0], marker=False)
    _plot(loss, rows, "val_loss", "validation", PALETTE[1], marker=True)
    if loss.lines:
        loss.legend(frameon=False, fontsize=8)

    style_axes(accuracy, title=f"Validation {label}", x="epoch", y="%")
    top = _plot(accuracy, rows, score, label, PALETTE[1], marker=True, scale=100)
    if top:
        _mark_best(accuracy, top)

    style_axes(rate, title="Learning rate", x="epoch")
    _plot(rate, rows, "lr", "lr", PALETTE[2], marker=False)
    rate.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for axes in figure.axes:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    return figure


def _mark_best(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Write the highest value above its point, where no line can be, in room made for it."""
    best = max(points, key=lambda point: point[1])
    axes.margins(y=0.2)
    (first, _), (last, _) = points[0], points[-1]
    share = (best[0] - first) / (last - first) if last > first else 0.5
    side = "left" if share < 0.1 else "right" if share > 0.9 else "center"
    axes.plot(*best, marker="o", markersize=5, color=PALETTE[1])
    axes.annotate(
        f"best {best[1]:.2f}%",
        best,
        textcoords="offset points",
        xytext=({"left": -4, "right": 4, "center": 0}[side], 6),
        ha=side,
        fontsize=8,
        color=INK,
    )


def _plot(
    axes: Axes,
    rows: Sequence[Mapping[str, str]],
    column: str,
    label: str,
    color: str,
    *,
    marker: bool,
    scale: float = 1.0,
) -> list[tuple[float, float]]:
    """Plot a column over the epoch, leaving out what is missing or not finite; return the points."""
    points = [(float(row["epoch"]), scale * float(row[column])) for row in rows if row.get(column)]
    points = [point for point in points if math.isfinite(point[1])]
    if points:
        style = {"marker": "o", "markersize": 2.5} if marker else {}
        axes.plot(*zip(*points, strict=True), label=label, color=color, linewidth=1.4, **style)
    return points
