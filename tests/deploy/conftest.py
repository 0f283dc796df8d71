"""What the tests of deployment share: a small model, and a cache of their own."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from swinkit.backbones import SwinConfig, SwinTransformer, build_backbone
from swinkit.classification import Classifier


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWINKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _any_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried does not depend on the chip, which might choose bfloat16 where float32 is compared."""
    monkeypatch.setattr("swinkit.deploy.optimized.has_bfloat16", lambda: False)


TINY = SwinConfig(
    img_size=(32, 32),
    patch_size=2,
    embed_dim=8,
    depths=(2, 2),
    num_heads=(1, 2),
    window_size=4,
    out_indices=(0, 1),
)
"""A backbone with windows that shift and one merging."""


@pytest.fixture
def classifier() -> Classifier:
    """Five classes, weights far from zero."""
    model = Classifier(build_backbone(replace(TINY, out_indices=(1,))), 5)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32)


@pytest.fixture
def backbone() -> SwinTransformer:
    """Two maps."""
    return build_backbone(TINY).eval()
