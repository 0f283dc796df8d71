"""RandAugment as the paper's recipe "rand-m9-mstd0.5-inc1" means it, over torchvision's operations.

E. D. Cubuk et al., "RandAugment", 2019; the recipe (A2.1) differs from torchvision's own RandAugment in this:
fifteen operations, no identity; two are drawn with replacement and each is applied with probability 1/2; the
magnitude is drawn from N(9, 0.5) for each and clipped to 0..10; "increasing" makes every operation stronger
with the magnitude, also those that a larger number would weaken. Rotations, shears and translations use the
recipe's one resampling filter and fill with the data's mean colour. Shears are about the top-left corner, as
in the code the recipe was published with; unlike there, torchvision rounds translations to whole pixels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

F: Any = functional  # its annotations name tensors only; it takes PIL pictures as well
Fill = list[float]
Operation = Callable[[Image.Image, float, InterpolationMode, Fill], Image.Image]


class RandAugment:
    """Two random operations on a PIL RGB picture, drawn from torch's generator."""

    def __init__(
        self,
        *,
        magnitude: float = 9.0,
        std: float = 0.5,
        increasing: bool = True,
        interpolation: InterpolationMode = InterpolationMode.BICUBIC,
        fill: Sequence[float] = (124, 116, 104),
        operations: int = 2,
        probability: float = 0.5,
    ) -> None:
        """Args:
        magnitude: mean strength, 0 to 10.
        std: of the strength.
        increasing: see the module's docstring.
        interpolation: of the geometric operations.
        fill: RGB in 0..255 of pixels that come from outside.
        operations: how many are drawn.
        probability: of applying each.
        """
        self.magnitude, self.std = magnitude, std
        self.interpolation, self.fill = interpolation, [float(value) for value in fill]
        self.operations, self.probability = operations, probability
        self.table = list({**COMMON, **(INCREASING if increasing else PLAIN)}.values())

    def __call__(self, picture: Image.Image) -> Image.Image:
        chances = torch.rand(self.operations).tolist()
        choices = torch.randint(len(self.table), (self.operations,)).tolist()
        levels = torch.normal(self.magnitude, self.std, (self.operations,)).clamp_(0, 10).tolist()
        for chance, choice, level in zip(chances, choices, levels, strict=True):
            if chance < self.probability:
                picture = self.table[choice](picture, level / 10, self.interpolation, self.fill)
        return picture


def _signed(value: float) -> float:
    return value if float(torch.rand(())) < 0.5 else -value


def _rotate(picture: Image.Image, level: float, filter_: InterpolationMode, fill: Fill) -> Image.Image:
    return F.rotate(picture, _signed(30 * level), interpolation=filter_, fill=fill)


def _affine(
    picture: Image.Image,
    filter_: InterpolationMode,
    fill: Fill,
    *,
    translate: tuple[int, int] = (0, 0),
    shear: tuple[float, float] = (0.0, 0.0),
) -> Image.Image:
    degrees = [float(torch.rad2deg(torch.atan(torch.tensor(value)))) for value in shear]
    return F.affine(
        picture,
        angle=0.0,
        translate=list(translate),
        scale=1.0,
        shear=degrees,
        interpolation=filter_,
        fill=fill,
        center=[0.0, 0.0],
    )


def _shear_x(picture: Image.Image, level: float, filter_: InterpolationMode, fill: Fill) -> Image.Image:
    return _affine(picture, filter_, fill, shear=(_signed(0.3 * level), 0.0))


def _shear_y(picture: Image.Image, level: float, filter_: InterpolationMode, fill: Fill) -> Image.Image:
    return _affine(picture, filter_, fill, shear=(0.0, _signed(0.3 * level)))


def _translate_x(picture: Image.Image, level: float, filter_: InterpolationMode, fill: Fill) -> Image.Image:
    return _affine(picture, filter_, fill, translate=(round(_signed(0.45 * level) * picture.width), 0))


def _translate_y(picture: Image.Image, level: float, filter_: InterpolationMode, fill: Fill) -> Image.Image:
    return _affine(picture, filter_, fill, translate=(0, round(_signed(0.45 * level) * picture.height)))


def _posterize(bits: int) -> Callable[[Image.Image], Image.Image]:
    mask = ~((1 << (8 - bits)) - 1) & 0xFF
    return lambda picture: picture.point([value & mask for value in range(256)] * 3)


def _solarize_add(picture: Image.Image, level: float, *_: object) -> Image.Image:
    add = min(128, int(110 * level))
    return picture.point([min(255, value + add) if value < 128 else value for value in range(256)] * 3)


def _stronger(level: float) -> float:
    """Enhancement factor that moves away from 1 in either direction."""
    return max(0.1, 1 + _signed(0.9 * level))


COMMON: dict[str, Operation] = {
    "auto_contrast": lambda picture, *_: ImageOps.autocontrast(picture),
    "equalize": lambda picture, *_: ImageOps.equalize(picture),
    "invert": lambda picture, *_: ImageOps.invert(picture),
    "rotate": _rotate,
    "solarize_add": _solarize_add,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
INCREASING: dict[str, Operation] = {
    "posterize": lambda picture, level, *_: _posterize(4 - int(4 * level))(picture),
    "solarize": lambda picture, level, *_: ImageOps.solarize(picture, 256 - int(256 * level)),
    "color": lambda picture, level, *_: F.adjust_saturation(picture, _stronger(level)),
    "contrast": lambda picture, level, *_: F.adjust_contrast(picture, _stronger(level)),
    "brightness": lambda picture, level, *_: F.adjust_brightness(picture, _stronger(level)),
    "sharpness": lambda picture, level, *_: F.adjust_sharpness(picture, _stronger(level)),
}
PLAIN: dict[str, Operation] = {
    "posterize": lambda picture, level, *_: _posterize(int(4 * level))(picture),
    "solarize": lambda picture, level, *_: ImageOps.solarize(picture, int(256 * level)),
    "color": lambda picture, level, *_: F.adjust_saturation(picture, 0.1 + 1.8 * level),
    "contrast": lambda picture, level, *_: F.adjust_contrast(picture, 0.1 + 1.8 * level),
    "brightness": lambda picture, level, *_: F.adjust_brightness(picture, 0.1 + 1.8 * level),
    "sharpness": lambda picture, level, *_: F.adjust_sharpness(picture, 0.1 + 1.8 * level),
}
