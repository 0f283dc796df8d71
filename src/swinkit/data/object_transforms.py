"""From a picture and its objects to a detector's input and target.

A training sample is one cut out of the picture, resized once, and perhaps mirrored; the objects follow it as
numbers, and masks are drawn at the final size. With `TransformedObjects` it is a pure function of (seed,
epoch, index).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from swinkit.data.grouped_sampler import GroupedSampler
from swinkit.data.object_config import ObjectAugmentConfig
from swinkit.data.objects import ObjectRecord, Segment, draw_segment
from swinkit.data.sampling import ResumableSampler, TransformedDataset, derive_seed, seeded
from swinkit.data.transforms import Normalize
from swinkit.detection.structures import Targets
from swinkit.errors import InputError
from swinkit.spec import Preprocess

T: Any = v2  # torchvision's annotations name tensors only; all of this takes PIL pictures as well
F: Any = v2.functional
_log = logging.getLogger("swinkit")
Pair = tuple[int, int]
LEAST_SIDE = 1.0
"""Objects of which a cut leaves less than this many pixels a side are not trained."""


class PictureInfo(NamedTuple):
    """What a detector's input was made from.

    Attributes:
        number: of the picture in its data set, from 0; -1 for one that does not count.
        size: (height, width) of the input, before padding.
        original: (height, width) of the picture.
    """

    number: int
    size: Pair
    original: Pair


Sample = tuple[Tensor, Targets, PictureInfo]
ObjectTransform = Callable[[Image.Image, ObjectRecord], tuple[Tensor, Targets]]


class TransformedObjects(TransformedDataset):
    """As `TransformedDataset`, for pictures with objects: (image (C, H, W), `Targets`, `PictureInfo`).

    Args:
        dataset: an `ObjectDataset`.
        transform: (picture, record) to (image, targets).
        seed: of the randomness.
        skip_bad: a picture that cannot be read is named and the next one is taken instead.
        group: pictures of a rank's batch, if batches are to be of upright or of lying pictures alone.
    """

    def __init__(
        self,
        dataset: Any,
        transform: ObjectTransform,
        seed: int = 0,
        *,
        skip_bad: bool = False,
        group: int | None = None,
    ) -> None:
        super().__init__(dataset, _unused, seed)
        self.object_transform = transform
        self.skip_bad = skip_bad
        self.group = group

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # objects, not a label
        index = range(len(self))[index]
        picture, record, at = self._read(index)
        with seeded(derive_seed(self.seed, int(self._epoch), at)):
            image, targets = self.object_transform(picture, record)
        # What is found in the picture that stands in for a damaged one must not count twice.
        number = at if at == index else -1
        return image, targets, PictureInfo(number, (image.shape[1], image.shape[2]), record.size)

    def sampler(self, *, shuffle: bool, seed: int = 0, rank: int = 0, world: int = 1) -> ResumableSampler:
        """One rank's epochs; shuffled ones keep upright and lying pictures apart if `group` says so."""
        if not shuffle or self.group is None:
            return super().sampler(shuffle=shuffle, seed=seed, rank=rank, world=world)
        upright = [int(record.size[0] > record.size[1]) for record in self.dataset.records]
        return GroupedSampler(
            upright, batch_size=self.group, seed=seed, rank=rank, world=world, follower=self
        )

    @staticmethod
    def collate(samples: list[Sample]) -> tuple[Tensor, list[Targets], list[PictureInfo]]:
        """Pad the pictures with zeros to one size, a multiple of 32, and stack them."""
        images = [image for image, _, _ in samples]
        return pad_batch(images), [targets for _, targets, _ in samples], [info for _, _, info in samples]

    @staticmethod
    def surplus(
        batch: tuple[Tensor, list[Targets], list[PictureInfo]],
    ) -> tuple[Tensor, list[Targets], list[PictureInfo]]:
        """Number the pictures of a batch -1, so that what is found in them does not count."""
        images, targets, info = batch
        return images, targets, [item._replace(number=-1) for item in info]

    def _read(self, index: int) -> tuple[Image.Image, ObjectRecord, int]:
        for step in range(len(self)):
            at = (index + step) % len(self)
            try:
                picture, record = self.dataset[at]
            except InputError as error:
                if not self.skip_bad:
                    raise
                _log.warning("left out: %s", error)
                continue
            return picture, record, at
        raise InputError("not one of the pictures can be read.")


