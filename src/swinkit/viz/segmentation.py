"""Masks as pictures: an overlay with a legend, a palette PNG, and the confusion matrix."""

import colorsys
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from swinkit.evaluate.segmentation import SegmentationReport
from swinkit.viz.evaluation import shares_figure
from swinkit.viz.style import INK

Color = tuple[int, int, int]
STRENGTH = 0.55
"""Share of the class's colour in an overlay."""
LONG_SIDE = 4096
"""Pixels; overlays of larger pictures are shrunk to this: they are for looking at."""


def class_colors(count: int) -> tuple[Color, ...]:
    """Return `count` colours that differ from one another as far as possible, the same ones every time."""
    colors = []
    for index in range(count):
        hue = (0.58 + index * 0.61803398875) % 1  # the golden ratio never comes near an earlier hue soon
        light, strong = ((0.85, 0.75), (0.6, 0.9), (0.95, 0.45))[index % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, strong, light)
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(colors)


def mask_picture(mask_HW: np.ndarray, palette: Sequence[Color]) -> Image.Image:
    """Return the mask as a palette picture: its values are the classes, its colours the palette's."""
    picture = Image.fromarray(mask_HW)
    picture.putpalette([part for color in palette for part in color])
    return picture


def overlay(
    picture: Image.Image, mask_HW: np.ndarray, names: Sequence[str], palette: Sequence[Color]
) -> Image.Image:
    """Return the picture under the colours of its mask, and below it a legend of the classes that occur.

    Args:
        picture: RGB.
        mask_HW: classes, 255 for none.
        names: of the classes.
        palette: a colour each.
    """
    long = max(picture.size)
    if long > LONG_SIDE:
        size = (picture.width * LONG_SIDE // long, picture.height * LONG_SIDE // long)
        picture = picture.resize(size, Image.Resampling.BILINEAR)
        mask_HW = np.asarray(Image.fromarray(mask_HW).resize(size, Image.Resampling.NEAREST))
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    colors = Image.fromarray(table[mask_HW])
    strength = np.where(mask_HW < len(palette), round(255 * STRENGTH), 0).astype(np.uint8)
    blended = Image.composite(colors, picture, Image.fromarray(strength))
    counts = np.bincount(mask_HW.ravel(), minlength=256)[: len(names)]
    present = [int(index) for index in np.argsort(-counts, kind="stable") if counts[index]]
    entries = [(names[i], palette[i], counts[i] / mask_HW.size) for i in present]
    return _with_legend(blended, entries)


def _with_legend(picture: Image.Image, entries: Sequence[tuple[str, Color, float]]) -> Image.Image:
    width = max(picture.width, 320)
    size = max(13, width // 60)
    font = ImageFont.load_default(size)
    pad, row = size // 2, int(size * 1.6)
    measure = ImageDraw.Draw(picture)
    texts = [f"{name} {share:.1%}" for name, _, share in entries]
    wide = max([int(measure.textlength(text, font=font)) for text in texts], default=0) + size + 3 * pad
    columns = max(1, width // wide)
    lines = -(-len(entries) // columns)
    canvas = Image.new("RGB", (width, picture.height + lines * row + 2 * pad * bool(lines)), "white")
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for index, (text, (_, color, _)) in enumerate(zip(texts, entries, strict=True)):
        left = pad + index % columns * wide
        top = picture.height + pad + index // columns * row
        draw.rectangle((left, top, left + size, top + size), fill=color)
        draw.text((left + size + pad, top), text, fill=INK, font=font)
    return canvas


def segmentation_confusion_figure(report: SegmentationReport) -> Figure:
    """Draw who is taken for whom: rows are true classes, a cell is its share of the row's pixels in
    percent."""
    return shares_figure(
        report.confusion.numpy(),
        report.classes,
        title=f"Confusion: mIoU {report.scores.miou:.1%}, {report.scores.aacc:.1%} of the pixels right",
        percent=True,
    )
