"""Where pictures with masks come from and how they vary in training; the docstrings are the command line's
help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from swinkit.data.config import LoadingConfig
from swinkit.errors import InputError

MaskKind = Literal["auto", "masks", "ade20k"]


@dataclass(frozen=True, kw_only=True)
class MaskDataConfig(LoadingConfig):
    """Where the pictures and masks come from.

    Attributes:
        kind: masks: folders images/ and masks/, each with train/, val/ and test/ below or above; ade20k: its
            published layout, where 0 means ignore and labels count from 1; auto tells them apart.
        path: folder of the data.
        classes: file with a class name a line, a colour behind it ("road 128 64 128") if masks are coloured;
            a JSON list does too. Without it classes.txt beside the data, else the masks' values are counted.
            Names such as unlabelled and void mark a value that is no class.
        values: the number that stands for each class in the masks, in the order of the classes; without it 0,
            1, 2, ...
        ignore: numbers that stand for no class; 255 always does, unless `values` names it.
        val_fraction: share of the pictures held out where the data has no validation part.
        split_seed: which pictures are held out.
        look_over: masks counted before training; a larger data set is sampled evenly.
        batch_size: pictures a step and device.
        workers: loading processes a device; -1 chooses by the machine.
    """

    kind: MaskKind = "auto"
    path: Path | None = None
    classes: Path | None = None
    values: tuple[int, ...] = ()
    ignore: tuple[int, ...] = ()
    val_fraction: float = 0.1
    split_seed: int = 0
    look_over: int = 4000
    batch_size: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in get_args(MaskKind):
            raise InputError(f"kind must be one of {', '.join(get_args(MaskKind))}; got {self.kind!r}.")
        if not 0 <= self.val_fraction < 1:
            raise InputError(f"val_fraction must be from 0 to below 1; got {self.val_fraction}.")
        numbers = (*self.values, *self.ignore)
        if any(not 0 <= number <= 255 for number in numbers) or len(set(numbers)) < len(numbers):
            raise InputError(
                f"values and ignore must be different numbers from 0 to 255; got values {self.values} and "
                f"ignore {self.ignore}."
            )
        if self.look_over < 1:
            raise InputError(f"look_over must be at least 1; got {self.look_over}.")


@dataclass(frozen=True, kw_only=True)
class MaskAugmentConfig:
    """How training pictures and their masks vary. The defaults are the paper's (A2.3).

    Attributes:
        crop: (height, width) in pixels of a training crop; smaller pictures are padded, the padding ignored.
        ratio: smallest and largest factor a picture is resized by.
        short_side: before that factor, resized to this shorter side; None: from the picture's own size.
        long_side: but no further than to this longer side.
        one_class_limit: a crop in which one class has a larger share of the labelled pixels is drawn again,
            ten times at most; 1 takes every crop.
        hflip: probability of a mirror image.
        photometric: vary brightness, contrast, saturation and hue.
    """

    crop: tuple[int, int] = (512, 512)
    ratio: tuple[float, float] = (0.5, 2.0)
    short_side: int | None = None
    long_side: int | None = None
    one_class_limit: float = 0.75
    hflip: float = 0.5
    photometric: bool = True

    def __post_init__(self) -> None:
        if min(self.crop) < 1:
            raise InputError(f"a crop needs at least one pixel a side; got {self.crop}.")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise InputError(f"ratio must be two numbers, 0 < low <= high; got {self.ratio}.")
        for name in ("short_side", "long_side"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"augment.{name} must be at least 1 pixel; got {value}.")
        if not 0 < self.one_class_limit <= 1 or not 0 <= self.hflip <= 1:
            raise InputError(
                "one_class_limit must be above 0 and at most 1 and hflip from 0 to 1; got "
                f"{self.one_class_limit} and {self.hflip}."
            )
