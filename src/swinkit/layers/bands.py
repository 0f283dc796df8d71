"""A block a few rows of windows at a time, for inference on a CPU.

Nothing in a block reaches beyond a window. Done for the whole map, its hidden layer is four maps and q, k and
v are three; done for a band of windows they are a few megabytes, which come from memory that the process
already has, so that a block holds two maps and little more.

Legend: B pictures, H W rows and columns of the map, C channels; b, r pictures and rows of a band.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules import module as every_module

from swinkit.ops.transformed import is_transformed
from swinkit.ops.windows import Pair, padded_size

BAND_BYTES = 8 << 20
"""Size of a band's hidden layer, at most, unless one row of windows is more."""


@dataclass(frozen=True)
class Band:
    """Rows of windows that are computed together.

    Attributes:
        rows: what they are of the map, as one or two slices; put one below the other they are a map in which
            windows shifted by `shift` are those of the whole map.
        shift: (rows, columns).
    """

    rows: tuple[slice, ...]
    shift: Pair


def rows_of_a_band(module: nn.Module, x_BHWC: Tensor, hidden: int) -> int | None:
    """How many rows of the map, of all pictures, to compute at a time; None for the whole map at once.

    The whole map, if it is small, not on a CPU, or gradients are wanted, or a part trains. Whoever traces or
    transforms (torch.compile, torch.export, torch.jit.trace, torch.func) sees the whole map, and so does a
    hook on a part of the module, or on all modules.

    Args:
        module: what is computed.
        x_BHWC: its input.
        hidden: numbers a token has in it at its widest.
    """
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return None
    if x_BHWC.device.type != "cpu" or torch.is_grad_enabled() or is_transformed():
        return None
    row = x_BHWC.shape[0] * x_BHWC.shape[2] * hidden * x_BHWC.element_size()
    if x_BHWC.shape[1] * row <= BAND_BYTES:
        return None
    if any(part.training or (part is not module and has_hooks(part)) for part in module.modules()):
        return None
    return max(1, BAND_BYTES // row)


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody looks on when this module itself is called, or any module is."""
    own = module._forward_hooks or module._forward_pre_hooks
    return bool(own or every_module._global_forward_hooks or every_module._global_forward_pre_hooks)


def in_bands(
    compute: Callable[[Tensor, Pair], Tensor], x_BHWC: Tensor, hidden: int, *, window: Pair, shift: Pair
) -> Tensor:
    """Compute a block in bands, one picture after the other, or some at a time where they are small.

    Args:
        compute: the block: a map (b, r, W, C) and its shift -> (b, r, W, C).
        x_BHWC: (B, H, W, C).
        hidden: numbers a token has in the block at its widest.
        window: rows and columns of a window.
        shift: of the block.
    """
    B, H, W, _ = x_BHWC.shape
    out_BHWC = torch.empty_like(x_BHWC)
    tokens = BAND_BYTES // (hidden * x_BHWC.element_size())
    pictures = max(1, tokens // (H * W))
    bands = list(cut((H, W), window, shift, rows=max(1, tokens // (window[0] * W))))
    for first in range(0, B, pictures):
        x_bHWC, out_bHWC = x_BHWC[first : first + pictures], out_BHWC[first : first + pictures]
        for band in bands:
            parts = [x_bHWC[:, rows] for rows in band.rows]
            y_brWC = compute(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1), band.shift)
            for rows, part in zip(band.rows, y_brWC.split([part.shape[1] for part in parts], 1), strict=True):
                out_bHWC[:, rows] = part
    return out_BHWC


def cut(map_size: Pair, window: Pair, shift: Pair, *, rows: int) -> Iterator[Band]:
    """Cut a map into bands of at most `rows` rows of windows.

    Rolled up by shift[0], a map's last row of windows holds its last and its first rows, which do not see
    each other. As a map of its own, first rows above last, it is rolled and masked in the same way; the rows
    of windows above it are neither. Padding stays below the last row of the map.
    """
    H, M = map_size[0], window[0]
    count = padded_size(map_size, window)[0] // M
    if rows >= count:
        yield Band((slice(0, H),), shift)
        return
    start, whole = shift[0], count - 1 if shift[0] else count
    for row in range(0, whole, rows):
        stop = start + min(row + rows, whole) * M
        yield Band((slice(start + row * M, min(H, stop)),), (0, shift[1]))
    if start:
        last = min(H, start + whole * M)
        yield Band((slice(0, start), slice(last, H)) if last < H else (slice(0, start),), shift)
