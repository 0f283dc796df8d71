"""Pieces of a block in one kernel each, for inference on a GPU; see README.md."""

from swinkit.ops.fused.api import Implementation, linear_add, merge_norm_linear, mlp, norm_linear
from swinkit.ops.fused.triton import can_run

__all__ = ["Implementation", "can_run", "linear_add", "merge_norm_linear", "mlp", "norm_linear"]
