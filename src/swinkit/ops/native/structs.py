"""What the kernels' entries take, field by field as attention.h and block.cpp declare it.

A pointer is a tensor's `data_ptr()`: whoever fills it in holds the tensor until the call returns.
"""

import ctypes

FLOAT, BFLOAT16 = 0, 1
"""Types of maps, as vectors.h numbers them."""

_INT, _POINTER = ctypes.c_int64, ctypes.c_void_p


class Shape(ctypes.Structure):
    """B maps (H, W, heads * d), windows (M, M2) and shift (s, s2) in tokens, and how to compute them."""

    _fields_ = [
        *((name, _INT) for name in ("B", "H", "W", "heads", "d")),
        *((name, _INT) for name in ("M", "M2", "s", "s2", "type", "threads")),
    ]


class Weights(ctypes.Structure):
    """A linear layer: its weight packed for tiles, and its bias in float32."""

    _fields_ = [("weight", _POINTER), ("bias", _POINTER)]


class Block(ctypes.Structure):
    """A Swin block."""

    _fields_ = [
        ("shape", Shape),
        *((name, _INT) for name in ("hidden", "pictures", "rows")),
        *((name, Weights) for name in ("qkv", "proj", "fc1", "fc2")),
        *((name, _POINTER) for name in ("bias", "masks", "pad", "x", "wide", "narrow")),
    ]


class Merging(ctypes.Structure):
    """Patch merging."""

    _fields_ = [
        *((name, _INT) for name in ("B", "H", "W", "C", "threads")),
        ("reduction", Weights),
        *((name, _POINTER) for name in ("x", "four", "out")),
    ]


class Embedding(ctypes.Structure):
    """Patch embedding."""

    _fields_ = [
        *((name, _INT) for name in ("B", "in_chans", "H", "W", "down", "across", "C", "threads")),
        ("proj", Weights),
        *((name, _POINTER) for name in ("scale", "shift", "images", "patches", "out")),
    ]
