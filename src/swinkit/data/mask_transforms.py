"""From a picture and its mask to the network's input and target, drawn from torch's generator.

Together with `TransformedMasks` every training sample is a pure function of (seed, epoch, index).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from swinkit.data.mask_config import MaskAugmentConfig
from swinkit.data.sampling import TransformedDataset, derive_seed, seeded
from swinkit.data.transforms import Normalize
from swinkit.segmentation.config import IGNORE, InferenceConfig
from swinkit.spec import Preprocess

F: Any = functional  # torchvision's annotations name tensors only
PairTransform = Callable[[Image.Image, np.ndarray], tuple[Tensor, Tensor]]
CROP_TRIES = 11
"""The first crop, and as many as ten more (section A2.3's code)."""


class TransformedMasks(TransformedDataset):
    """As `TransformedDataset`, for pictures with masks: (image (C, H, W), mask (H, W) uint8)."""

    def __init__(self, dataset: Any, transform: PairTransform, seed: int = 0) -> None:
        super().__init__(dataset, _unused, seed)
        self.pair_transform = transform

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # a mask
        index = range(len(self))[index]
        picture, mask = self.dataset[index]
        with seeded(derive_seed(self.seed, int(self._epoch), index)):
            return self.pair_transform(picture, mask)


class MaskTrainTransform:
    """Resize by a random factor, crop with the one-class limit, mirror, distort colours, pad (A2.3)."""

    def __init__(self, augment: MaskAugmentConfig, preprocess: Preprocess) -> None:
        self.augment = augment
        self.normalize = Normalize(preprocess)

    def __call__(self, picture: Image.Image, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        """PIL RGB and (H, W) uint8 -> float32 (C, *crop) and uint8 (*crop); padding is 0 and `IGNORE`."""
        augment = self.augment
        low, high = augment.ratio
        factor = low + (high - low) * float(torch.rand(()))
        factor *= fit_factor((picture.height, picture.width), augment.short_side, augment.long_side)
        whole = tuple(max(1, int(side * factor + 0.5)) for side in mask.shape)
        size = (min(augment.crop[0], whole[0]), min(augment.crop[1], whole[1]))
        # Only the crop is resized, from its place in the original: the picture may be much larger.
        box, mask = self._choose(mask, (whole[0], whole[1]), size)
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box)
        if float(torch.rand(())) < augment.hflip:
            picture, mask = F.hflip(picture), mask[:, ::-1]
        if augment.photometric:
            picture = distort(picture)
        image, target = self.normalize(picture), torch.from_numpy(np.array(mask))
        below, right = augment.crop[0] - size[0], augment.crop[1] - size[1]
        pad = torch.nn.functional.pad
        return pad(image, (0, right, 0, below)), pad(target, (0, right, 0, below), value=IGNORE)

    def _choose(
        self, mask: np.ndarray, whole: tuple[int, int], size: tuple[int, int]
    ) -> tuple[tuple[float, float, float, float], np.ndarray]:
        """Draw a crop until no class has more than its limit of it; return its box and its mask."""
        source = Image.fromarray(mask)
        down, across = mask.shape[0] / whole[0], mask.shape[1] / whole[1]
        tries = 0
        while True:
            top = int(torch.randint(whole[0] - size[0] + 1, ()))
            left = int(torch.randint(whole[1] - size[1] + 1, ()))
            box = (left * across, top * down, (left + size[1]) * across, (top + size[0]) * down)
            # Rounding must not step over the edge, which PIL refuses.
            box = (box[0], box[1], min(box[2], mask.shape[1]), min(box[3], mask.shape[0]))
            cut = np.asarray(source.resize((size[1], size[0]), Image.Resampling.NEAREST, box=box))
            tries += 1
            if tries == CROP_TRIES or self._mixed(cut):
                return box, cut

    def _mixed(self, mask: np.ndarray) -> bool:
        """Whether no class has more than its limit of the labelled pixels."""
        if self.augment.one_class_limit >= 1:
            return True
        counts = np.bincount(mask.ravel(), minlength=256)[:IGNORE]
        return bool(
            np.count_nonzero(counts) > 1 and counts.max() < self.augment.one_class_limit * counts.sum()
        )


class MaskEvalTransform:
    """The picture at the size the model reads it, and the mask as it is."""

    def __init__(self, preprocess: Preprocess, inference: InferenceConfig) -> None:
        self.normalize = Normalize(preprocess)
        self.inference = inference

    def __call__(self, picture: Image.Image, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        """PIL RGB and (H, W) uint8 -> float32 (C, h, w) and uint8 (H, W)."""
        return self.image(picture), torch.from_numpy(np.array(mask))

    def image(self, picture: Image.Image) -> Tensor:
        """PIL RGB -> float32 (C, h, w), resized as the model's inference says."""
        inference = self.inference
        size = (picture.height, picture.width)
        factor = fit_factor(size, inference.short_side, inference.long_side)
        image = self.normalize(picture)
        if factor == 1:
            return image
        # Without antialiasing, as the published evaluation resizes.
        scaled = [max(1, int(side * factor + 0.5)) for side in size]
        return torch.nn.functional.interpolate(
            image[None], size=scaled, mode="bilinear", align_corners=False
        )[0]


def fit_factor(size: tuple[int, int], short_side: int | None, long_side: int | None) -> float:
    """Factor that brings the shorter side to `short_side`, or the longer one to `long_side` if less."""
    if short_side is None:
        return 1.0
    factor = short_side / min(size)
    return factor if long_side is None else min(factor, long_side / max(size))


def distort(picture: Image.Image) -> Image.Image:
    """Vary brightness, contrast, saturation and hue, each with probability 1/2, contrast before or after the
    other two, within the ranges of the published code."""
    levels = np.arange(256.0)
    shift = _between(-32, 32) if _coin() else 0.0
    contrast_last = _coin()
    contrast = _between(0.5, 1.5) if _coin() else 1.0
    saturation = _between(0.5, 1.5) if _coin() else 1.0
    turn = _between(-18 / 180, 18 / 180) if _coin() else 0.0
    first = (levels + shift).clip(0, 255) * (1.0 if contrast_last else contrast)
    picture = picture.point(_table(first) * 3)
    if saturation != 1 or turn:
        hue = _table((levels + round(256 * turn)) % 256)
        picture = picture.convert("HSV").point(hue + _table(levels * saturation) + _table(levels))
        picture = picture.convert("RGB")
    return picture.point(_table(levels * contrast) * 3) if contrast_last else picture


def _table(levels: np.ndarray) -> list[int]:
    return np.rint(levels.clip(0, 255)).astype(int).tolist()


def _coin() -> bool:
    return bool(torch.rand(()) < 0.5)


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _unused(picture: Image.Image) -> Tensor:
    raise AssertionError("a picture with a mask is transformed as a pair")
