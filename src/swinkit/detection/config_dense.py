"""Configurations of the detectors that look at every point of the pyramid: ATSS and RepPoints v2."""

from dataclasses import dataclass

from swinkit.errors import InputError

CORNER_GROUPS = 32
"""Groups of the two norms inside a corner branch, which the published code fixes."""


@dataclass(frozen=True, kw_only=True)
class AtssConfig:
    """One square anchor a point; which are trained is decided by the statistics of their overlaps (Zhang et
    al., 2020).

    Attributes:
        channels: of the two towers' convolutions.
        convs: convolutions of each tower.
        groups: of their group norms.
        scale: side of an anchor, in strides of its level.
        candidates: anchors a level, nearest to an object's centre, that the statistics are of.
        deviations: standard deviations of the box deltas (x, y, width, height).
        box_weight: of the box loss.
    """

    channels: int = 256
    convs: int = 4
    groups: int = 32
    scale: float = 8.0
    candidates: int = 9
    deviations: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    box_weight: float = 2.0

    def __post_init__(self) -> None:
        check_groups("channels", self.channels, self.groups)
        if self.candidates < 2:
            raise InputError(f"statistics need at least 2 candidates a level; got {self.candidates}.")


def check_groups(name: str, channels: int, groups: int) -> None:
    """Raise InputError unless the group norm's groups divide the channels."""
    if groups < 1 or channels < groups or channels % groups:
        raise InputError(
            f"{name} must be a multiple of the {groups} groups of the group norm; got {channels}."
        )


@dataclass(frozen=True, kw_only=True)
class BiFpnConfig:
    """Bidirectional feature pyramid: down, up again, weighted sums (Tan et al., 2020).

    Attributes:
        channels: of every level.
        levels: maps that come out; those beyond the backbone's are pooled from its last one.
        start: the first of the backbone's maps that is read.
        repeats: times the way down and up is gone.
        groups: of the group norms.
    """

    channels: int = 256
    levels: int = 5
    start: int = 0
    repeats: int = 2
    groups: int = 32

    def __post_init__(self) -> None:
        check_groups("channels of the neck", self.channels, self.groups)
        if self.repeats < 1:
            raise InputError(f"the neck needs at least one repeat; got {self.repeats}.")


@dataclass(frozen=True, kw_only=True)
class RepPointsV2Config:
    """Nine points an object instead of a box, verified by its corners and its foreground (Chen et al., 2020),
    as published with Swin.

    Attributes:
        channels: of the convolutions.
        convs: convolutions of the class tower and of the point tower.
        shared_convs: convolutions after the point tower, before corners and foreground.
        corner_channels: of the maps that are pooled towards a corner.
        groups: of the group norms.
        scale: side of an object in strides of the level that its first points are trained on.
        candidates: boxes a level, nearest to an object's centre, that the refined points may be trained from.
        corner_iou: a corner this far off would still leave this overlap; it sets the width of the heat.
        gradient: share of the refinement's gradient that reaches the first points.
        first_weight: of the first points' box loss.
        refined_weight: of the refined points' box loss.
        heat_weight: of the corner heat maps' loss.
        offset_weight: of the corner offsets' loss.
        foreground_weight: of the foreground loss.
    """

    channels: int = 256
    convs: int = 3
    shared_convs: int = 1
    corner_channels: int = 64
    groups: int = 32
    scale: float = 4.0
    candidates: int = 9
    corner_iou: float = 0.7
    gradient: float = 0.1
    first_weight: float = 1.0
    refined_weight: float = 2.0
    heat_weight: float = 0.25
    offset_weight: float = 1.0
    foreground_weight: float = 0.1

    def __post_init__(self) -> None:
        check_groups("channels", self.channels, self.groups)
        check_groups("channels", self.channels, CORNER_GROUPS)
        check_groups("corner_channels", self.corner_channels, self.groups)
        if self.candidates < 2:
            raise InputError(f"statistics need at least 2 candidates a level; got {self.candidates}.")
        if not 0 < self.corner_iou < 1:
            raise InputError(f"corner_iou must be between 0 and 1; got {self.corner_iou}.")
