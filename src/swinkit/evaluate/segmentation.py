"""Scores of a segmenter: mean IoU, mean accuracy, pixel accuracy, per class, and who is taken for whom.

All of them follow from one table of whole numbers, (true class, predicted class) -> pixels, so sums over
batches, processes and machines are exact.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from swinkit.errors import InputError
from swinkit.evaluate.masks import mask_of_picture
from swinkit.segmentation.config import IGNORE
from swinkit.segmentation.segmenter import Segmenter


def count_pixels(predicted_HW: Tensor, true_HW: Tensor, num_classes: int) -> Tensor:
    """Return (K, K) int64: pixels of each true class (row) by predicted class (column), ignored ones left
    out.

    Raises:
        InputError: a class that is none of the K.
    """
    kept = true_HW != IGNORE
    true, predicted = true_HW[kept].long(), predicted_HW[kept].long()
    highest = int(max(true.max(), predicted.max())) if len(true) else 0
    if highest >= num_classes:
        raise InputError(
            f"a mask has the class {highest}, but the model has {num_classes} (0 to {num_classes - 1}): "
            "this is not the data the model was trained for."
        )
    pairs = torch.bincount(true * num_classes + predicted, minlength=num_classes**2)
    return pairs.view(num_classes, num_classes)


class ConfusionCounts(Metric):
    """`count_pixels` summed over pictures and processes.

    Args:
        num_classes: K.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        zeros = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("counts", zeros, dist_reduce_fx="sum")

    def update(self, predicted_HW: Tensor, true_HW: Tensor) -> None:
        """Add one picture."""
        self.counts += count_pixels(predicted_HW, true_HW, self.num_classes)

    def compute(self) -> Tensor:
        """Return the counts (K, K)."""
        return self.counts


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Shares from 0 to 1; NaN where there is nothing to divide by.

    Attributes:
        miou: mean of `iou` over the classes that occur, in the masks or in the predictions.
        macc: mean of `acc` over the classes that occur in the masks.
        aacc: share of the labelled pixels that are right.
        iou: of each class, pixels in both over pixels in either.
        acc: of each class, share of its pixels that were found.
    """

    miou: float
    macc: float
    aacc: float
    iou: tuple[float, ...]
    acc: tuple[float, ...]


def scores_of(counts_KK: Tensor) -> Scores:
    """Score a table of counts."""
    counts = counts_KK.cpu().double()
    hits, true, predicted = counts.diag(), counts.sum(dim=1), counts.sum(dim=0)
    iou, acc = hits / (true + predicted - hits), hits / true  # 0 / 0 is NaN, which the means leave out
    return Scores(
        miou=float(iou.nanmean()),
        macc=float(acc.nanmean()),
        aacc=float(hits.sum() / counts.sum()),
        iou=tuple(iou.tolist()),
        acc=tuple(acc.tolist()),
    )


@dataclass(frozen=True, kw_only=True)
class SegmentationReport:
    """What `evaluate_segmenter` found.

    Attributes:
        count: pictures scored.
        scores: mean IoU and the like.
        classes: class names.
        confusion: (K, K) pixels, row = true class, column = predicted.
        seconds: time the evaluation took.
    """

    count: int
    scores: Scores
    classes: tuple[str, ...]
    confusion: Tensor
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; what has no value (NaN) is None."""
        pixels = self.confusion.sum(dim=1).tolist()
        rows = zip(self.classes, pixels, self.scores.iou, self.scores.acc, strict=True)
        return {
            "count": self.count,
            "miou": _number(self.scores.miou),
            "macc": _number(self.scores.macc),
            "aacc": _number(self.scores.aacc),
            "seconds": self.seconds,
            "per_class": [
                {"name": name, "pixels": count, "iou": _number(iou), "accuracy": _number(acc)}
                for name, count, iou, acc in rows
            ],
            "confusion": self.confusion.tolist(),
        }


@torch.inference_mode()
def evaluate_segmenter(
    model: Segmenter,
    dataset: Any,
    device: torch.device | str | None = None,
    *,
    on_picture: Callable[[], None] | None = None,
) -> SegmentationReport:
    """Score `model` on pictures with masks, each at its own size. The model is left in the mode it was in.

    Args:
        model: its `config.inference` says how pictures are read.
        dataset: items (PIL RGB, mask (H, W) uint8), such as a `MaskDataset`.
        device: where to compute; None: where the model is.
        on_picture: called after each picture, for a progress bar.

    Raises:
        InputError: there is nothing to score, or a mask has a class that the model does not.
    """
    device = torch.device(device) if device is not None else next(model.parameters()).device
    was_training = model.training
    model.to(device).eval()
    classes = model.config.num_classes
    counts = torch.zeros(classes, classes, dtype=torch.int64, device=device)
    started = time.perf_counter()
    if not len(dataset):
        raise InputError("there is nothing to evaluate: the data set is empty.")
    try:
        for index in range(len(dataset)):
            picture, mask = dataset[index]
            found = mask_of_picture(model, picture).to(device)
            counts += count_pixels(found, torch.from_numpy(mask).to(device), classes)
            if on_picture is not None:
                on_picture()
    finally:
        model.train(was_training)
    names = model.spec.class_names or tuple(str(index) for index in range(classes))
    return SegmentationReport(
        count=len(dataset),
        scores=scores_of(counts),
        classes=names,
        confusion=counts.cpu(),
        seconds=time.perf_counter() - started,
    )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
