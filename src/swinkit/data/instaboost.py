"""Moving objects a little within their picture, after InstaBoost (Fang et al., 2019), for HTC++.

As published: every object is shifted by up to 1/15 of its sides, scaled by 0.8 to 1.2 and turned by up to 1
degree about its centre; what it leaves behind is filled from around.
Not as published: the hole is filled with averages of ever larger surroundings instead of by marching inwards;
an object's edge is as soft as resampling makes it instead of being matted; the colours of what moves do not
change; and there is no appearance heat map, which the published training leaves off too.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from swinkit.data.objects import ObjectRecord, Segment, draw_segment, encode_mask

SHIFT = 1 / 15
"""Largest shift, as a share of the object's width or height."""
SCALES = (0.8, 1.2)
DEGREES = 1.0
LEAST_SIDE = 1.0
"""An object of which less than this many pixels a side would stay in the picture stays where it is."""


class _Move:
    """x -> centre + shift + scale * turn (x - centre), in pixels.

    Args:
        box: of the object, whose centre is meant.
    """

    def __init__(self, box: np.ndarray) -> None:
        centre, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        shift = sides * SHIFT * (2 * torch.rand(2).numpy() - 1)
        self.scale = SCALES[0] + (SCALES[1] - SCALES[0]) * float(torch.rand(()))
        angle = math.radians(DEGREES) * (2 * float(torch.rand(())) - 1)
        self.turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        self.centre, self.target = centre, centre + shift

    def points(self, points_N2: np.ndarray) -> np.ndarray:
        """Where points go."""
        return self.target + self.scale * (points_N2 - self.centre) @ self.turn.T

    def sources(self, corner: tuple[int, int]) -> tuple[float, ...]:
        """PIL's coefficients from a pixel of the part that begins at `corner` (x, y) to where it came
        from."""
        back = self.turn.T / self.scale
        offset = self.centre - back @ (self.target - np.array(corner, dtype=np.float64))
        return (*back[0], offset[0], *back[1], offset[1])


def move_objects(picture: Image.Image, record: ObjectRecord) -> tuple[Image.Image, ObjectRecord]:
    """Return the picture with every object that has an outline moved a little, and its new record.

    Randomness is torch's. Crowds and objects without outline stay; where two objects overlap, the later one
    lies on top. A stuff map stays as it is.

    Args:
        picture: RGB.
        record: its objects.
    """
    masks = {
        number: draw_segment(segment, record.size)
        for number, segment in enumerate(record.segments)
        if segment is not None and not record.crowd[number]
    }
    moves = {number: _Move(record.boxes[number].astype(np.float64)) for number in masks}
    boxes = {number: _moved_box(moves[number], record.boxes[number], record.size) for number in moves}
    boxes = {number: box for number, box in boxes.items() if box is not None and masks[number].any()}
    if not boxes:
        return picture, record
    hole = np.any([masks[number] for number in boxes], axis=0)
    pixels = fill_hole(np.asarray(picture, dtype=np.float32), hole)
    new_boxes, segments, areas = record.boxes.copy(), list(record.segments), record.areas.copy()
    for number, part in boxes.items():
        move, (left, top, right, bottom) = moves[number], part
        size, where = (right - left, bottom - top), (slice(top, bottom), slice(left, right))
        sources = move.sources((left, top))
        mask = Image.fromarray(masks[number] * np.uint8(255))
        alpha = np.asarray(mask.transform(size, Image.Transform.AFFINE, sources, Image.Resampling.BILINEAR))
        if not (alpha >= 128).any():
            pixels[masks[number] > 0] = np.asarray(picture)[masks[number] > 0]
            continue
        moved = picture.transform(size, Image.Transform.AFFINE, sources, Image.Resampling.BILINEAR)
        share = alpha.astype(np.float32)[..., None] / 255
        pixels[where] = share * np.asarray(moved) + (1 - share) * pixels[where]
        rows, columns = np.nonzero(alpha >= 128)
        inner = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        new_boxes[number] = np.add(inner, (left, top, left, top))
        segments[number] = _moved_segment(
            record.segments[number], move, alpha >= 128, (top, left), record.size
        )
        areas[number] = float((alpha >= 128).sum())
    boosted = replace(record, boxes=new_boxes, segments=tuple(segments), areas=areas)
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8)), boosted


def fill_hole(pixels_HWC: np.ndarray, hole_HW: np.ndarray) -> np.ndarray:
    """Return a picture, float32, whose pixels in the hole are averages of what is known around them.

    Halved again and again, known pixels alone are averaged, until nothing is unknown; on the way back each
    unknown pixel takes the average that covers it.
    """
    height, width = hole_HW.shape
    if not hole_HW.any() or hole_HW.all():
        return pixels_HWC.copy()
    known = np.pad((~hole_HW).astype(np.float32), ((0, height % 2), (0, width % 2)))
    padded = np.pad(pixels_HWC, ((0, height % 2), (0, width % 2), (0, 0))) * known[..., None]
    count = known.reshape(len(known) // 2, 2, -1, 2).sum(axis=(1, 3))
    total = padded.reshape(len(known) // 2, 2, -1, 2, pixels_HWC.shape[2]).sum(axis=(1, 3))
    coarse = fill_hole(total / np.maximum(count, 1)[..., None], count == 0)
    back = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(hole_HW[..., None], back, pixels_HWC)


def _moved_box(move: _Move, box: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Whole pixels (left, top, right, bottom) around a moved box in the picture; None when next to nothing is
    left."""
    x1, y1, x2, y2 = (float(value) for value in box)
    corners = move.points(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]))
    low = np.floor(corners.min(axis=0)).clip(0)
    high = np.ceil(corners.max(axis=0)).clip(None, [size[1], size[0]])
    if (high - low < LEAST_SIDE).any():
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _moved_segment(
    segment: Segment | None, move: _Move, mask: np.ndarray, corner: tuple[int, int], size: tuple[int, int]
) -> Segment:
    """The outline after the move: polygons as numbers, a code from the moved mask."""
    if isinstance(segment, list):
        return [
            move.points(np.asarray(polygon, dtype=np.float64).reshape(-1, 2)).ravel().tolist()
            for polygon in segment
        ]
    return encode_mask(mask, corner, size)
