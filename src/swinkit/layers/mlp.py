"""MLPs: over channels (every block) and over the tokens of a window (Swin-Mixer)."""

from torch import Tensor, nn

from swinkit.ops.windows import Pair, merge, padded_size, partition


class Mlp(nn.Module):
    """Linear, GELU (erf), linear over the last dimension; `hidden` channels between (section 3.1)."""

    def __init__(self, dim: int, hidden: int, *, drop: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class SpatialMlp(nn.Conv1d):
    """Token mixing of Swin-Mixer (Table 10): per head, one linear map over the N tokens of a window.

    It is the published grouped 1-d convolution: weight (heads * N, N, 1), bias (heads * N). A shift pads
    the map with zeros at the top and the left by (window - shift), instead of rolling and masking.
    """

    def __init__(self, num_heads: int, window: Pair) -> None:
        tokens = num_heads * window[0] * window[1]
        super().__init__(tokens, tokens, kernel_size=1, groups=num_heads)
        self.num_heads = num_heads
        self.window = window

    def forward(self, x_BHWC: Tensor, shift: Pair = (0, 0)) -> Tensor:  # type: ignore[override]
        """Map (B, H, W, C) to (B, H, W, C), mixing the tokens of each window."""
        _, H, W, C = x_BHWC.shape
        top, left = (
            (side - offset) if offset else 0 for side, offset in zip(self.window, shift, strict=True)
        )
        size = padded_size((H + top, W + left), self.window)
        x_BPQC = nn.functional.pad(x_BHWC, (0, 0, left, size[1] - W - left, top, size[0] - H - top))
        x_GNC = partition(x_BPQC, self.window)
        x_GhNd = x_GNC.unflatten(-1, (self.num_heads, C // self.num_heads)).transpose(1, 2)
        x_GhNd = super().forward(x_GhNd.flatten(1, 2)).view(x_GhNd.shape)
        x_BPQC = merge(x_GhNd.transpose(1, 2).flatten(2), self.window, size)
        return x_BPQC[:, top : top + H, left : left + W]
