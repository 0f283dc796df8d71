"""What data to read and how to augment it, as frozen dataclasses; their docstrings are the commands' help."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from swinkit.errors import InputError

DataKind = Literal["auto", "folder", "digits", "cifar10", "cifar100", "imagenet", "webdataset"]
Split = Literal["train", "val", "test", "all"]
Interpolation = Literal["bicubic", "bilinear", "nearest"]


@dataclass(frozen=True, kw_only=True)
class LoadingConfig:
    """How any data is read.

    Attributes:
        batch_size: pictures a step and device.
        workers: loading processes a device; -1 chooses by the machine.
    """

    batch_size: int = 64
    workers: int = -1

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size must be at least 1; got {self.batch_size}.")
        if self.workers < -1:
            raise InputError(f"workers must be -1 (choose by the machine), 0 or more; got {self.workers}.")


@dataclass(frozen=True, kw_only=True)
class DataConfig(LoadingConfig):
    """Where the pictures come from.

    Attributes:
        kind: "auto" recognises a folder of classes or of tar shards; "digits" is built in and needs no path.
        path: folder of the data: CLASS/picture.jpg, or train/ and val/ (and test/) folders of classes, or tar
            shards.
        val_path: another folder of classes to validate on.
        val_fraction: share of the training pictures held out, class by class, where the data has no
            validation part.
        split_seed: which pictures are held out.
        batch_size: pictures a step and device.
        workers: loading processes a device; -1 chooses by the machine.
        bad_pictures: what a damaged picture does: stop with its name, or be named once and left out (every
            picture is then decoded once at the start).
        cache: "auto" keeps decoded pictures in memory when all of them fit in 1 GiB.
        download: fetch CIFAR when it is not at `path` yet.
        shards: tar shards of WebDataset anywhere: a pattern such as https://host/train-{0000..0099}.tar.
        val_shards: the same for validation.
        samples: training pictures in `shards`; counted when the shards are local files.
        val_samples: pictures in `val_shards`; counted when they are local files.
    """

    kind: DataKind = "auto"
    path: Path | None = None
    val_path: Path | None = None
    val_fraction: float = 0.1
    split_seed: int = 0
    bad_pictures: Literal["error", "skip"] = "error"
    cache: Literal["auto", "off"] = "auto"
    download: bool = True
    shards: str | None = None
    val_shards: str | None = None
    samples: int | None = None
    val_samples: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("kind", self.kind, get_args(DataKind))
        _check_choice("bad_pictures", self.bad_pictures, ("error", "skip"))
        _check_choice("cache", self.cache, ("auto", "off"))
        _check_range("val_fraction", self.val_fraction, 0, 1)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DataConfig":
        """Build from a JSON object such as the "data" of a run folder's config.json.

        Raises:
            InputError: an unknown key or a bad value.
        """
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"unknown data setting {unknown[0]!r}: known are {', '.join(sorted(known))}.")
        paths = {name: Path(values[name]) for name in ("path", "val_path") if values.get(name) is not None}
        return cls(**{**values, **paths})


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How training pictures vary. The defaults are the paper's ImageNet-1K recipe (A2.1).

    Attributes:
        scale: smallest and largest share of the picture's area a random crop takes.
        ratio: narrowest and widest width / height of a random crop.
        hflip: probability of a horizontal flip.
        rand_magnitude: RandAugment's magnitude, 0 to 10; 0 switches it off.
        rand_std: standard deviation of the magnitude.
        rand_increasing: every operation grows stronger with the magnitude.
        color_jitter: strength of brightness, contrast and saturation jitter; used only without RandAugment.
        erasing: probability that a random rectangle is replaced with noise.
        interpolation: resampling filter.
        mixup: alpha of mixup's beta distribution; 0 switches it off.
        cutmix: alpha of CutMix's beta distribution; 0 switches it off.
        mix_probability: share of batches that are mixed.
        switch_probability: share of mixed batches that CutMix gets when both are on.
        label_smoothing: probability spread evenly over all classes.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    hflip: float = 0.5
    rand_magnitude: float = 9.0
    rand_std: float = 0.5
    rand_increasing: bool = True
    color_jitter: float = 0.4
    erasing: float = 0.25
    interpolation: Interpolation = "bicubic"
    mixup: float = 0.8
    cutmix: float = 1.0
    mix_probability: float = 1.0
    switch_probability: float = 0.5
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        for name in ("hflip", "erasing", "mix_probability", "switch_probability", "label_smoothing"):
            _check_range(name, getattr(self, name), 0, 1)
        _check_range("rand_magnitude", self.rand_magnitude, 0, 10)
        for name in ("rand_std", "color_jitter", "mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative; got {getattr(self, name)}.")
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if not 0 < low <= high:
                raise InputError(f"{name} must be two numbers, 0 < low <= high; got {low}, {high}.")
        if self.scale[1] > 1:
            raise InputError(f"scale is a share of the picture, at most 1; got {self.scale[1]}.")
        _check_choice("interpolation", self.interpolation, get_args(Interpolation))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}; got {value!r}.")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"{name} must be from {low} to {high}; got {value}.")
