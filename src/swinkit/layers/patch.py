"""From pixels to tokens, and from one resolution of tokens to the next (section 3.1)."""

import torch
from torch import Tensor, nn

from swinkit.layers.bands import rows_of_a_band
from swinkit.ops.windows import Pair, pad_map, padded_size


class PatchEmbed(nn.Module):
    """Patch partition and linear embedding: a strided convolution, then an optional LayerNorm.

    Args:
        in_chans: channels of the picture.
        dim: channels C of the tokens.
        patch_size: (rows, columns) of a patch, in pixels.
        norm: LayerNorm after the embedding.
    """

    def __init__(self, in_chans: int, dim: int, patch_size: Pair, *, norm: bool = True) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_chans, dim, kernel_size=patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Map pictures (B, in_chans, H, W) to tokens (B, rows, columns, C).

        A side that is not a multiple of the patch is padded with zeros at the bottom or the right.
        """
        height, width = images_BCHW.shape[2:]
        size = padded_size((height, width), self.patch_size)
        if size != (height, width):
            images_BCHW = nn.functional.pad(images_BCHW, (0, size[1] - width, 0, size[0] - height))
        return self.norm(self.proj(images_BCHW).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Halve the map and double the channels (section 3.1).

    2 x 2 neighbours are concatenated; LayerNorm and a linear layer without bias follow.

    Neighbours are concatenated in the official order of (row, column) offsets: (0,0), (1,0), (0,1), (1,1).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, ceil(H / 2), ceil(W / 2), 2 C); an odd side is padded with zeros."""
        rows = rows_of_a_band(self, x_BHWC, x_BHWC.shape[-1])
        if rows is None:
            return self._merge(x_BHWC)
        return torch.cat([self._merge(part) for part in x_BHWC.split(rows + rows % 2, dim=1)], dim=1)

    def _merge(self, x_BHWC: Tensor) -> Tensor:
        x = pad_map(x_BHWC, padded_size((x_BHWC.shape[1], x_BHWC.shape[2]), (2, 2)))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], dim=-1)
        return self.reduction(self.norm(x))
