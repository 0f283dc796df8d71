"""The course of a training run as one picture: loss, accuracy and learning rate over the epochs."""

import math
import os
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from swinkit.viz.style import MUTED, PALETTE, new_figure, save, style_axes


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
        best = max(range(len(top)), key=lambda index: top[index][1])
        accuracy.annotate(
            f"{top[best][1]:.2f}%",
            top[best],
            textcoords="offset points",
            xytext=(0, -14),
            ha="center",
            fontsize=8,
            color=MUTED,
        )

    style_axes(rate, title="Learning rate", x="epoch")
    _plot(rate, rows, "lr", "lr", PALETTE[2], marker=False)
    rate.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    save(figure, path)


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
