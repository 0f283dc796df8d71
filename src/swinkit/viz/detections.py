"""Pictures with what was found in them: boxes, outlines filled faintly, names and scores."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from swinkit.data.objects import Segment, draw_segment
from swinkit.viz.style import PALETTE

LEAST_SIDE = 480
"""Pixels; smaller pictures are enlarged before anything is drawn into them."""
STRENGTH = 0.45
"""Share of the class's colour in a mask."""


def draw_objects(
    picture: Image.Image,
    boxes: np.ndarray,
    labels: Sequence[int],
    texts: Sequence[str],
    segments: Sequence[Segment] | None = None,
) -> Image.Image:
    """Return the picture with its objects.

    Args:
        picture: RGB; enlarged without smoothing when its short side is under `LEAST_SIDE`.
        boxes: (N, 4), x1 y1 x2 y2 in its pixels.
        labels: class of each, which chooses the colour.
        texts: written above each box; "" for none. Left out where boxes are many and small.
        segments: outline of each, or None.
    """
    size = (picture.height, picture.width)
    if segments is not None:
        picture = _tint(picture, labels, segments, size)
    factor = max(1, -(-LEAST_SIDE // min(picture.size)))
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    canvas = picture.convert("RGB").copy()
    draw = ImageDraw.Draw(canvas)
    long = max(canvas.size)
    line, font = max(1, long // 500), ImageFont.load_default(max(11, long // 70))
    scaled = np.asarray(boxes, dtype=float).reshape(-1, 4) * factor
    for box, label in zip(scaled, labels, strict=True):
        draw.rectangle(tuple(box.tolist()), outline=_color(label), width=line)
    for box, label, text in zip(scaled, labels, texts, strict=True):
        # A text much wider than its box would only hide its neighbours.
        if text and draw.textlength(text, font=font) <= max(3 * (box[2] - box[0]), long / 8):
            _write(draw, text, (float(box[0]), float(box[1])), _color(label), font)
    return canvas


def _tint(
    picture: Image.Image, labels: Sequence[int], segments: Sequence[Segment], size: tuple[int, int]
) -> Image.Image:
    pixels = np.asarray(picture.convert("RGB")).astype(np.float32)
    shade = np.zeros_like(pixels)
    strength = np.zeros(size, dtype=np.float32)
    for label, segment in reversed(list(zip(labels, segments, strict=True))):  # the best on top
        mask = draw_segment(segment, size).astype(bool)
        shade[mask] = ImageColor.getrgb(_color(label))
        strength[mask] = STRENGTH
    mixed = pixels * (1 - strength[..., None]) + shade * strength[..., None]
    return Image.fromarray(mixed.round().astype(np.uint8))


def _write(
    draw: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[float, float],
    color: str,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    left, _, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom + 3
    x = max(0.0, min(corner[0], draw.im.size[0] - width))
    y = corner[1] - height if corner[1] >= height else corner[1]
    draw.rectangle((x, y, x + width, y + height), fill=color)
    draw.text((x + 2, y), text, fill="white", font=font)


def _color(label: int) -> str:
    return PALETTE[label % len(PALETTE)]
