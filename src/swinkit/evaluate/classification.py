"""Scores of a classifier: top-1 and top-5, loss, per class, who is taken for whom, and the worst mistakes."""

import heapq
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassStatScores

from swinkit.errors import InputError

CONFUSION_LIMIT = 2000
"""Most classes for which the (K, K) table is kept: at 21,841 classes it would take 4 GB."""


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One row of the per-class table; shares are from 0 to 1, NaN where there is nothing to divide by.

    Attributes:
        name: of the class.
        count: pictures of the class.
        recall: share of the class's pictures that were recognised (the class's accuracy).
        precision: share of the pictures called this class that are.
    """

    name: str
    count: int
    recall: float
    precision: float


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One wrong prediction.

    Attributes:
        index: position in the loader's data set.
        path: its file, when the data set has files.
        true: name of the right class.
        predicted: name of the class said.
        confidence: probability given to `predicted`.
    """

    index: int
    path: Path | None
    true: str
    predicted: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class ClassificationReport:
    """What `evaluate_classifier` found.

    Attributes:
        count: pictures scored.
        top1: share whose most probable class is right, 0 to 1.
        top5: share whose right class is among the `top_k` most probable.
        top_k: 5, or the number of classes if smaller.
        loss: mean cross-entropy.
        classes: class names.
        per_class: one row a class.
        confusion: (K, K) counts, row = true class, column = predicted; None above `CONFUSION_LIMIT` classes.
        worst: the wrong predictions with the highest confidence, worst first.
        seconds: time the evaluation took.
    """

    count: int
    top1: float
    top5: float
    top_k: int
    loss: float
    classes: tuple[str, ...]
    per_class: tuple[ClassScore, ...]
    confusion: Tensor | None
    worst: tuple[Mistake, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; what has no value (NaN) is None."""
        return {
            "count": self.count,
            "top1": self.top1,
            f"top{self.top_k}": self.top5,
            "loss": _number(self.loss),
            "seconds": self.seconds,
            "pictures_per_second": self.count / max(self.seconds, 1e-9),
            "classes": list(self.classes),
            "per_class": [
                {
                    "name": row.name,
                    "count": row.count,
                    "accuracy": _number(row.recall),
                    "recall": _number(row.recall),
                    "precision": _number(row.precision),
                }
                for row in self.per_class
            ],
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "worst": [
                {
                    "index": case.index,
                    "path": None if case.path is None else str(case.path),
                    "true": case.true,
                    "predicted": case.predicted,
                    "confidence": case.confidence,
                }
                for case in self.worst
            ],
        }


@torch.inference_mode()
def evaluate_classifier(
    model: nn.Module,
    loader: Iterable[Any],
    device: torch.device | str | None = None,
    *,
    class_names: Sequence[str] | None = None,
    worst: int = 16,
    on_batch: Callable[[int], None] | None = None,
) -> ClassificationReport:
    """Score `model` on every batch of `loader`. The model is left in the mode (train or eval) it was in.

    Args:
        model: images (B, C, H, W) -> logits (B, K).
        loader: (images, labels (B,)) batches in the order of its data set (not shuffled).
        device: where to compute; the model is moved there. None: where the model is.
        class_names: K names; None: those of the loader's data set, or of the model, or the numbers.
        worst: how many mistakes to keep.
        on_batch: called with the number of pictures after each batch, for a progress bar.

    Raises:
        InputError: the loader is empty, a label is not among the model's classes, or an optimised model was
            asked to go elsewhere.
    """
    own = getattr(model, "device", None)  # what `optimize` gives has no parameters
    if device is None:
        device = own if isinstance(own, torch.device) else next(model.parameters()).device
    device = torch.device(device)
    was_training = model.training
    model.to(device).eval()
    started = time.perf_counter()
    tally: _Tally | None = None
    try:
        for images, targets in loader:
            logits_BK = model(images.to(device, non_blocking=True)).float()
            tally = tally or _Tally(logits_BK.shape[1], device, worst)
            tally.add(logits_BK, targets.to(device))
            if on_batch is not None:
                on_batch(len(targets))
    finally:
        model.train(was_training)
    if tally is None:
        raise InputError("there is nothing to evaluate: the data set is empty.")
    names = _names(model, loader, class_names, tally.num_classes)
    paths = getattr(getattr(loader, "dataset", None), "paths", None)
    return tally.report(names, paths, time.perf_counter() - started)


class _Tally:
    """Running sums over batches."""

    def __init__(self, num_classes: int, device: torch.device, worst: int) -> None:
        self.num_classes = num_classes
        self.top_k = min(5, num_classes)
        self.keep = worst
        self.count = self.hits1 = self.hits5 = 0
        self.loss = 0.0
        self.scores = MulticlassStatScores(num_classes, average=None).to(device)
        self.confusion = (
            MulticlassConfusionMatrix(num_classes).to(device) if 1 < num_classes <= CONFUSION_LIMIT else None
        )
        self.mistakes: list[tuple[float, int, int, int]] = []  # a heap, the least confident first

    def add(self, logits_BK: Tensor, targets_B: Tensor) -> None:
        if int(targets_B.min()) < 0 or int(targets_B.max()) >= self.num_classes:
            raise InputError(
                f"the data has a label {int(targets_B.max())} but the model has {self.num_classes} classes: "
                "this is not the data the model was trained for."
            )
        top = logits_BK.topk(self.top_k, dim=1).indices
        hits = top == targets_B[:, None]
        self.hits1 += int(hits[:, 0].sum())
        self.hits5 += int(hits.any(dim=1).sum())
        self.loss += float(F.cross_entropy(logits_BK, targets_B, reduction="sum"))
        predicted_B = top[:, 0]
        self.scores.update(predicted_B, targets_B)
        if self.confusion is not None:
            self.confusion.update(predicted_B, targets_B)
        self._add_mistakes(logits_BK.softmax(dim=1), predicted_B, targets_B)
        self.count += len(targets_B)

    def _add_mistakes(self, probabilities_BK: Tensor, predicted_B: Tensor, targets_B: Tensor) -> None:
        for row in (predicted_B != targets_B).nonzero().flatten().tolist():
            true, said = int(targets_B[row]), int(predicted_B[row])
            case = (float(probabilities_BK[row, said]), -(self.count + row), true, said)
            if len(self.mistakes) < self.keep:
                heapq.heappush(self.mistakes, case)
            elif self.keep:
                heapq.heappushpop(self.mistakes, case)

    def report(
        self, names: Sequence[str], paths: Sequence[Path] | None, seconds: float
    ) -> ClassificationReport:
        true_positive, false_positive, _, _, support = self.scores.compute().T.tolist()
        per_class = tuple(
            ClassScore(name=name, count=count, recall=_share(hit, count), precision=_share(hit, hit + wrong))
            for name, hit, wrong, count in zip(names, true_positive, false_positive, support, strict=True)
        )
        worst = tuple(
            Mistake(
                index=-negative,
                path=Path(paths[-negative]) if paths is not None else None,
                true=names[true],
                predicted=names[said],
                confidence=confidence,
            )
            for confidence, negative, true, said in sorted(self.mistakes, reverse=True)
        )
        return ClassificationReport(
            count=self.count,
            top1=self.hits1 / self.count,
            top5=self.hits5 / self.count,
            top_k=self.top_k,
            loss=self.loss / self.count,
            classes=tuple(names),
            per_class=per_class,
            confusion=None if self.confusion is None else self.confusion.compute().cpu(),
            worst=worst,
            seconds=seconds,
        )


def _names(model: nn.Module, loader: object, given: Sequence[str] | None, count: int) -> tuple[str, ...]:
    own = getattr(getattr(model, "spec", None), "class_names", ())
    data = getattr(getattr(loader, "dataset", None), "classes", ())
    for names in (given or (), own, data):
        if len(names) == count:
            return tuple(names)
    return tuple(str(index) for index in range(count))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