class ObjectTrainTransform:
    """Resize to a random short side, half the time from a random part of the picture; mirror (A2.2).

    Args:
        augment: how much.
        preprocess: how the model wants its input.
        masks: whether targets have masks.
    """

    def __init__(self, augment: ObjectAugmentConfig, preprocess: Preprocess, *, masks: bool) -> None:
        self.augment = augment
        self.masks = masks
        self.normalize = Normalize(preprocess)
        strength = augment.color_jitter
        self.color = T.ColorJitter(strength, strength, strength, strength / 4) if strength else None

    def __call__(self, picture: Image.Image, record: ObjectRecord) -> tuple[Tensor, Targets]:
        """PIL RGB and its record to float32 (C, H, W) and the objects that are left in it."""
        cut, size = self._choose(record.size)
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=cut)
        mirrored = (_chance(self.augment.hflip), _chance(self.augment.vflip))
        picture = F.hflip(picture) if mirrored[0] else picture
        picture = F.vflip(picture) if mirrored[1] else picture
        if self.color is not None:
            picture = self.color(picture)
        image, targets = self.normalize(picture), follow(record, cut, size, mirrored, masks=self.masks)
        if self.augment.ratio is not None:
            below, right = (whole - side for whole, side in zip(self.augment.size, size, strict=True))
            image = torch.nn.functional.pad(image, (0, right, 0, below))
            if targets.masks is not None:
                targets.masks = torch.nn.functional.pad(targets.masks, (0, right, 0, below))
        return image, targets

    def _choose(self, original: Pair) -> tuple[tuple[float, float, float, float], Pair]:
        """Draw the part of the picture (left, top, right, bottom) that is taken, and the size it gets."""
        augment = self.augment
        height, width = original
        if augment.ratio is not None:
            low, high = augment.ratio
            factor = low + (high - low) * float(torch.rand(()))
            whole = (max(1, round(height * factor)), max(1, round(width * factor)))
            size = (min(augment.size[0], whole[0]), min(augment.size[1], whole[1]))
            return _cut(original, whole, size), size
        part, cut = original, (0.0, 0.0, float(width), float(height))
        if _chance(augment.crop_probability):
            factor = fit_factor(original, _pick(augment.crop_sides), augment.long_side)
            whole = (round(height * factor), round(width * factor))
            low, high = augment.crop_range
            part = tuple(int(torch.randint(min(side, low), min(side, high) + 1, ())) for side in whole)
            part = (part[0], part[1])
            cut = _cut(original, whole, part)
        factor = fit_factor(part, _pick(augment.short_sides), augment.long_side)
        return cut, (max(1, int(part[0] * factor + 0.5)), max(1, int(part[1] * factor + 0.5)))


class ObjectEvalTransform:
    """Resize to a short side, or by a factor, without anything random.

    Args:
        preprocess: how the model wants its input.
        short_side: of the input in pixels,
        long_side: but its long side is at most this.
        scale: a factor to resize by instead.
    """

    def __init__(
        self, preprocess: Preprocess, *, short_side: int, long_side: int, scale: float | None = None
    ) -> None:
        self.normalize = Normalize(preprocess)
        self.short_side, self.long_side, self.scale = short_side, long_side, scale

    def __call__(self, picture: Image.Image, record: ObjectRecord) -> tuple[Tensor, Targets]:
        """PIL RGB to float32 (C, H, W); the targets are the record's boxes at the new size, without masks."""
        image = self.image(picture)
        size = (image.shape[1], image.shape[2])
        whole = (0.0, 0.0, float(picture.width), float(picture.height))
        return image, follow(record, whole, size, (False, False), masks=False)

    def image(self, picture: Image.Image) -> Tensor:
        """PIL RGB to float32 (C, H, W)."""
        size = (picture.height, picture.width)
        factor = self.scale or fit_factor(size, self.short_side, self.long_side)
        new = [max(1, int(side * factor + 0.5)) for side in size]
        if tuple(new) == size:
            return self.normalize(picture)
        # Without smoothing before, as the published code resizes.
        pixels = F.resize(F.pil_to_tensor(picture), new, antialias=False)
        return self.normalize(F.to_pil_image(pixels))


def fit_factor(size: Pair, short_side: int, long_side: int) -> float:
    """Return the factor that brings the short side to `short_side`, but the long one to at most
    `long_side`."""
    return min(short_side / min(size), long_side / max(size))


