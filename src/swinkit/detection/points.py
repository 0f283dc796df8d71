"""Sets of points for boxes: their grid, which are trained first, and the box a set means.

Legend: N points of all levels, M objects.
"""

import torch
from torch import Tensor

from swinkit.detection.assigners import BACKGROUND
from swinkit.ops.windows import Pair

SIDE = 3
"""Points a side of the square that deformable convolution starts from; a set has SIDE * SIDE points."""
LEAST_SIDE = 1e-6
"""Of an object, in pixels."""


def point_grid(size: Pair, stride: int, device: torch.device) -> Tensor:
    """Return x and y in pixels (H * W, 2) of a level's points, row by row."""
    rows = torch.arange(size[0], device=device, dtype=torch.float32) * stride
    columns = torch.arange(size[1], device=device, dtype=torch.float32) * stride
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def kernel_grid() -> Tensor:
    """Return where a 3 x 3 convolution looks: (1, 18, 1, 1), y before x of each point."""
    steps = torch.arange(SIDE, dtype=torch.float32) - SIDE // 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([y, x], dim=-1).view(1, -1, 1, 1)


def box_of_points(points: Tensor) -> Tensor:
    """Return the box (..., 4) of sets (..., 18), y before x: the first point is its top left corner, the
    second its bottom right one."""
    return points[..., [1, 0, 3, 2]]


class PointAssigner:
    """An object gets the point nearest to its centre on the level that suits its size (Yang et al., 2019).

    Args:
        scale: side of an object in strides of its level.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, points: list[Tensor], strides: list[int], objects_M4: Tensor) -> Tensor:
        """Return for each point the index of its object or `BACKGROUND` (N,).

        Args:
            points: (N_i, 2) of each level, in pixels.
            strides: of each level, powers of 2.
            objects_M4: the objects.
        """
        points_N2 = torch.cat(points)
        background_N = torch.full((len(points_N2),), BACKGROUND, device=points_N2.device)
        if len(objects_M4) == 0 or len(points_N2) == 0:
            return background_N
        numbers = [stride.bit_length() - 1 for stride in strides]
        level_N = torch.cat(
            [torch.full((len(x),), n, device=x.device) for x, n in zip(points, numbers, strict=True)]
        )
        sides_M2 = (objects_M4[:, 2:] - objects_M4[:, :2]).clamp(min=LEAST_SIDE)
        level_M = torch.log2(sides_M2 / self.scale).mean(dim=1).trunc()
        level_M = level_M.clamp(int(level_N.min()), int(level_N.max())).long()
        centres_M2 = (objects_M4[:, :2] + objects_M4[:, 2:]) / 2
        distances_NM = ((points_N2[:, None] - centres_M2[None]) / sides_M2[None]).norm(dim=2)
        distances_NM = torch.where(level_N[:, None] == level_M[None], distances_NM, torch.inf)
        nearest = distances_NM.min(dim=0)
        claims_NM = torch.full_like(distances_NM, torch.inf)
        claims_NM.scatter_(0, nearest.indices[None], nearest.values[None])
        best_N, owner_N = claims_NM.min(dim=1)
        return torch.where(best_N < torch.inf, owner_N, background_N)
