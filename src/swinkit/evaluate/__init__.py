"""Scores and reports."""

from swinkit.evaluate.classification import ClassificationReport, ClassScore, Mistake, evaluate_classifier

__all__ = ["ClassScore", "ClassificationReport", "Mistake", "evaluate_classifier"]
