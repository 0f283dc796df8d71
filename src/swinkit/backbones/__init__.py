"""Backbones: pictures in, a pyramid of feature maps out."""

from swinkit.backbones.build import build_backbone
from swinkit.backbones.config import BackboneConfig, SwinConfig, SwinMixerConfig
from swinkit.backbones.pyramid import Pyramid
from swinkit.backbones.swin import SwinTransformer
from swinkit.backbones.swin_mixer import SwinMixer
from swinkit.backbones.variants import VARIANTS

__all__ = [
    "VARIANTS",
    "BackboneConfig",
    "Pyramid",
    "SwinConfig",
    "SwinMixer",
    "SwinMixerConfig",
    "SwinTransformer",
    "build_backbone",
]
