"""One block of equation (3): token mixing in windows, then an MLP, each with norm and residual."""

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from swinkit.layers.attention import WindowAttention
from swinkit.layers.bands import in_bands, rows_of_a_band
from swinkit.layers.mlp import Mlp, SpatialMlp
from swinkit.ops.windows import Pair, WindowPolicy, fit_shift


class SwinBlock(nn.Module):
    """A Swin Transformer block.

    Args:
        dim: channels C of the map.
        attn: W-MSA; its window is the block's.
        shifted: whether this block shifts its windows (SW-MSA).
        window_policy: when a shifted block does not shift, see `swinkit.ops.windows.WindowPolicy`.
        mlp_ratio: hidden over input channels of the MLP.
        drop: dropout in the MLP.
        drop_path: probability of dropping each residual branch, per picture.
    """

    def __init__(
        self,
        dim: int,
        attn: WindowAttention,
        *,
        shifted: bool,
        window_policy: WindowPolicy,
        mlp_ratio: float = 4.0,
        drop: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.shifted = shifted
        self.window_policy: WindowPolicy = window_policy
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dim)
        self.hidden = int(dim * mlp_ratio)
        self.mlp = Mlp(dim, self.hidden, drop=drop)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        shift = self.shift_for((x_BHWC.shape[1], x_BHWC.shape[2]))
        if rows_of_a_band(self, x_BHWC, self.hidden) is not None:
            return in_bands(self._compute, x_BHWC, self.hidden, window=self.attn.window, shift=shift)
        return self._compute(x_BHWC, shift)

    def _compute(self, x_BHWC: Tensor, shift: Pair) -> Tensor:
        x_BHWC = x_BHWC + self.drop_path(self.attn(self.norm1(x_BHWC), shift))
        return x_BHWC + self.drop_path(self.mlp(self.norm2(x_BHWC)))

    def shift_for(self, map_size: Pair) -> Pair:
        """Shift (rows, columns) of this block over a map of `map_size`."""
        return fit_shift(map_size, self.attn.window, self.window_policy, shifted=self.shifted)


class SwinMixerBlock(nn.Module):
    """A Swin-Mixer block (Table 10): as `SwinBlock`, with `SpatialMlp` for attention."""

    def __init__(
        self,
        dim: int,
        spatial_mlp: SpatialMlp,
        *,
        shifted: bool,
        window_policy: WindowPolicy,
        mlp_ratio: float = 4.0,
        drop: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.shifted = shifted
        self.window_policy: WindowPolicy = window_policy
        self.norm1 = nn.LayerNorm(dim)
        self.spatial_mlp = spatial_mlp
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), drop=drop)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        map_size = (x_BHWC.shape[1], x_BHWC.shape[2])
        window = self.spatial_mlp.window
        shift = fit_shift(map_size, window, self.window_policy, shifted=self.shifted)
        x_BHWC = x_BHWC + self.drop_path(self.spatial_mlp(self.norm1(x_BHWC), shift))
        return x_BHWC + self.drop_path(self.mlp(self.norm2(x_BHWC)))
