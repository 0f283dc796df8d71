"""Masks as pictures: an overlay with a legend, a palette PNG, and the confusion matrix."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from swinkit.evaluate.segmentation import SegmentationReport
from swinkit.viz.evaluation import shares_figure
from swinkit.viz.legend import Color, with_legend

STRENGTH = 0.55
"""Share of the class's colour in an overlay."""
LONG_SIDE = 4096
"""Pixels; overlays of larger pictures are shrunk to this: they are for looking at."""


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
    entries = [(f"{names[i]} {counts[i] / mask_HW.size:.1%}", palette[i]) for i in present]
    return with_legend(blended, entries)


def segmentation_confusion_figure(report: SegmentationReport) -> Figure:
    """Draw who is taken for whom: rows are true classes, a cell is its share of the row's pixels in
    percent."""
    return shares_figure(
        report.confusion.numpy(),
        report.classes,
        title=f"Confusion: mIoU {report.scores.miou:.1%}, {report.scores.aacc:.1%} of the pixels right",
        percent=True,
    )
