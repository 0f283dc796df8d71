"""Pictures with what was found in them: boxes, outlines filled faintly, names and scores.

A crowded picture has a legend instead of names, so that nothing hides the objects.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from swinkit.data.objects import Segment, draw_segment
from swinkit.viz.legend import Color, class_colors, with_legend
from swinkit.viz.style import PALETTE

LEAST_SIDE = 480
"""Pixels; smaller pictures are enlarged before anything is drawn into them."""
STRENGTH = 0.45
"""Share of the object's colour in a mask."""
FEW = 10
"""So many objects have their texts always."""
COVERED = 0.25
"""Texts that would cover more than this share of the boxes' area are left out, and the classes listed."""
MANY = 30
"""With more objects of a class than this, its masks are coloured apart."""
APART = 24
"""Colours for that, taken in turn."""


def draw_objects(
    picture: Image.Image,
    boxes: np.ndarray,
    labels: Sequence[int],
    texts: Sequence[str],
    *,
    segments: Sequence[Segment] | None = None,
    names: Sequence[str] | None = None,
) -> Image.Image:
    """Return the picture with its objects, best first.

    A crowded picture has no texts but a legend below it: its classes, how many objects each has, and their
    colour, unless the objects of the class have one each. Those have no boxes either: the colours are enough.

    Args:
        picture: RGB; enlarged without smoothing when its short side is under `LEAST_SIDE`.
        boxes: (N, 4), x1 y1 x2 y2 in its pixels.
        labels: class of each, which chooses the colour.
        texts: written above each box; "" for none. Left out where boxes are many and small.
        segments: outline of each, or None.
        names: of the classes, for the legend; None: no legend.
    """
    size, counts = (picture.height, picture.width), Counter(labels)
    apart = {label for label, count in counts.items() if segments is not None and count > MANY}
    colors = _colors(labels, apart)
    if segments is not None:
        picture = _tint(picture, colors, segments, size)
    factor = max(1, -(-LEAST_SIDE // min(picture.size)))
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    canvas = picture.convert("RGB").copy()
    draw = ImageDraw.Draw(canvas)
    long = max(canvas.size)
    line, font = max(1, long // 500), ImageFont.load_default(max(11, long // 70))
    scaled = np.asarray(boxes, dtype=float).reshape(-1, 4) * factor
    for box, label, color in zip(scaled, labels, colors, strict=True):
        if label not in apart:
            draw.rectangle(tuple(box.tolist()), outline=color, width=line)
    # A text much wider than its box would only hide its neighbours.
    written = [
        (text, box, color)
        for text, box, color in zip(texts, scaled, colors, strict=True)
        if text and draw.textlength(text, font=font) <= max(3 * (box[2] - box[0]), long / 8)
    ]
    if not apart and not _crowded([text for text, _, _ in written], scaled, font, draw):
        for text, box, color in written:
            _write(draw, text, (float(box[0]), float(box[1])), color, font)
        return canvas
    entries = (
        [
            (f"{names[label]}: {count}", None if label in apart else _color(label))
            for label, count in counts.most_common()
        ]
        if names is not None
        else []
    )
    return with_legend(canvas, entries)


def _crowded(
    texts: Sequence[str],
    boxes_N4: np.ndarray,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    draw: ImageDraw.ImageDraw,
) -> bool:
    """Whether the texts of many objects would hide much of them."""
    if len(boxes_N4) <= FEW:
        return False
    covered = 0.0
    for text in texts:
        left, _, right, bottom = draw.textbbox((0, 0), text, font=font)
        covered += (right - left + 4) * (bottom + 3)
    width, height = draw.im.size
    sides = (boxes_N4[:, 2:] - boxes_N4[:, :2]).clip(0)
    return covered > COVERED * min(float(sides.prod(axis=1).sum()), width * height)


def _colors(labels: Sequence[int], apart: set[int]) -> list[Color]:
    """The colour of each object: its class's, or one of its own."""
    several, seen, colors = class_colors(APART), 0, []
    for label in labels:
        colors.append(several[seen % APART] if label in apart else _color(label))
        seen += label in apart
    return colors


def _tint(
    picture: Image.Image, colors: Sequence[Color], segments: Sequence[Segment], size: tuple[int, int]
) -> Image.Image:
    pixels = np.asarray(picture.convert("RGB")).astype(np.float32)
    shade = np.zeros_like(pixels)
    strength = np.zeros(size, dtype=np.float32)
    for color, segment in reversed(list(zip(colors, segments, strict=True))):  # the best on top
        mask = draw_segment(segment, size).astype(bool)
        shade[mask] = color
        strength[mask] = STRENGTH
    mixed = pixels * (1 - strength[..., None]) + shade * strength[..., None]
    return Image.fromarray(mixed.round().astype(np.uint8))


def _write(
    draw: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[float, float],
    color: Color,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    left, _, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom + 3
    x = max(0.0, min(corner[0], draw.im.size[0] - width))
    y = corner[1] - height if corner[1] >= height else corner[1]
    draw.rectangle((x, y, x + width, y + height), fill=color)
    draw.text((x + 2, y), text, fill="white", font=font)


def _color(label: int) -> Color:
    red, green, blue = ImageColor.getrgb(PALETTE[label % len(PALETTE)])[:3]
    return red, green, blue
