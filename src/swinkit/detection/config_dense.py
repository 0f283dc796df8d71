"""Configurations of the detectors that look at every point of the pyramid: ATSS and RepPoints v2."""

from dataclasses import dataclass

from swinkit.errors import InputError


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
