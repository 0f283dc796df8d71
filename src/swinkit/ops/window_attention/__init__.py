"""Window attention as one operator; see README.md in this folder for its definition."""

from swinkit.ops.window_attention.api import IMPLEMENTATIONS, Implementation, can_run, window_attention

__all__ = ["IMPLEMENTATIONS", "Implementation", "can_run", "window_attention"]
