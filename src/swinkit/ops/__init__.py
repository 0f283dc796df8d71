"""Mathematics without parameters: windows over token maps and attention inside them."""

from swinkit.ops.window_attention import Implementation, window_attention
from swinkit.ops.windows import Pair, WindowPolicy

__all__ = ["Implementation", "Pair", "WindowPolicy", "window_attention"]
