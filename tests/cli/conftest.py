"""What the tests of the commands share: a small model on disk."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from swinkit.backbones import SwinConfig
from swinkit.classification import build_classifier
from swinkit.spec import ClassifierConfig, ModelSpec, Preprocess
from swinkit.weights import save


@pytest.fixture
def save_tiny() -> Callable[..., Path]:
    """`save_tiny(path, class names, num_classes=None)` writes a classifier and returns its path."""
    return _save_tiny


def _save_tiny(path: Path, names: tuple[str, ...], num_classes: int | None = None) -> Path:
    """Write a classifier of 32x32 pictures with fixed random weights; return `path`."""
    backbone = SwinConfig(
        img_size=(32, 32), embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4, out_indices=(1,)
    )
    config = ClassifierConfig(
        backbone=backbone, num_classes=len(names) if num_classes is None else num_classes
    )
    torch.manual_seed(0)
    model = build_classifier(
        ModelSpec(config=config, class_names=names, preprocess=Preprocess(size=(32, 32)))
    )
    torch.nn.init.normal_(model.get_parameter("head.weight"))
    save(model, path)
    return path
