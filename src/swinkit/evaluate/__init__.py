"""Scores and reports."""

from swinkit.evaluate.classification import ClassificationReport, ClassScore, Mistake, evaluate_classifier
from swinkit.evaluate.labels import RelabelledDataset, match_classes

__all__ = [
    "ClassScore",
    "ClassificationReport",
    "Mistake",
    "RelabelledDataset",
    "evaluate_classifier",
    "match_classes",
]
