"""The inference forms of a model, the engines that run them, and export to other programs."""

from swinkit.deploy.engines import ENGINES
from swinkit.deploy.export import Exported, export
from swinkit.deploy.float8 import to_float8
from swinkit.deploy.float8_linear import Float8Linear
from swinkit.deploy.fold import fold
from swinkit.deploy.folded import FoldedModel
from swinkit.deploy.fused import FusedModel, fuse
from swinkit.deploy.optimized import Optimized, optimize
from swinkit.deploy.report import Candidate, Report

__all__ = [
    "ENGINES",
    "Candidate",
    "Exported",
    "Float8Linear",
    "FoldedModel",
    "FusedModel",
    "Optimized",
    "Report",
    "export",
    "fold",
    "fuse",
    "optimize",
    "to_float8",
]
