"""Backbones: pictures in, a pyramid of feature maps out."""

from swinkit.backbones.build import Trunk, build_backbone, build_trunk, fix_parts
from swinkit.backbones.config import (
    BackboneConfig,
    DeitPyramidConfig,
    SwinConfig,
    SwinMixerConfig,
    TimmConfig,
    TrunkConfig,
)
from swinkit.backbones.deit_pyramid import DeitPyramid
from swinkit.backbones.pyramid import Pyramid
from swinkit.backbones.swin import SwinTransformer
from swinkit.backbones.swin_mixer import SwinMixer
from swinkit.backbones.timm_adapter import TimmBackbone
from swinkit.backbones.variants import VARIANTS

__all__ = [
    "VARIANTS",
    "BackboneConfig",
    "DeitPyramid",
    "DeitPyramidConfig",
    "Pyramid",
    "SwinConfig",
    "SwinMixer",
    "SwinMixerConfig",
    "SwinTransformer",
    "TimmBackbone",
    "TimmConfig",
    "Trunk",
    "TrunkConfig",
    "build_backbone",
    "build_trunk",
    "fix_parts",
]
