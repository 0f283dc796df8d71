"""Figures of an evaluation: the confusion matrix and the worst mistakes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

from swinkit.errors import InputError
from swinkit.evaluate.classification import ClassificationReport
from swinkit.viz.predictions import predictions_figure
from swinkit.viz.style import FONT, INK, PALETTE, PAPER, new_figure, style_axes

LABEL_LIMIT = 40
"""Most classes whose names are written at the axes."""
NUMBER_LIMIT = 20
"""Most classes for which the counts are written into the cells."""

_SHADES = LinearSegmentedColormap.from_list("swinkit", [PAPER, PALETTE[0]])


def confusion_figure(report: ClassificationReport) -> Figure:
    """Draw who is taken for whom: rows are true classes, a cell's shade is its share of the row.

    Raises:
        InputError: the report has no confusion matrix (too many classes).
    """
    if report.confusion is None:
        raise InputError(f"the confusion matrix is not kept for {len(report.classes)} classes.")
    title = f"Confusion: {report.top1:.1%} of {report.count} right"
    return shares_figure(report.confusion.numpy(), report.classes, title=title)


def shares_figure(
    counts_KK: np.ndarray, names: Sequence[str], *, title: str, percent: bool = False
) -> Figure:
    """Draw a table of counts (row = true class), each cell shaded by its share of the row.

    Args:
        counts_KK: how often.
        names: of the K classes.
        title: above it.
        percent: write shares of the row into the cells instead of counts.
    """
    shares_KK = counts_KK / np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    classes = len(counts_KK)
    side = min(max(3.6, 0.45 * classes), 12) + 1.4
    figure = new_figure(side, side)
    axes = figure.subplots()
    axes.imshow(shares_KK, cmap=_SHADES, vmin=0, vmax=1, interpolation="nearest")
    style_axes(axes, title=title, x="predicted", y="true", grid=False)
    if classes <= LABEL_LIMIT:
        labels = [name.replace("$", r"\$")[:24] for name in names]
        axes.set_xticks(range(classes), labels, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), labels)
    if classes <= NUMBER_LIMIT:
        for row, column in zip(*np.nonzero(counts_KK), strict=True):
            axes.text(
                column,
                row,
                f"{100 * shares_KK[row, column]:.0f}" if percent else str(counts_KK[row, column]),
                ha="center",
                va="center",
                fontsize=7,
                color=PAPER if shares_KK[row, column] > 0.5 else INK,
                fontfamily=FONT,
            )
    return figure


def worst_figure(report: ClassificationReport, pictures: list[Image.Image]) -> Figure:
    """Draw the report's worst mistakes; `pictures` are those of `report.worst`, in its order."""
    if not report.worst:
        figure = new_figure(4, 1)
        figure.text(
            0.02, 0.5, f"No mistakes in {report.count} pictures.", color=INK, fontfamily=FONT, va="center"
        )
        return figure
    return predictions_figure(
        pictures,
        [case.predicted for case in report.worst],
        [case.confidence for case in report.worst],
        [case.true for case in report.worst],
        title="Wrong and most sure of it",
    )
