"""A segmentation model, its losses and its way of reading pictures, as plain data."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from swinkit.backbones.config import SwinConfig, TrunkConfig
from swinkit.errors import InputError
from swinkit.ops.windows import Pair

IGNORE = 255
"""Label of a pixel that is neither learned from nor scored, in every mask inside the library."""

InferenceMode = Literal["whole", "slide"]
MeanOver = Literal["labelled", "all"]


@dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """How pictures of any size become masks.

    Attributes:
        mode: whole: one pass over the picture; slide: crops every `stride` pixels, overlaps averaged.
        crop: (height, width) in pixels of a crop, also of the tiles that large pictures are cut into.
        stride: (rows, columns) in pixels from one crop to the next.
        short_side: pictures are resized, keeping their shape, until this is their shorter side; None: not.
        long_side: but no further than to this longer side.
        scales: pictures are read at these sizes, relative to the above, and the probabilities averaged.
        flip: at each scale also mirrored.
        tile_from: pictures that the network would see with more pixels than this are cut into tiles of
            `crop`, which bounds the memory: UperNet joins 2,048 channels at a quarter of the size.
    """

    mode: InferenceMode = "whole"
    crop: Pair = (512, 512)
    stride: Pair = (341, 341)
    short_side: int | None = None
    long_side: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    tile_from: int = 2_100_000

    @property
    def several(self) -> bool:
        """Whether a picture is read more than once, or at another scale."""
        return self.flip or self.scales != (1.0,)

    def __post_init__(self) -> None:
        if self.mode not in get_args(InferenceMode):
            raise InputError(f"inference mode must be whole or slide; got {self.mode!r}.")
        if min(self.crop) < 1 or not all(0 < s <= c for s, c in zip(self.stride, self.crop, strict=True)):
            raise InputError(
                f"a stride must be from 1 to the side of its crop; got stride {self.stride} for crops of "
                f"{self.crop}."
            )
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise InputError(f"scales must be numbers above 0; got {self.scales}.")
        for name in ("short_side", "long_side", "tile_from"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"inference.{name} must be at least 1 pixel; got {value}.")


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    """UperNet: a backbone, pyramid pooling, a feature pyramid, and an auxiliary head (A2.3).

    Attributes:
        backbone: what gives the four maps.
        num_classes: classes of the masks.
        channels: of every map in the decode head.
        pool_scales: grids of the pyramid pooling over the coarsest map.
        dropout: on the maps both classifiers read, whole channels at a time.
        auxiliary_channels: of the auxiliary head; 0 for no such head.
        auxiliary_convs: its 3 x 3 convolutions.
        auxiliary_index: which of the backbone's maps it reads.
        palette: (red, green, blue) of each class for pictures; empty for the library's own colours.
        inference: how the model reads pictures.
    """

    backbone: TrunkConfig = field(default_factory=lambda: SwinConfig(window_policy="pad"))
    num_classes: int = 150
    channels: int = 512
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    dropout: float = 0.1
    auxiliary_channels: int = 256
    auxiliary_convs: int = 1
    auxiliary_index: int = 2
    palette: tuple[tuple[int, int, int], ...] = ()
    inference: InferenceConfig = field(default_factory=InferenceConfig)

    def __post_init__(self) -> None:
        if not 2 <= self.num_classes < IGNORE:
            raise InputError(
                f"a segmentation model has 2 to {IGNORE - 1} classes, since masks have 8 bits and in them "
                f"{IGNORE} means ignore; got {self.num_classes}."
            )
        if min(self.channels, self.auxiliary_channels + 1, self.auxiliary_convs + 1, *self.pool_scales) < 1:
            raise InputError(
                "channels and pool_scales must be 1 or more, auxiliary channels and convolutions 0 or more; "
                f"got {self.channels}, {self.pool_scales}, {self.auxiliary_channels}, {self.auxiliary_convs}."
            )
        if self.palette and len(self.palette) != self.num_classes:
            raise InputError(f"{len(self.palette)} colours for {self.num_classes} classes: give one each.")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What is minimised: a weighted sum over the decode head, and `auxiliary` times the same over the other.

    Attributes:
        cross_entropy: weight of the cross-entropy.
        dice: weight of the Dice loss, which counts every class alike however few pixels it has.
        auxiliary: weight of the auxiliary head's losses.
        class_weights: of the cross-entropy: none; counted: 1 / ln(1.02 + share) of the class's share of the
            training pixels, scaled to a mean of 1 over the pixels; or one number a class.
        counted_power: exponent of counted weights before they are scaled. Full weights (1) find the rarest
            classes at the cost of calling other things by their names; 0.5 costs the frequent classes less.
        mean_over: what the cross-entropy is averaged over: labelled pixels, or all of them, ignored ones
            included, as the published code does.
    """

    cross_entropy: float = 1.0
    dice: float = 0.0
    auxiliary: float = 0.4
    class_weights: Literal["none", "counted"] | tuple[float, ...] = "none"
    counted_power: float = 1.0
    mean_over: MeanOver = "labelled"

    def __post_init__(self) -> None:
        if min(self.cross_entropy, self.dice, self.auxiliary) < 0 or self.cross_entropy + self.dice == 0:
            raise InputError(
                "loss weights must be 0 or more and one of cross_entropy and dice above 0; got "
                f"cross_entropy {self.cross_entropy}, dice {self.dice}, auxiliary {self.auxiliary}."
            )
        if not 0 <= self.counted_power <= 1:
            raise InputError(f"counted_power must be from 0 to 1; got {self.counted_power}.")
        if self.mean_over not in get_args(MeanOver):
            raise InputError(f"mean_over must be labelled or all; got {self.mean_over!r}.")
        if isinstance(self.class_weights, str):
            if self.class_weights not in ("none", "counted"):
                raise InputError(
                    f"class_weights must be none, counted or one number a class; got {self.class_weights!r}."
                )
        elif not all(0 < weight < math.inf for weight in self.class_weights):
            raise InputError(
                f"class weights must be numbers above 0; got {self.class_weights}: a class that is not to "
                "count is called void in the class file."
            )
