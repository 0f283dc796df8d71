"""From pictures in any form to what the model says about them."""

import io
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from swinkit.classification import Classifier
from swinkit.data.pictures import list_pictures, open_picture, to_rgb
from swinkit.data.transforms import eval_transform
from swinkit.detection.config import DetectorConfig
from swinkit.errors import InputError
from swinkit.files import atomic_path
from swinkit.segmentation.config import SegmenterConfig
from swinkit.spec import ModelSpec

Source = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor
"""A file, a folder, a glob pattern, or a picture.

A picture is PIL, an array (H, W, 3) or (H, W) of uint8, or a tensor (3, H, W) of uint8 or of 0..1.
"""

OnBad = Callable[[InputError], None]
T = TypeVar("T")
_log = logging.getLogger("swinkit")


PREDICTORS: dict[type, str] = {
    SegmenterConfig: "swinkit.predictor_masks:MaskPredictor",
    DetectorConfig: "swinkit.predictor_objects:ObjectPredictor",
}
"""Task other than classification -> its predictor, imported when used."""


@dataclass(frozen=True)
class ClassProbability:
    """One class the model considers.

    Attributes:
        index: output of the model.
        name: of the class; its number when the model knows no names.
        probability: 0 to 1.
    """

    index: int
    name: str
    probability: float


class DrawnResult(ABC):
    """What is said about one picture and can be drawn on it; a notebook shows it drawn."""

    @abstractmethod
    def draw(self) -> Image.Image:
        """The picture with what was found."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the annotated picture; the ending of `path` says the format.

        Raises:
            InputError: the ending is unknown, or the place cannot be written to.
        """
        write_picture(self.draw(), path)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.draw().save(buffer, "PNG")
        return buffer.getvalue()


class PicturePredictor(ABC):
    """Applies a model to pictures, whatever they are given as."""

    def __call__(self, source: Source | Iterable[Source]) -> Any:
        """Predict one picture or many.

        Returns:
            The task's result for one file or picture; a list of them for a folder, a pattern or a list.

        Raises:
            InputError: something does not exist, or the one picture cannot be read. Among many, damaged
                pictures are named in the log and left out.
        """
        if is_single(source):
            return next(self.stream(source, on_bad=raise_bad))
        return list(self.stream(source))

    @abstractmethod
    def stream(self, sources: Source | Iterable[Source], *, on_bad: OnBad | None = None) -> Iterator[Any]:
        """Yield results one by one in order; only a few pictures are in memory at a time.

        Args:
            sources: as for a call; an iterable is read as it goes.
            on_bad: called with the error of each picture that cannot be read; None: it is logged.
        """


