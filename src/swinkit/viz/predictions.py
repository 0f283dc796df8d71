"""Pictures with what the model says about them: one annotated picture, and a grid of many."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from swinkit.viz.style import BAD, FONT, INK, MUTED, PALETTE, new_figure

CAPTION = 22
"""Letters of a caption that fit above a picture of the grid."""
MIN_SIDE = 320
"""Pixels; smaller pictures are enlarged before text is written under them."""


def annotate(picture: Image.Image, scores: Sequence[tuple[str, float]]) -> Image.Image:
    """Return the picture with a bar for each (name, probability) below it.

    Args:
        picture: RGB; enlarged without smoothing when its long side is under `MIN_SIDE`.
        scores: the most probable first.
    """
    factor = max(1, math.ceil(MIN_SIDE / max(picture.size)))
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    width = max(picture.width, MIN_SIDE)
    size = max(14, width // 32)
    font = ImageFont.load_default(size)
    row, pad = int(size * 1.9), size // 2
    canvas = Image.new("RGB", (width, picture.height + row * len(scores) + pad), "white")
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for rank, (name, probability) in enumerate(scores):
        top = picture.height + pad + rank * row
        length = (width - 2 * pad) * min(max(probability, 0.0), 1.0)
        draw.rectangle((pad, top + size * 1.45, pad + max(length, 1), top + size * 1.65), fill=PALETTE[0])
        share = f"{100 * probability:.1f} %"
        room = width - 3 * pad - draw.textlength(share, font=font)
        draw.text((pad, top), _fit(draw, name, font, room), fill=INK, font=font)
        draw.text((width - pad, top), share, fill=MUTED, font=font, anchor="ra")
    return canvas


def predictions_figure(
    pictures: Sequence[Image.Image],
    predicted: Sequence[str],
    probabilities: Sequence[float],
    true: Sequence[str] | None = None,
    *,
    title: str = "",
    columns: int = 6,
) -> Figure:
    """Draw a grid of pictures with the predicted class above each, ticked when right, crossed when wrong.

    Args:
        pictures: at least one.
        predicted: a class name each.
        probabilities: of the predicted class.
        true: the right class names, when known.
        title: above the grid.
        columns: pictures a row.
    """
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    figure = new_figure(1.75 * columns, 2.15 * rows + (0.45 if title else 0))
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK, fontfamily=FONT)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for index, (axes, picture) in enumerate(zip(grid.flat, pictures, strict=False)):
        small = max(picture.size) < 64
        axes.imshow(np.asarray(_shrink(picture)), interpolation="nearest" if small else "antialiased")
        text = caption(predicted[index], probabilities[index], None if true is None else true[index])
        wrong = true is not None and predicted[index] != true[index]
        style = {"color": BAD, "fontweight": "bold"} if wrong else {"color": INK}
        axes.set_title(_plain(text), fontsize=8, fontfamily=FONT, **style)
    return figure


def caption(predicted: str, probability: float, true: str | None = None) -> str:
    """Say what was predicted and, when the right class is known, whether it is that one.

    Returns:
        "6 (55%)"; with a tick before it when right; when wrong "said 6 (55%), is 4" after a cross.
    """
    share = f"({probability:.0%})"
    if true is None:
        return f"{_short(predicted)} {share}"
    if predicted == true:
        return f"\N{CHECK MARK} {_short(predicted)} {share}"
    first, second = f"\N{BALLOT X} said {_short(predicted, 12)} {share},", f"is {_short(true)}"
    fits = len(first) + 1 + len(second) <= CAPTION
    return f"{first}{' ' if fits else chr(10)}{second}"


def _shrink(picture: Image.Image, side: int = 384) -> Image.Image:
    if max(picture.size) <= side:
        return picture
    picture = picture.copy()
    picture.thumbnail((side, side))
    return picture


def _short(name: str, length: int = 18) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _plain(text: str) -> str:
    """Keep matplotlib from reading a class name with two dollar signs as a formula."""
    return text.replace("$", r"\$")


def _fit(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, room: float
) -> str:
    while len(text) > 1 and draw.textlength(text, font=font) > room:
        text = text[:-2] + "…"
    return text
