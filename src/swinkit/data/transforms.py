"""From a PIL picture to the network's input: one transform for evaluation, one for training."""

import math
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from swinkit.data.config import AugmentConfig
from swinkit.data.rand_augment import RandAugment
from swinkit.errors import InputError
from swinkit.spec import Preprocess

T: Any = v2  # torchvision's annotations name tensors only; all of this takes PIL pictures as well
F: Any = v2.functional


class EvalTransform:
    """Resize, crop the centre, normalise (A2.1).

    The picture is resized, keeping its shape, until it just covers size / crop_ratio, and the centre of
    `size` is cropped. With crop_ratio None the whole picture is resized to `size`.
    """

    def __init__(self, preprocess: Preprocess) -> None:
        self.preprocess = preprocess
        self.normalize = Normalize(preprocess)
        self.interpolation = InterpolationMode(preprocess.interpolation)

    def __call__(self, picture: Image.Image) -> Tensor:
        """PIL RGB of any size -> float32 (C, H, W)."""
        size, ratio = self.preprocess.size, self.preprocess.crop_ratio
        if ratio is None:
            picture = F.resize(picture, list(size), interpolation=self.interpolation, antialias=True)
            return self.normalize(picture)
        target = [math.floor(side / ratio) for side in size]
        picture = _trim_strip(picture, target)
        picture = F.resize(
            picture, _covering(picture, target), interpolation=self.interpolation, antialias=True
        )
        return self.normalize(F.center_crop(picture, list(size)))


class TrainTransform:
    """Random crop, flip, RandAugment or colour jitter, normalise, random erasing (A2.1)."""

    def __init__(self, augment: AugmentConfig, preprocess: Preprocess) -> None:
        filter_ = InterpolationMode(augment.interpolation)
        self.crop = T.RandomResizedCrop(
            preprocess.size, scale=augment.scale, ratio=augment.ratio, interpolation=filter_, antialias=True
        )
        self.hflip = augment.hflip
        self.color = _color_transform(augment, preprocess, filter_)
        self.normalize = Normalize(preprocess)
        self.erase = T.RandomErasing(augment.erasing, value="random") if augment.erasing else None

    def __call__(self, picture: Image.Image) -> Tensor:
        """PIL RGB of any size -> float32 (C, H, W), drawn from torch's generator."""
        picture = self.crop(picture)
        if float(torch.rand(())) < self.hflip:
            picture = F.hflip(picture)
        if self.color is not None:
            picture = self.color(picture)
        image_CHW = self.normalize(picture)
        return self.erase(image_CHW) if self.erase is not None else image_CHW


class Normalize:
    """PIL RGB -> float32 (C, H, W), less the mean and divided by the deviation; one channel means grey."""

    def __init__(self, preprocess: Preprocess) -> None:
        channels = len(preprocess.mean)
        if channels not in (1, 3) or len(preprocess.std) != channels:
            raise InputError(
                f"pictures have 3 channels (or 1 as greys), but the model's preprocessing has "
                f"{channels} means and {len(preprocess.std)} deviations: pass tensors to the model directly."
            )
        self.grey = channels == 1
        std_C11 = torch.tensor(preprocess.std).view(-1, 1, 1)
        self.scale_C11 = 1 / (255 * std_C11)
        self.offset_C11 = -torch.tensor(preprocess.mean).view(-1, 1, 1) / std_C11

    def __call__(self, picture: Image.Image) -> Tensor:
        pixels_CHW = F.pil_to_tensor(picture.convert("L") if self.grey else picture)
        return torch.addcmul(self.offset_C11, pixels_CHW.float(), self.scale_C11)


def eval_transform(preprocess: Preprocess) -> EvalTransform:
    """The transform a model is evaluated and used with."""
    return EvalTransform(preprocess)


def train_transform(augment: AugmentConfig, preprocess: Preprocess) -> TrainTransform:
    """The transform a model is trained with; mixup and CutMix come later, on batches (`MixBatch`)."""
    return TrainTransform(augment, preprocess)


def _color_transform(
    augment: AugmentConfig, preprocess: Preprocess, filter_: InterpolationMode
) -> Callable[[Image.Image], Image.Image] | None:
    # The published code drops the jitter when RandAugment is on, although the recipe lists both.
    if augment.rand_magnitude > 0:
        mean = preprocess.mean if len(preprocess.mean) == 3 else preprocess.mean[:1] * 3
        return RandAugment(
            magnitude=augment.rand_magnitude,
            std=augment.rand_std,
            increasing=augment.rand_increasing,
            interpolation=filter_,
            fill=[round(255 * value) for value in mean],
        )
    if augment.color_jitter > 0:
        return T.ColorJitter(augment.color_jitter, augment.color_jitter, augment.color_jitter)
    return None


def _covering(picture: Image.Image, target: list[int]) -> list[int]:
    """The smallest (height, width) of the picture's shape that covers `target`."""
    height, width = picture.height, picture.width
    if target[0] * width >= target[1] * height:
        return [target[0], max(target[1], target[0] * width // height)]
    return [max(target[0], target[1] * height // width), target[1]]


def _trim_strip(picture: Image.Image, target: list[int]) -> Image.Image:
    """Cut the ends off a very long picture; resized whole, a 1 x 10,000 line would take gigabytes."""
    height, width = _covering(picture, target)
    if max(height / target[0], width / target[1]) <= 16:
        return picture
    keep_height = min(picture.height, math.ceil(picture.height * 2 * target[0] / height))
    keep_width = min(picture.width, math.ceil(picture.width * 2 * target[1] / width))
    return F.center_crop(picture, [keep_height, keep_width])