@dataclass(frozen=True)
class ClassificationResult(DrawnResult):
    """What a classifier says about one picture.

    Attributes:
        path: the file, or None for a picture from memory.
        size: (height, width) in pixels of the picture, upright.
        top: the most probable classes, best first.
        picture: a picture from memory; None for a file, which is read again when it is drawn.
    """

    path: Path | None
    size: tuple[int, int]
    top: tuple[ClassProbability, ...]
    picture: Image.Image | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The most probable class."""
        return self.top[0].name

    @property
    def probability(self) -> float:
        """Of the most probable class."""
        return self.top[0].probability

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "path": None if self.path is None else str(self.path),
            "height": self.size[0],
            "width": self.size[1],
            "predictions": [
                {"class": item.index, "name": item.name, "probability": item.probability} for item in self.top
            ],
        }

    def draw(self) -> Image.Image:
        """The picture with its classes and a bar for each below it."""
        # It brings matplotlib, so only when something is drawn.
        from swinkit.viz.predictions import annotate  # noqa: PLC0415

        picture = self.picture if self.picture is not None else open_picture(self.path or "")
        return annotate(picture, [(item.name, item.probability) for item in self.top])


class Predictor(PicturePredictor):
    """Applies a model to pictures: reads, prepares, batches, and names the outputs.

    The model's own `spec` says how pictures are prepared and what its classes are called. Given a model of
    another task, `Predictor(model)` is that task's predictor (`PREDICTORS`), with the same arguments.
    """

    def __new__(cls, model: nn.Module, **settings: Any) -> Any:
        spec = getattr(model, "spec", None)
        home = PREDICTORS.get(type(spec.config)) if isinstance(spec, ModelSpec) else None
        if home is None:
            return super().__new__(cls)
        module, _, name = home.partition(":")
        return getattr(import_module(module), name)(model, **settings)

    def __init__(
        self,
        model: nn.Module,
        *,
        device: str | torch.device | None = None,
        batch_size: int | None = None,
        top_k: int = 5,
    ) -> None:
        """Args:
        model: what `create_model` or `load` returns; it is moved to the device and set to eval. Or what
            `optimize` makes of it, which stays where it is.
        device: None: where the model is.
        batch_size: pictures at once; None for 16, or for as many as the model was optimised for.
        top_k: classes a result lists, at most.
        """
        source, usual = (model, 16) if isinstance(model, Classifier) else _optimised(model)
        self.optimized = source is not model
        batch_size = usual if batch_size is None else batch_size
        if batch_size < 1 or top_k < 1:
            raise InputError(f"batch_size and top_k must be at least 1; got {batch_size} and {top_k}.")
        at = next(source.parameters()).device
        self.device = torch.device(device) if device is not None else at
        if self.optimized and self.device != at:
            raise InputError(f"this model was optimised for {at} and stays there; got device {self.device}.")
        self.model = model.to(self.device).eval()
        self.batch_size = batch_size
        self.top_k = top_k
        self.preprocess = source.spec.preprocess
        self._classifier = source
        self._transform = eval_transform(self.preprocess)
        self._names = source.spec.class_names

    def stream(
        self, sources: Source | Iterable[Source], *, on_bad: OnBad | None = None
    ) -> Iterator[ClassificationResult]:
        """Yield results one by one in order; only a few batches are in memory at a time.

        Args:
            sources: as for a call; an iterable is read as it goes.
            on_bad: called with the error of each picture that cannot be read; None: it is logged.
        """
        if self._classifier.spec.config.num_classes == 0:
            raise InputError("this model has no classes (num_classes 0): it gives embeddings only.")
        for items, images in self._batches(sources, on_bad or log_bad):
            probabilities_BK = self._run(self.model, images).softmax(dim=1)
            if not torch.isfinite(probabilities_BK).all():
                raise InputError(
                    "the model's outputs are not finite: its weights hold NaN or infinity; use another file."
                )
            count = min(self.top_k, probabilities_BK.shape[1])
            values_BT, classes_BT = probabilities_BK.topk(count, dim=1)
            for item, values, classes in zip(items, values_BT.tolist(), classes_BT.tolist(), strict=True):
                top = tuple(
                    ClassProbability(index, self._name(index), value)
                    for index, value in zip(classes, values, strict=True)
                )
                yield ClassificationResult(item.path, item.size, top, item.picture)

    def embed(
        self, sources: Source | Iterable[Source], *, on_bad: OnBad | None = None
    ) -> Iterator[tuple[Path | None, np.ndarray]]:
        """Yield (path, pooled features (C,) float32) for each picture, as `stream` does.

        Raises:
            InputError: the model is an optimised one, which gives classes only.
        """
        if self.optimized:
            raise InputError("an optimised classifier gives no vectors: use the model it was made from.")
        for items, images in self._batches(sources, on_bad or log_bad):
            vectors_BC = self._run(self._classifier.embed, images).cpu().numpy()
            yield from ((item.path, vector) for item, vector in zip(items, vectors_BC, strict=True))

    @torch.inference_mode()
    def _run(self, function: Callable[[Tensor], Tensor], images: list[Tensor]) -> Tensor:
        batch_BCHW = torch.stack(images).to(self.device)
        if self.optimized:  # a smaller batch at the end is filled up: another shape would be built anew
            missing = self.batch_size - len(batch_BCHW)
            filled = torch.cat([batch_BCHW, batch_BCHW[:1].expand(missing, -1, -1, -1)])
            return function(filled)[: len(batch_BCHW)].float()
        return function(batch_BCHW.to(next(self.model.parameters()).dtype)).float()

    def _name(self, index: int) -> str:
        return self._names[index] if self._names else str(index)

    def _batches(
        self, sources: Source | Iterable[Source], on_bad: OnBad
    ) -> Iterator[tuple[list["_Item"], list[Tensor]]]:
        # Pictures of the next batch are decoded by threads while the model works on this one.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for futures in _ahead(self._submit(pool, sources), self.batch_size):
                items: list[_Item] = []
                images: list[Tensor] = []
                for future in futures:
                    try:
                        item, image = future.result()
                    except InputError as error:
                        on_bad(error)
                        continue
                    items.append(item)
                    images.append(image)
                if items:
                    yield items, images

    def _submit(
        self, pool: ThreadPoolExecutor, sources: Source | Iterable[Source]
    ) -> Iterator[Future[tuple["_Item", Tensor]]]:
        for source in flatten_sources(sources):
            yield pool.submit(self._prepare, source)

    def _prepare(self, source: Source) -> tuple["_Item", Tensor]:
        path, picture = read_source(source)
        size = (picture.height, picture.width)
        return _Item(path, size, None if path is not None else picture), self._transform(picture)


@dataclass(frozen=True)
class _Item:
    path: Path | None
    size: tuple[int, int]
    picture: Image.Image | None


def read_source(source: Source) -> tuple[Path | None, Image.Image]:
    """Return the file, if it is one, and the picture, upright RGB.

    Raises:
        InputError: it cannot be read.
    """
    if isinstance(source, (str, os.PathLike)):
        return Path(source), open_picture(Path(source))
    return None, _to_picture(source)


def is_single(source: object) -> bool:
    if isinstance(source, (str, os.PathLike)):
        return Path(source).is_file()
    return isinstance(source, (Image.Image, np.ndarray, Tensor))


def flatten_sources(sources: Source | Iterable[Source]) -> Iterator[Source]:
    if isinstance(sources, (str, os.PathLike)):
        yield from list_pictures(sources)
    elif isinstance(sources, (Image.Image, np.ndarray, Tensor)):
        yield sources
    else:
        for source in sources:
            yield from flatten_sources(source)


def _ahead(items: Iterator[T], size: int) -> Iterator[Sequence[T]]:
    """Batches of `size`, each made one batch before it is asked for."""
    batch = list(islice(items, size))
    while batch:
        following = list(islice(items, size))
        yield batch
        batch = following


def _to_picture(source: Image.Image | np.ndarray | Tensor) -> Image.Image:
    if isinstance(source, Image.Image):
        return to_rgb(source)
    array = source.detach().cpu().numpy() if isinstance(source, Tensor) else source
    if isinstance(source, Tensor):
        if array.ndim != 3 or array.shape[0] not in (1, 3):
            raise InputError(f"a picture tensor must be (3, H, W) or (1, H, W); got {tuple(array.shape)}.")
        array = array.transpose(1, 2, 0)
        if array.dtype.kind == "f":
            if array.size and not (array.min() >= 0 and array.max() <= 1):
                raise InputError(
                    "a float picture tensor must be in 0..1, not normalised; "
                    f"got {array.min():.3g} to {array.max():.3g}."
                )
            array = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))):
        raise InputError(
            f"a picture array must be (H, W, 3) or (H, W) of uint8; got {array.shape} of {array.dtype}."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(array)).convert("RGB")


def raise_bad(error: InputError) -> None:
    raise error


def log_bad(error: InputError) -> None:
    _log.warning("left out: %s", error)


def _optimised(model: nn.Module) -> tuple[Classifier, int]:
    """The classifier that `optimize` made this from, and the batch that it was made for.

    Raises:
        InputError: it is neither a classifier nor made from one.
    """
    from swinkit.deploy.optimized import Optimized  # noqa: PLC0415 (most predictors need no engines)

    if not isinstance(model, Optimized) or not isinstance(model.source, Classifier):
        raise InputError(f"a classifier was expected, as swinkit.load returns; got {type(model).__name__}.")
    return model.source, model.report.shape[0]


def write_picture(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture, whole or not at all; the ending of `path` says the format.

    Raises:
        InputError: the ending is unknown, or the place cannot be written to.
    """
    Image.init()
    if Path(path).suffix.lower() not in Image.EXTENSION:
        raise InputError(f"cannot tell the picture format of {path}: end it in .png or .jpg.")
    with atomic_path(path) as temporary:
        picture.save(temporary)
