"""Image classification: a backbone, average pooling, a linear layer."""

from swinkit.classification.classifier import Classifier, build_classifier

__all__ = ["Classifier", "build_classifier"]
