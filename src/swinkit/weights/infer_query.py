"""Which Sparse R-CNN a file holds, read off the shapes of its tensors."""

import re
from dataclasses import replace

from swinkit.backbones.config import BackboneConfig
from swinkit.detection.config import DetectorConfig, FpnConfig
from swinkit.detection.published import published_select
from swinkit.detection.sparse_config import sparse_rcnn
from swinkit.weights.formats import State


def is_sparse_rcnn(ours: State) -> bool:
    """Whether these tensors, by our names, are a Sparse R-CNN's."""
    return "proposals.boxes" in ours


def infer_sparse_rcnn(ours: State, backbone: BackboneConfig) -> DetectorConfig:
    """Return the detector of these tensors; what they do not tell is as in the published configuration."""
    proposals, channels = ours["proposals.features"].shape
    cells = ours["roi.0.interaction.gather.weight"].shape[1] // channels
    head = replace(
        sparse_rcnn(),
        proposals=proposals,
        stages=_count(ours, r"roi\.(\d+)\."),
        pool=round(cells**0.5),
        hidden=ours["roi.0.fc1.weight"].shape[0],
        dynamic=ours["roi.0.interaction.norm_in.weight"].shape[0],
        class_fcs=_count(ours, r"roi\.0\.class_fcs\.(\d+)\."),
        box_fcs=_count(ours, r"roi\.0\.box_fcs\.(\d+)\."),
    )
    return DetectorConfig(
        backbone=backbone,
        num_classes=ours["roi.0.classes.weight"].shape[0],
        neck=FpnConfig(channels=channels, levels=_count(ours, r"neck\.outputs\.(\d+)\.")),
        head=head,
        select=published_select(head),
    )


def _count(ours: State, pattern: str) -> int:
    return len({found[1] for key in ours if (found := re.match(pattern, key))})
