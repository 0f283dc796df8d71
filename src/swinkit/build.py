"""From a specification to its model: one line a task."""

from collections.abc import Callable
from typing import Any

from torch import nn

from swinkit.classification import build_classifier
from swinkit.detection.build import build_detector
from swinkit.detection.config import DetectorConfig
from swinkit.ops.window_attention import Implementation
from swinkit.segmentation.config import SegmenterConfig
from swinkit.segmentation.segmenter import build_segmenter
from swinkit.spec import ClassifierConfig, ModelSpec

BUILDERS: dict[type, Callable[..., nn.Module]] = {
    ClassifierConfig: build_classifier,
    SegmenterConfig: build_segmenter,
    DetectorConfig: build_detector,
}
"""Configuration of a task -> builder (spec, attention_impl) -> model."""


def build_model(spec: ModelSpec, *, attention_impl: Implementation = "auto") -> Any:
    """Build the model that `spec` describes, with random weights; its attribute `spec` is this one."""
    return BUILDERS[type(spec.config)](spec, attention_impl=attention_impl)
