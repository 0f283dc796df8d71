"""Colours that differ from one another, and a legend below a picture."""

import colorsys
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from swinkit.viz.style import INK

Color = tuple[int, int, int]


def class_colors(count: int) -> tuple[Color, ...]:
    """Return `count` colours that differ from one another as far as possible, the same ones every time."""
    colors = []
    for index in range(count):
        hue = (0.58 + index * 0.61803398875) % 1  # the golden ratio never comes near an earlier hue soon
        light, strong = ((0.85, 0.75), (0.6, 0.9), (0.95, 0.45))[index % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, strong, light)
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(colors)


def with_legend(picture: Image.Image, entries: Sequence[tuple[str, Color | None]]) -> Image.Image:
    """Return the picture with a legend below it, on white.

    Args:
        picture: RGB.
        entries: text and colour of each line; no colour: the text alone. Without entries nothing is added.
    """
    width = max(picture.width, 320)
    size = max(13, width // 60)
    font = ImageFont.load_default(size)
    pad, row = size // 2, int(size * 1.6)
    measure = ImageDraw.Draw(picture)
    wide = max([int(measure.textlength(text, font=font)) for text, _ in entries], default=0) + size + 3 * pad
    columns = max(1, width // wide)
    lines = -(-len(entries) // columns)
    canvas = Image.new("RGB", (width, picture.height + lines * row + 2 * pad * bool(lines)), "white")
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for index, (text, color) in enumerate(entries):
        left = pad + index % columns * wide
        top = picture.height + pad + index // columns * row
        if color is not None:
            draw.rectangle((left, top, left + size, top + size), fill=color)
        draw.text((left + (size + pad) * (color is not None), top), text, fill=INK, font=font)
    return canvas
