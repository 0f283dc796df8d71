"""Modules with parameters: the parts a backbone is made of."""

from swinkit.layers.attention import WindowAttention
from swinkit.layers.block import SwinBlock, SwinMixerBlock
from swinkit.layers.init import Init, initialise
from swinkit.layers.mlp import Mlp, SpatialMlp
from swinkit.layers.patch import PatchEmbed, PatchMerging

__all__ = [
    "Init",
    "Mlp",
    "PatchEmbed",
    "PatchMerging",
    "SpatialMlp",
    "SwinBlock",
    "SwinMixerBlock",
    "WindowAttention",
    "initialise",
]
