"""Outlines of the regions of a mask, exact to the pixel's edge."""

import numpy as np

_STEPS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
"""(rows, columns) of a step to the right, down, left, up: clockwise as seen in a picture."""

Ring = list[tuple[int, int]]
"""Corners (x, y) in pixels, the first not repeated at the end."""


def polygons(mask_HW: np.ndarray, *, least: int = 1) -> list[list[Ring]]:
    """Return the regions of a boolean mask: for each its outline, then its holes.

    A region is a set of pixels joined by their edges. Corners lie between pixels: a single pixel at the
    top left
    is (0, 0), (1, 0), (1, 1), (0, 1). Outlines run clockwise as seen in a picture, holes the other way, so
    that filling even-odd gives back the mask.

    Args:
        mask_HW: True inside.
        least: regions of fewer pixels are left out.
    """
    from scipy import ndimage  # noqa: PLC0415 (comes with scikit-learn; slow to import)

    labels_HW = np.empty(mask_HW.shape, np.int32)
    count = int(ndimage.label(mask_HW, output=labels_HW))  # type: ignore[arg-type]  # a number, given output
    if not count:
        return []
    sizes = np.bincount(labels_HW.ravel())
    outlines: dict[int, list[Ring]] = {label: [] for label in range(1, count + 1) if sizes[label] >= least}
    holes: dict[int, list[Ring]] = {label: [] for label in outlines}
    for ring, label in _rings(mask_HW, labels_HW):
        if label in outlines:
            (outlines if _area(ring) > 0 else holes)[label].append(ring)
    return [[*outlines[label], *holes[label]] for label in outlines]


def _rings(mask_HW: np.ndarray, labels_HW: np.ndarray) -> list[tuple[Ring, int]]:
    """Every closed outline with the region it belongs to, which lies on its right."""
    rows, columns, directions, labels = _edges(mask_HW, labels_HW)
    width = mask_HW.shape[1] + 1
    keys = (rows * width + columns) * 4 + directions
    order = np.argsort(keys)
    rows, columns, directions, labels, keys = (x[order] for x in (rows, columns, directions, labels, keys))
    ends = (rows + _STEPS[directions, 0]) * width + columns + _STEPS[directions, 1]
    following = np.full(len(keys), -1)
    # Where two regions touch at a corner, turning right stays with one's own.
    for turn in (3, 0, 1):
        wanted = ends * 4 + (directions + turn) % 4
        at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        following = np.where(keys[at] == wanted, at, following)
    corner = np.ones(len(keys), bool)
    corner[following] = directions[following] != directions
    found: list[tuple[Ring, int]] = []
    done = np.zeros(len(keys), bool)
    for start in range(len(keys)):
        if done[start]:
            continue
        ring: Ring = []
        edge = start
        while not done[edge]:
            done[edge] = True
            if corner[edge]:
                ring.append((int(columns[edge]), int(rows[edge])))
            edge = int(following[edge])
        found.append((ring, int(labels[start])))
    return found


def _edges(
    mask_HW: np.ndarray, labels_HW: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Start (row, column), direction and region of each pixel side that borders on the outside."""
    padded = np.pad(mask_HW.astype(bool), 1)
    inside = padded[1:-1, 1:-1]
    neighbours = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    starts = ((0, 0), (0, 1), (1, 1), (1, 0))  # of the top, right, bottom and left side, walked clockwise
    parts = []
    for direction, (neighbour, (down, across)) in enumerate(zip(neighbours, starts, strict=True)):
        rows, columns = np.nonzero(inside & ~neighbour)
        parts.append((rows + down, columns + across, np.full(len(rows), direction), labels_HW[rows, columns]))
    rows, columns, directions, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return rows, columns, directions, labels


def _area(ring: Ring) -> float:
    """Signed area: positive where the ring runs clockwise as seen in a picture."""
    points = np.array(ring)
    following = np.roll(points, -1, axis=0)
    return float((points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]).sum() / 2)
