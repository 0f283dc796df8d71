"""Making weights fit another window, picture size or number of input channels (section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from swinkit.ops.windows import Pair


def resize_bias_table(table: Tensor, old: Pair, new: Pair) -> Tensor:
    """Resize a relative position bias table ((2M-1)(2M'-1), heads) from window `old` to `new`, bicubically.

    The table is a picture of offsets, one per head; as the published fine-tuning code resizes it.
    """
    picture = table.float().T.unflatten(1, (2 * old[0] - 1, 2 * old[1] - 1))[None]
    size = (2 * new[0] - 1, 2 * new[1] - 1)
    resized = F.interpolate(picture, size=size, mode="bicubic", align_corners=False)
    return resized[0].flatten(1).T.to(table.dtype).contiguous()


def resize_positions(grid: Tensor, size: Pair) -> Tensor:
    """Interpolate an absolute position embedding (1, rows, columns, C) to (1, *size, C), bicubically."""
    picture = grid.float().permute(0, 3, 1, 2)
    resized = F.interpolate(picture, size=size, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).to(grid.dtype).contiguous()


def adapt_input_channels(weight: Tensor, channels: int) -> Tensor:
    """Change the input channels of the patch embedding (C, in_chans, rows, columns).

    Grey pictures give the same maps before and after.

    Fewer channels each get an equal share of the sum of all; more channels repeat the old ones in turn, each
    divided by how often it occurs. Either way a picture with equal channels gives the same tokens as before.
    """
    old = weight.shape[1]
    if channels < old:
        return (weight.sum(1, keepdim=True) / channels).expand(-1, channels, -1, -1).contiguous()
    source = torch.arange(channels) % old
    times = torch.bincount(source, minlength=old)
    return weight[:, source] / times[source].to(weight).view(1, -1, 1, 1)
