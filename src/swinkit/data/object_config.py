"""Where pictures with objects come from and how they vary in training; the docstrings are the command line's
help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from swinkit.data.config import LoadingConfig
from swinkit.errors import InputError

ObjectKind = Literal["auto", "coco", "yolo", "voc"]


@dataclass(frozen=True, kw_only=True)
class ObjectDataConfig(LoadingConfig):
    """Where the pictures and their objects come from.

    Attributes:
        kind: coco: annotations/*.json, a JSON beside the pictures of each part, or one JSON file; yolo:
            images/ and labels/ with a text file a picture; voc: an XML file a picture; auto tells them apart.
        path: folder of the data, or a COCO JSON file.
        pictures: folder of the pictures, where it is not found beside the annotations.
        val_fraction: share of the pictures held out where the data has no validation part.
        split_seed: which pictures are held out.
        bad: what a wrong annotation or a damaged picture does: stop with its name, or be named and left out.
        keep_empty: whether pictures without objects are trained on.
        group_by_shape: batches hold only upright, or only lying pictures, so that little is padded.
        batch_size: pictures a step and device.
        workers: loading processes a device; -1 chooses by the machine.
    """

    kind: ObjectKind = "auto"
    path: Path | None = None
    pictures: Path | None = None
    val_fraction: float = 0.1
    split_seed: int = 0
    bad: Literal["error", "skip"] = "error"
    keep_empty: bool = True
    group_by_shape: bool = True
    batch_size: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in get_args(ObjectKind):
            raise InputError(f"kind must be one of {', '.join(get_args(ObjectKind))}; got {self.kind!r}.")
        if not 0 <= self.val_fraction < 1:
            raise InputError(f"val_fraction must be from 0 to below 1; got {self.val_fraction}.")


@dataclass(frozen=True, kw_only=True)
class ObjectAugmentConfig:
    """How training pictures and their objects vary. The defaults are the paper's (A2.2).

    Attributes:
        short_sides: a picture is resized to one of these short sides, in pixels, drawn at random,
        long_side: but its long side stays at most this.
        crop_probability: share of pictures of which a part is taken first:
        crop_sides: resized to one of these short sides, the long side limited as above,
        crop_range: a part of (smallest, largest) pixels a side is cut out, and then resized as above.
        ratio: instead of all that, the picture is resized by a factor from (smallest, largest) and cut, or
            padded, to `size`. None: as above.
        size: (height, width) in pixels of a training picture, with `ratio`.
        hflip: probability of a mirror image.
        vflip: probability of turning upside down; for pictures that have no up.
        color_jitter: strength of brightness, contrast and saturation jitter; 0 for none.
    """

    short_sides: tuple[int, ...] = tuple(range(480, 801, 32))
    long_side: int = 1333
    crop_probability: float = 0.5
    crop_sides: tuple[int, ...] = (400, 500, 600)
    crop_range: tuple[int, int] = (384, 600)
    ratio: tuple[float, float] | None = None
    size: tuple[int, int] = (512, 512)
    hflip: float = 0.5
    vflip: float = 0.0
    color_jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("crop_probability", "hflip", "vflip"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be from 0 to 1; got {getattr(self, name)}.")
        if not self.short_sides or not self.crop_sides or min(*self.short_sides, *self.crop_sides) < 1:
            raise InputError("short_sides and crop_sides need at least one size of 1 pixel or more.")
        if self.long_side < 1 or min(self.size) < 1:
            raise InputError(
                f"long_side and size must be 1 pixel or more; got {self.long_side} and {self.size}."
            )
        if self.color_jitter < 0:
            raise InputError(f"color_jitter must be 0 or more; got {self.color_jitter}.")
        for name, pair in (("crop_range", self.crop_range), ("ratio", self.ratio or (1, 1))):
            if not 0 < pair[0] <= pair[1]:
                raise InputError(f"{name} must be two numbers, 0 < low <= high; got {pair}.")
