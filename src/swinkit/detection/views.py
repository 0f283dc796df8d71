"""One picture seen several times: at several sizes, mirrored, or in tiles.

Legend: V views, R regions, K classes, N detections.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from swinkit.detection.config import SelectConfig
from swinkit.detection.detector import Detector
from swinkit.detection.structures import Detections
from swinkit.ops.boxes import flip_boxes, pairwise_ios
from swinkit.ops.windows import Pair

EDGE = 2.0
"""A box that ends this near, in pixels, to the inner edge of a tile may have been cut by it."""
SAME = 0.6
"""Detections of two tiles are of one object when the smaller lies in the larger with this share of it."""


@dataclass(frozen=True)
class View:
    """A picture as the network sees it.

    Attributes:
        image: (C, H, W), normalised, padded to a multiple of 32.
        size: (height, width) before padding.
        mirrored: left to right.
    """

    image: Tensor
    size: Pair
    mirrored: bool = False


def detect_views(
    model: Detector,
    views: list[View],
    size: Pair,
    select: SelectConfig,
    allowed: Tensor | None = None,
) -> Detections:
    """Find the objects of one picture by all views of it together.

    Candidates of all views are suppressed as one; a mask is the mean of what the views say.

    Args:
        model: in evaluation mode.
        views: of the picture.
        size: (height, width) of the picture.
        select: how detections are chosen.
        allowed: (K,) bool, the classes that are searched; None: all.

    Returns:
        Detections in pixels of the picture.
    """
    levels, boxes, scores = [], [], []
    for view in views:
        maps = model.features(view.image[None])
        found, probabilities = model.candidates(maps, [view.size], select)[0]
        levels.append(maps)
        boxes.append(_to_picture(found, view, size))
        scores.append(probabilities)
    scores_RK = torch.cat(scores)
    if allowed is not None:
        scores_RK = torch.where(allowed, scores_RK, 0.0)
    found = model.choose(torch.cat(boxes), scores_RK, select)
    if model.has_masks:
        total: Tensor | float = 0.0
        for maps, view in zip(levels, views, strict=True):
            masks = model.masks(maps, [_to_view(found.boxes, view, size)], [found.labels])[0]
            total = total + (masks.flip(-1) if view.mirrored else masks)
        assert isinstance(total, Tensor)
        found.masks = total / len(views)
    return found


def tile_corners(size: Pair, tile: int, overlap: float) -> list[Pair]:
    """Return the (row, column) at which each tile of a picture begins; tiles reach the edges and no
    further."""
    step = max(1, round(tile * (1 - overlap)))
    starts = []
    for side in size:
        last = max(side - tile, 0)
        count = -(-last // step)
        starts.append([round(last * i / count) for i in range(count + 1)] if count else [0])
    return [(row, column) for row in starts[0] for column in starts[1]]


def merge_tiles(parts: list[Detections], corners: list[Pair], tile: int, size: Pair) -> Detections:
    """Join what was found in the tiles of a picture, each object once.

    Of two detections of one class in different tiles that cover each other, the one that no tile's edge cut
    stays, else the better one.

    Args:
        parts: of each tile, in its own pixels.
        corners: (row, column) of each tile.
        tile: its side.
        size: (height, width) of the picture.
    """
    moved, owners, cut = [], [], []
    for number, (part, (row, column)) in enumerate(zip(parts, corners, strict=True)):
        boxes = part.boxes
        height, width = min(tile, size[0] - row), min(tile, size[1] - column)
        inner = torch.zeros(len(part), dtype=torch.bool, device=boxes.device)
        inner |= (boxes[:, 0] < EDGE) & (column > 0)
        inner |= (boxes[:, 1] < EDGE) & (row > 0)
        inner |= (boxes[:, 2] > width - EDGE) & (column + width < size[1])
        inner |= (boxes[:, 3] > height - EDGE) & (row + height < size[0])
        moved.append(part.moved(boxes + boxes.new_tensor([column, row, column, row])))
        owners.append(torch.full((len(part),), number, device=boxes.device))
        cut.append(inner)
    found = Detections.cat(moved)
    owner, is_cut = torch.cat(owners), torch.cat(cut)
    order = (found.scores - 2 * is_cut.float()).argsort(descending=True, stable=True)
    alive = torch.ones(len(found), dtype=torch.bool, device=owner.device)
    for at in order.tolist():
        if not alive[at]:
            continue
        rivals = torch.nonzero(alive & (owner != owner[at]) & (found.labels == found.labels[at])).flatten()
        share = pairwise_ios(found.boxes[at : at + 1], found.boxes[rivals])[0]
        alive[rivals[share > SAME]] = False
    kept = torch.nonzero(alive).flatten()
    return found.pick(kept[found.scores[kept].argsort(descending=True, stable=True)])


def without_limit(select: SelectConfig, factor: int) -> SelectConfig:
    """Return `select` with room for `factor` times as many detections."""
    return replace(select, most=select.most * factor)


def _scale(view: View, size: Pair, like: Tensor) -> Tensor:
    down, across = view.size[0] / size[0], view.size[1] / size[1]
    return like.new_tensor([across, down, across, down])


def _to_picture(boxes: Tensor, view: View, size: Pair) -> Tensor:
    boxes = flip_boxes(boxes, view.size[1]) if view.mirrored else boxes
    return boxes / _scale(view, size, boxes)


def _to_view(boxes: Tensor, view: View, size: Pair) -> Tensor:
    boxes = boxes * _scale(view, size, boxes)
    return flip_boxes(boxes, view.size[1]) if view.mirrored else boxes
