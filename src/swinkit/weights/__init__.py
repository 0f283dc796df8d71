"""Weights: reading and writing files, published formats, the catalog, downloads."""

from swinkit.weights.adapters import from_swinkit, to_swinkit
from swinkit.weights.catalog import CATALOG, Entry
from swinkit.weights.download import fetch
from swinkit.weights.formats import FORMATS
from swinkit.weights.infer import describe, infer_spec
from swinkit.weights.io import read_state_dict, save
from swinkit.weights.load import LoadReport, load_weights
from swinkit.weights.models import Checkpoint, convert, load, read_checkpoint
from swinkit.weights.naming import detect_format

__all__ = [
    "CATALOG",
    "FORMATS",
    "Checkpoint",
    "Entry",
    "LoadReport",
    "convert",
    "describe",
    "detect_format",
    "fetch",
    "from_swinkit",
    "infer_spec",
    "load",
    "load_weights",
    "read_checkpoint",
    "read_state_dict",
    "save",
    "to_swinkit",
]
