"""Whether an outline from a file can be drawn: what draws it trusts its numbers."""

import math
from typing import Any

REACH = 2
"""A corner may lie outside its picture by this many of its sides: drawing takes memory by length."""


def outline_fault(segment: Any, size: tuple[int, int]) -> str | None:
    """Return what is wrong with a segmentation, as the end of "the annotation has ..."; None if nothing is.

    Args:
        segment: polygons of x, y, x, y, ... in pixels, or a run-length code {"size": [h, w], "counts": ...}
            whose counts are numbers or COCO's compressed text.
        size: (height, width) of the picture.
    """
    if isinstance(segment, dict):
        return _code_fault(segment, size)
    if not isinstance(segment, list):
        return "a segmentation that is neither polygons nor a run-length code"
    if all(isinstance(value, (int, float)) for value in segment):
        return "a segmentation of bare numbers: polygons are a list of lists"
    for polygon in segment:
        count = len(polygon) if isinstance(polygon, list) else 0
        if count < 6 or count % 2:
            return f"a polygon of {count / 2:g} points, and an outline needs three or more"
        for at, value in enumerate(polygon):
            side = size[1 - at % 2]
            # NaN is within no limits.
            if not (isinstance(value, (int, float)) and -REACH * side <= value <= (1 + REACH) * side):
                return (
                    f"a polygon with the coordinate {value!r}, in a picture of {size[1]} x {size[0]} pixels"
                )
    return None


def _code_fault(code: dict[str, Any], size: tuple[int, int]) -> str | None:
    if code.get("size") != list(size):
        return f"a run-length code of size {code.get('size')}, but the picture is {list(size)}"
    counts = code.get("counts")
    if isinstance(counts, str):
        counts = _counts_of(counts)
    known = isinstance(counts, list) and all(isinstance(count, int) and count >= 0 for count in counts)
    if not known or sum(counts) != math.prod(size):  # type: ignore[arg-type]  # a list, then
        return "a run-length code that is damaged: its counts do not add up to the picture's pixels"
    return None


def _counts_of(text: str) -> list[int] | None:
    """The counts of a compressed code: groups of five bits, low ones first, and from the fourth on the
    difference to the count before the last; None where it breaks off."""
    counts: list[int] = []
    value, shift = 0, 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    return None if shift else counts