def follow(
    record: ObjectRecord,
    cut: tuple[float, float, float, float],
    size: Pair,
    mirrored: tuple[bool, bool],
    *,
    masks: bool,
) -> Targets:
    """Return the objects of a picture of which the part `cut` was resized to `size` and mirrored.

    Crowds are left out, as are objects of which next to nothing is left.

    Args:
        record: the objects.
        cut: (left, top, right, bottom) in pixels of the picture.
        size: (height, width) the part has now.
        mirrored: left to right, and top to bottom, afterwards.
        masks: whether to draw masks.
    """
    height, width = size
    scale = np.array([width / (cut[2] - cut[0]), height / (cut[3] - cut[1])])
    start = np.array(cut[:2])
    corners = (record.boxes.reshape(-1, 2, 2) - start) * scale
    corners = corners.clip(0, [width, height])
    for axis, turned in enumerate(mirrored):
        if turned:
            corners[..., axis] = size[1 - axis] - corners[:, ::-1, axis]
    boxes = corners.reshape(-1, 4)
    kept = ((boxes[:, 2:] - boxes[:, :2]) >= LEAST_SIDE).all(axis=1) & ~record.crowd
    index = np.flatnonzero(kept)
    drawn = None
    if masks:
        drawn = np.zeros((len(index), height, width), dtype=np.uint8)
        for at, number in enumerate(index):
            segment = record.segments[number]
            if segment is not None:
                drawn[at] = _Moved(record.size, cut, size, mirrored).draw(segment)
    return Targets(
        boxes=torch.from_numpy(boxes[index].astype(np.float32)),
        labels=torch.from_numpy(record.labels[index]),
        masks=None if drawn is None else torch.from_numpy(drawn),
    )


def pad_batch(images: list[Tensor], multiple: int = 32) -> Tensor:
    """Stack pictures (C, H_i, W_i) into (B, C, H, W), with zeros at the bottom and right; H and W are
    multiples of `multiple`."""
    height = -(-max(image.shape[1] for image in images) // multiple) * multiple
    width = -(-max(image.shape[2] for image in images) // multiple) * multiple
    batch = images[0].new_zeros(len(images), images[0].shape[0], height, width)
    for place, image in zip(batch, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return batch


@dataclass(frozen=True)
class _Moved:
    """A cut out of a picture, its new size and how it is mirrored, as in `follow`."""

    original: Pair
    cut: tuple[float, float, float, float]
    size: Pair
    mirrored: tuple[bool, bool]

    def draw(self, segment: Segment) -> np.ndarray:
        """The mask (H, W) of an outline after all that."""
        height, width = self.size
        if isinstance(segment, dict):
            mask = Image.fromarray(draw_segment(segment, self.original))
            pixels = np.asarray(mask.resize((width, height), Image.Resampling.NEAREST, box=self.cut))
            pixels = pixels[:, ::-1] if self.mirrored[0] else pixels
            return pixels[::-1] if self.mirrored[1] else pixels
        left, top, right, bottom = self.cut
        scale = np.array([width / (right - left), height / (bottom - top)])
        polygons = []
        for polygon in segment:
            points = (np.asarray(polygon, dtype=np.float64).reshape(-1, 2) - (left, top)) * scale
            for axis, turned in enumerate(self.mirrored):
                if turned:
                    points[:, axis] = self.size[1 - axis] - points[:, axis]
            polygons.append(points.ravel().tolist())
        return draw_segment(polygons, self.size)


def _cut(original: Pair, whole: Pair, part: Pair) -> tuple[float, float, float, float]:
    """Draw where a part of a picture resized to `whole` is taken; in pixels of the original."""
    top = int(torch.randint(whole[0] - part[0] + 1, ()))
    left = int(torch.randint(whole[1] - part[1] + 1, ()))
    down, across = original[0] / whole[0], original[1] / whole[1]
    # Rounding must not step over the edge, which PIL refuses.
    right, bottom = min((left + part[1]) * across, original[1]), min((top + part[0]) * down, original[0])
    return (left * across, top * down, right, bottom)


def _chance(probability: float) -> bool:
    return float(torch.rand(())) < probability


def _pick(choices: tuple[int, ...]) -> int:
    return choices[int(torch.randint(len(choices), ()))]


def _unused(picture: Image.Image) -> Tensor:
    raise AssertionError("objects have a transform of their own")
