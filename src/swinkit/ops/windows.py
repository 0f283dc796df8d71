"""Windows over a token map: padding, cyclic shift, partition, merging, regions and relative positions.

Legend: B pictures, H W rows and columns of the map, C channels, M M' window rows and columns, N = M * M'
tokens a window, G = B * windows, T regions compared per window. All sizes are (rows, columns) in tokens.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from swinkit.errors import InputError

Pair = tuple[int, int]

MASKED = -100.0
"""Added to the score of two tokens of different regions: the published code's value, so results agree."""

WindowPolicy = Literal["clamp", "clamp_axis", "pad", "pad_axis"]
"""What to do on a map that is not larger than a window.

- "clamp": the official classification code. The window shrinks to the map's shorter side (decided when the
  model is built, from `img_size`), and nothing shifts while the shorter side is not larger than the window.
- "clamp_axis": timm. The same, each axis for itself.
- "pad": the published detection and segmentation code. The map is padded to the window and always shifts.
- "pad_axis": torchvision. Padded, and an axis that one window covers does not shift.
"""


def to_pair(value: int | Pair | list[int]) -> Pair:
    """Return (rows, columns) from one int for both or from a pair of ints."""
    if isinstance(value, int):
        return (value, value)
    pair = isinstance(value, tuple | list) and len(value) == 2
    if not pair or not all(isinstance(side, int) for side in value):
        raise InputError(f"expected an int or a (rows, columns) pair of ints; got {value!r}.")
    return (value[0], value[1])


def fit_window(map_size: Pair, window: Pair, policy: WindowPolicy) -> Pair:
    """Window that a stage with maps of `map_size` is built with."""
    if policy == "clamp" and min(map_size) <= min(window):
        return (min(map_size), min(map_size))
    if policy == "clamp_axis":
        return (min(map_size[0], window[0]), min(map_size[1], window[1]))
    return window


def fit_shift(map_size: Pair, window: Pair, policy: WindowPolicy, *, shifted: bool = True) -> Pair:
    """Shift of a block over a map of `map_size`: half a window, or 0 where the policy drops it.

    A block that is not `shifted` has none.
    """
    if not shifted:
        return (0, 0)
    half = (window[0] // 2, window[1] // 2)
    if policy == "pad":
        return half
    if policy == "clamp":
        return (0, 0) if min(map_size) <= min(window) else half
    return (
        0 if map_size[0] <= window[0] else half[0],
        0 if map_size[1] <= window[1] else half[1],
    )


def padded_size(map_size: Pair, window: Pair) -> Pair:
    """Smallest multiple of the window, per axis, that holds the map."""
    return (-(-map_size[0] // window[0]) * window[0], -(-map_size[1] // window[1]) * window[1])


def pad_map(x_BHWC: Tensor, size: Pair) -> Tensor:
    """Pad (B, H, W, C) with zeros at the bottom and the right to `size`."""
    rows, columns = size[0] - x_BHWC.shape[1], size[1] - x_BHWC.shape[2]
    return F.pad(x_BHWC, (0, 0, 0, columns, 0, rows)) if rows or columns else x_BHWC


def partition(x_BHWC: Tensor, window: Pair) -> Tensor:
    """Cut (B, H, W, C), H and W multiples of the window, into (B * windows, N, C), row by row."""
    B, H, W, C = x_BHWC.shape
    x = x_BHWC.view(B, H // window[0], window[0], W // window[1], window[1], C)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window[0] * window[1], C)


def merge(x_GNC: Tensor, window: Pair, map_size: Pair) -> Tensor:
    """Inverse of `partition`: (B * windows, N, C) back to (B, H, W, C) with (H, W) = map_size."""
    H, W = map_size
    rows, columns = H // window[0], W // window[1]
    x = x_GNC.view(-1, rows, columns, window[0], window[1], x_GNC.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, H, W, x_GNC.shape[-1])


def region_ids(map_size: Pair, window: Pair, shift: Pair, device: torch.device | None = None) -> Tensor:
    """Region of each token of the padded, shifted map, as (windows, N) integers (section 3.2, figure 4).

    After the cyclic shift the last window of an axis holds tokens from both ends of the map; tokens attend
    to each other only inside one region. `map_size` is the padded size.
    """

    def axis(length: int, side: int, offset: int) -> Tensor:
        at = torch.arange(length, device=device)
        return ((at >= length - side).int() + (at >= length - offset).int()) * int(offset > 0)

    rows = axis(map_size[0], window[0], shift[0])
    columns = axis(map_size[1], window[1], shift[1])
    return partition((rows[:, None] * 3 + columns)[None, ..., None], window)[..., 0]


def region_mask(map_size: Pair, window: Pair, shift: Pair, device: torch.device | None = None) -> Tensor:
    """Whether two tokens of a shifted window may attend to each other: (windows, N, N) of bool."""
    ids_TN = region_ids(map_size, window, shift, device)
    return ids_TN[:, :, None] == ids_TN[:, None, :]


def masked_pairs(window: Pair, shift: Pair, device: torch.device | None = None) -> Tensor:
    """Which tokens of a shifted window may not attend to each other: (4, N, N) of bool.

    For windows inside the map, in its last column of windows, in its last row, and in both; there are no
    other kinds, however large the map.
    """
    return ~region_mask((2 * window[0], 2 * window[1]), window, shift, device)


def relative_position_index(window: Pair, device: torch.device | None = None) -> Tensor:
    """Row of the bias table for each pair of tokens of a window: (N, N) of int64 (equation 4)."""
    rows = torch.arange(window[0], device=device)[:, None].expand(window).reshape(-1)
    columns = torch.arange(window[1], device=device).expand(window).reshape(-1)
    row_NN = rows[:, None] - rows[None, :] + window[0] - 1
    column_NN = columns[:, None] - columns[None, :] + window[1] - 1
    return row_NN * (2 * window[1] - 1) + column_NN


def expand_bias(table: Tensor, window: Pair) -> Tensor:
    """Bias of every pair of tokens, (heads, N, N), from the table ((2M-1) * (2M'-1), heads)."""
    index_NN = relative_position_index(window, table.device)
    return table[index_NN.flatten()].view(*index_NN.shape, -1).permute(2, 0, 1)


def collect_bias(bias_hNN: Tensor, window: Pair, like: Tensor) -> Tensor:
    """The table that numbers of all pairs of tokens (heads, N, N) add up to; undoes `expand_bias`.

    It has `like`'s shape and the numbers' dtype.
    """
    rows = relative_position_index(window, bias_hNN.device).flatten()
    return bias_hNN.new_zeros(like.shape).index_add_(0, rows, bias_hNN.permute(1, 2, 0).flatten(0, 1))
