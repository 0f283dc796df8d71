"""From pictures of any size to the objects in them: boxes, names, scores and masks."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from swinkit.data.objects import draw_segment
from swinkit.detection.config import SelectConfig, ViewConfig
from swinkit.detection.detector import Detector
from swinkit.detection.views import View
from swinkit.errors import InputError
from swinkit.evaluate.detection import mask_codes
from swinkit.evaluate.picture_detector import PictureDetector
from swinkit.predictor import (
    DrawnResult,
    OnBad,
    PicturePredictor,
    Source,
    flatten_sources,
    log_bad,
    read_source,
)


@dataclass(frozen=True, eq=False)
class DetectionResult(DrawnResult):
    """What a detector finds in one picture, best first.

    Attributes:
        path: the file, or None for a picture from memory.
        size: (height, width) in pixels.
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels.
        scores: (N,) float32, from 0 to 1.
        labels: (N,) int64, class numbers.
        names: of the classes.
        codes: each mask as COCO's run-length code; None without masks.
        picture: a picture from memory; None for a file, which is read again when it is drawn.
    """

    path: Path | None
    size: tuple[int, int]
    boxes: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    codes: tuple[dict[str, Any], ...] | None = field(default=None, repr=False)
    picture: Image.Image | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def masks(self) -> np.ndarray | None:
        """Masks (N, H, W), bool; None without a mask branch."""
        if self.codes is None:
            return None
        if not self.codes:
            return np.zeros((0, *self.size), dtype=bool)
        return np.stack([draw_segment(code, self.size).astype(bool) for code in self.codes])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        found = []
        for at, (box, score, label) in enumerate(
            zip(self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True)
        ):
            item = {"class": label, "name": self.names[label], "score": score, "box": box}
            found.append(item if self.codes is None else {**item, "mask": self.codes[at]})
        return {
            "path": None if self.path is None else str(self.path),
            "height": self.size[0],
            "width": self.size[1],
            "objects": found,
        }

    def to_supervision(self) -> Any:
        """Return supervision's Detections.

        Raises:
            InputError: the package supervision is not installed.
        """
        try:
            import supervision  # type: ignore[import-not-found]  # noqa: PLC0415 (optional)
        except ImportError as error:
            raise InputError("this needs the package supervision: pip install supervision.") from error
        return supervision.Detections(
            xyxy=self.boxes, mask=self.masks, confidence=self.scores, class_id=self.labels
        )

    def draw(self) -> Image.Image:
        """The picture with boxes, masks, names and scores; a crowded one with a legend below instead."""
        # matplotlib's colours, so only when something is drawn
        from swinkit.viz.detections import draw_objects  # noqa: PLC0415

        picture = self.picture if self.picture is not None else read_source(self.path or "")[1]
        texts = [
            f"{self.names[label]} {score:.2f}" for label, score in zip(self.labels, self.scores, strict=True)
        ]
        return draw_objects(
            picture, self.boxes, self.labels.tolist(), texts, segments=self.codes, names=self.names
        )


class ObjectPredictor(PicturePredictor):
    """Applies a detector to pictures: reads and prepares ahead, and detects."""

    def __init__(
        self,
        model: nn.Module,
        *,
        device: str | torch.device | None = None,
        batch_size: int = 4,
        top_k: int = 5,
        select: SelectConfig | None = None,
        view: ViewConfig | None = None,
    ) -> None:
        """Args:
        model: what `create_detector` or `load` returns; it is moved to the device and set to eval.
        device: None: where the model is.
        batch_size: pictures read ahead; those of one size go through the network together.
        top_k: unused: every object has one class.
        select: how detections are chosen; None: as the model says.
        view: how pictures are looked at; None: once, whole.
        """
        if not isinstance(model, Detector):
            raise InputError(f"a detector was expected, as swinkit.load returns; got {type(model).__name__}.")
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1; got {batch_size}.")
        self.device = torch.device(device) if device is not None else next(model.parameters()).device
        self.batch_size = batch_size
        self.detector = PictureDetector(model.to(self.device), select=select, view=view)
        count = model.config.num_classes
        self.names = model.spec.class_names or tuple(f"class {index}" for index in range(count))

    def stream(
        self, sources: Source | Iterable[Source], *, on_bad: OnBad | None = None
    ) -> Iterator[DetectionResult]:
        """Yield results one by one in order; only a few pictures are in memory at a time.

        Args:
            sources: as for a call; an iterable is read as it goes.
            on_bad: called with the error of each picture that cannot be read; None: it is logged.
        """
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            items = (pool.submit(self._read, source) for source in flatten_sources(sources))
            waiting = list(islice(items, self.batch_size))
            while waiting:
                following = list(islice(items, self.batch_size))
                yield from self._detect(waiting, on_bad or log_bad)
                waiting = following

    def _read(self, source: Source) -> tuple[Path | None, Image.Image, list[View]]:
        path, picture = read_source(source)
        tiled = self.detector.view.tile is not None
        return path, picture, [] if tiled else self.detector.prepare(picture)

    def _detect(self, waiting: Sequence[Future[Any]], on_bad: OnBad) -> Iterator[DetectionResult]:
        ready = []
        for future in waiting:
            try:
                ready.append(future.result())
            except InputError as error:
                on_bad(error)
        pictures, views = [item[1] for item in ready], [item[2] for item in ready]
        results = self.detector.many(pictures, views)
        for (path, picture, _), found in zip(ready, results, strict=True):
            size = (picture.height, picture.width)
            codes = mask_codes(found, size, self.detector.select.mask)
            yield DetectionResult(
                path=path,
                size=size,
                boxes=found.boxes.numpy(),
                scores=found.scores.numpy(),
                labels=found.labels.numpy(),
                names=self.names,
                codes=None if codes is None else tuple(codes),
                picture=None if path is not None else picture,
            )
