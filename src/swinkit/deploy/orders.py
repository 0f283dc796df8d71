"""In which order the tokens of a map stand, and the gathers that lead from one order to another.

An order is a vector of slots: the raster number (row * W + column) of the token in each slot, -1 for a slot
that only fills up a window. Norms, linear layers and MLPs do not care about the order of tokens, so the
stream of a folded model stays in the order of its block's windows.

Legend: H W rows and columns of a map, M M' window, N = M * M' tokens a window, T windows a map, L slots.
"""

import torch
from torch import Tensor, nn

from swinkit.ops.windows import Pair, padded_size, partition, region_mask

EMPTY = -1
"""A slot without a token."""


def raster_order(map_size: Pair) -> Tensor:
    """Tokens row by row: (H * W,)."""
    return torch.arange(map_size[0] * map_size[1])


def window_order(map_size: Pair, window: Pair, shift: Pair) -> Tensor:
    """Tokens window by window, as `window_attention` pads, rolls and cuts: (T * N,)."""
    grid = _padded(map_size, padded_size(map_size, window), (0, 0))
    rolled = torch.roll(grid, (-shift[0], -shift[1]), dims=(0, 1))
    return partition(rolled[None, :, :, None], window).flatten()


def mixer_order(map_size: Pair, window: Pair, shift: Pair) -> Tensor:
    """Tokens window by window, as `SpatialMlp` pads, at the top and the left, for a shift: (T * N,)."""
    top, left = ((side - offset) if offset else 0 for side, offset in zip(window, shift, strict=True))
    size = padded_size((map_size[0] + top, map_size[1] + left), window)
    return partition(_padded(map_size, size, (top, left))[None, :, :, None], window).flatten()


def merging_order(map_size: Pair, target: Tensor) -> Tensor:
    """The four neighbours of each merged token of order `target`, one after the other: (4 * L,).

    Neighbours come in the order of `PatchMerging`; an odd side is padded.
    """
    rows, columns = -(-map_size[0] // 2), -(-map_size[1] // 2)
    grid = _padded(map_size, (2 * rows, 2 * columns), (0, 0))
    four = torch.stack([grid[0::2, 0::2], grid[1::2, 0::2], grid[0::2, 1::2], grid[1::2, 1::2]], dim=-1)
    return four.view(-1, 4)[target].flatten()


def window_masks(map_size: Pair, window: Pair, shift: Pair) -> Tensor:
    """Whether two tokens of a window may not see each other: (T, N, N) of bool."""
    size = padded_size(map_size, window)
    if any(shift):
        return ~region_mask(size, window, shift)
    windows = (size[0] // window[0]) * (size[1] // window[1])
    return torch.zeros(windows, 1, 1, dtype=torch.bool).expand(-1, window[0] * window[1], -1)


class Gather(nn.Module):
    """Rows of a stream (B, L, C) in another order, zeros in its empty slots.

    Args:
        source: order of the stream that comes in.
        target: order of the stream that goes out.
    """

    keep: Tensor | None

    def __init__(self, source: Tensor, target: Tensor) -> None:
        super().__init__()
        self.length = len(source)
        place = torch.zeros(int(source.max()) + 1, dtype=torch.int64)
        slots = torch.nonzero(source != EMPTY).flatten()
        place[source[slots]] = slots
        filled = target != EMPTY
        self.register_buffer("index", place[target.clamp(min=0)], persistent=False)
        keep = None if bool(filled.all()) else filled[:, None].float()
        self.register_buffer("keep", keep, persistent=False)

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Map (B, L, C) to (B, L', C)."""
        x_BLC = x_BLC.index_select(1, self.get_buffer("index"))
        return x_BLC if self.keep is None else x_BLC * self.keep


def gather(source: Tensor, target: Tensor) -> nn.Module:
    """A `Gather`, or nothing to do where the orders are the same."""
    return nn.Identity() if torch.equal(source, target) else Gather(source, target)


def _padded(map_size: Pair, size: Pair, corner: Pair) -> Tensor:
    grid = torch.full(size, EMPTY)
    grid[corner[0] : corner[0] + map_size[0], corner[1] : corner[1] + map_size[1]] = raster_order(
        map_size
    ).view(map_size)
    return grid
