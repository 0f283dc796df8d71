"""What a model is, as plain data: stored inside a checkpoint, enough to build the model again."""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from swinkit.backbones.config import (
    BackboneConfig,
    DeitPyramidConfig,
    SwinConfig,
    SwinMixerConfig,
    TimmConfig,
)
from swinkit.detection.config import DetectorConfig, TwoStageConfig
from swinkit.detection.config_dense import AtssConfig, BiFpnConfig, RepPointsV2Config
from swinkit.detection.htc_config import HtcConfig
from swinkit.detection.sparse_config import SparseConfig
from swinkit.errors import InputError
from swinkit.segmentation.config import SegmenterConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How a picture becomes a model's input at evaluation (A2.1).

    Attributes:
        size: (height, width) in pixels the network gets.
        crop_ratio: the short side is resized to size / crop_ratio, then the centre is cropped. None: the
            whole picture is resized to `size`, as the published 384-pixel evaluation does.
        interpolation: resampling filter.
        mean: per channel, of RGB in 0..1.
        std: per channel, of RGB in 0..1.
    """

    size: tuple[int, int] = (224, 224)
    crop_ratio: float | None = 0.875
    interpolation: Literal["bicubic", "bilinear", "nearest"] = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """A backbone, average pooling and a linear layer.

    Attributes:
        backbone: the trunk; only its last stage is read.
        num_classes: outputs of the head; 0 means no head (pooled features come out).
    """

    backbone: BackboneConfig = field(default_factory=SwinConfig)
    num_classes: int = 1000


TaskConfig = ClassifierConfig | SegmenterConfig | DetectorConfig
"""One a task; every one has `backbone` and `num_classes`."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A task model: what it is called, its configuration, its classes and its input.

    Attributes:
        name: catalog or variant name, or "" for a custom model.
        config: the task's typed configuration.
        class_names: one per class, in the order of the head's outputs; empty when unknown.
        preprocess: the evaluation input.
    """

    name: str = ""
    config: TaskConfig = field(default_factory=ClassifierConfig)
    class_names: tuple[str, ...] = ()
    preprocess: Preprocess = field(default_factory=Preprocess)

    def __post_init__(self) -> None:
        if self.class_names and len(self.class_names) != self.config.num_classes:
            raise InputError(
                f"{len(self.class_names)} class names for a model of {self.config.num_classes} classes: "
                "give one each."
            )


def stands_on_swin(spec: ModelSpec) -> bool:
    """Whether the model's backbone is one of ours."""
    return isinstance(spec.config.backbone, BackboneConfig)


def swin_config(spec: ModelSpec) -> BackboneConfig:
    """Return the configuration of the Swin backbone inside a model.

    Raises:
        InputError: the model stands on another backbone.
    """
    config = spec.config.backbone
    if not isinstance(config, BackboneConfig):
        raise InputError(f"this needs a Swin backbone; the model stands on {config.name}.")
    return config


WHOLE_PICTURE_FROM = 384
"""Models of this size and larger are evaluated on the whole resized picture (A2.1)."""


def evaluation_crop(size: tuple[int, int]) -> float | None:
    """The paper's `Preprocess.crop_ratio` for pictures of `size` (height, width)."""
    return None if min(size) >= WHOLE_PICTURE_FROM else 0.875


_TAGGED = {
    "swin": SwinConfig,
    "swin_mixer": SwinMixerConfig,
    "timm": TimmConfig,
    "deit_pyramid": DeitPyramidConfig,
    "classifier": ClassifierConfig,
    "segmenter": SegmenterConfig,
    "detector": DetectorConfig,
    "two_stage": TwoStageConfig,
    "atss": AtssConfig,
    "reppoints_v2": RepPointsV2Config,
    "bifpn": BiFpnConfig,
    "htc": HtcConfig,
    "sparse_rcnn": SparseConfig,
    "model": ModelSpec,
}
"""Dataclasses that may stand where several are possible, by the tag written as "kind"."""


def to_dict(value: Any) -> Any:
    """Turn a configuration dataclass into plain JSON types; `from_dict` is its inverse."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        tags = [tag for tag, cls in _TAGGED.items() if type(value) is cls]
        body = {item.name: to_dict(getattr(value, item.name)) for item in dataclasses.fields(value)}
        return {"kind": tags[0], **body} if tags else body
    if isinstance(value, (tuple, list)):
        return [to_dict(item) for item in value]
    return value


def from_dict(data: dict[str, Any], cls: type = ModelSpec) -> Any:
    """Build the dataclass `cls` from `to_dict`'s output.

    Raises:
        InputError: an unknown key, an unknown kind, or a value that the dataclass refuses.
        TypeError: a value of another type than the dataclass says.
    """
    if not isinstance(data, dict):
        raise TypeError(f"{cls.__name__} is {data!r}")
    data = dict(data)
    kind = data.pop("kind", None)
    if kind is not None:
        if kind not in _TAGGED:
            raise InputError(f"unknown model kind {kind!r}: this version knows {', '.join(_TAGGED)}.")
        cls = _TAGGED[kind]
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(data) - {item.name for item in dataclasses.fields(cls)})
    if unknown:
        raise InputError(
            f"unknown key {unknown[0]!r} in {cls.__name__}: was the file written by a newer version?"
        )
    values = {key: _restore(value, hints[key]) for key, value in data.items()}
    for key, value in values.items():
        if not _fits(value, hints[key]):
            raise TypeError(f"{key} is {data[key]!r}")
    return cls(**values)


def _restore(value: Any, hint: Any) -> Any:
    if isinstance(value, list):
        inner = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else None
        return tuple(_restore(item, inner) for item in value)
    if isinstance(value, dict):
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        classes = [item for item in options if isinstance(item, type) and dataclasses.is_dataclass(item)]
        return from_dict(value, classes[0]) if classes else value
    return value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type, of the kinds that configurations have."""
    options = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return any(_fits(value, option) for option in options)
    if typing.get_origin(hint) is Literal:
        return isinstance(value, str)  # which of them, the dataclass checks
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, tuple):
            return False
        wanted = options[:1] * len(value) if options[-1] is Ellipsis else options
        return len(value) == len(wanted) and all(map(_fits, value, wanted))
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)
