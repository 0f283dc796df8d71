"""Cases of outputs of published detectors, and what all of them are compared by."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from golden_cases import ROOT
from swinkit.backbones import SwinConfig
from swinkit.detection.structures import Targets
from swinkit.ops.boxes import pairwise_iou

TOLERANCE = 1e-4
"""Of the tensor's largest value."""
PIXELS = 1e-3
Io = dict[str, Tensor]


def detector_cases(*types: str) -> list[Any]:
    """Every case of detectors of these types; one that skips where there are none."""
    shared = Path(os.environ.get("SWINKIT_GOLDEN") or ROOT.parent.parent / "shared" / "golden")
    found = []
    for label, root in (("slim", ROOT / "golden"), ("golden", shared)):
        for path in sorted(root.glob("*/case.json")):
            if json.loads(path.read_text()).get("config", {}).get("type") in types:
                found.append(pytest.param(path.parent, id=f"{label}-{path.parent.name}"))
    reason = "no such cases here: set SWINKIT_GOLDEN to their folder"
    return found or [pytest.param(None, marks=pytest.mark.skip(reason=reason))]


def config_of(folder: Path) -> dict[str, Any]:
    """The published configuration of a case."""
    return json.loads((folder / "case.json").read_text())["config"]


def trunk_of(config: dict[str, Any]) -> SwinConfig:
    """The backbone of a case's configuration."""
    trunk = config["backbone"]
    return SwinConfig(
        embed_dim=trunk["embed_dim"],
        depths=tuple(trunk["depths"]),
        num_heads=tuple(trunk["num_heads"]),
        window_size=trunk["window_size"],
        mlp_ratio=trunk["mlp_ratio"],
        qkv_bias=trunk["qkv_bias"],
        patch_norm=trunk["patch_norm"],
        position="both" if trunk["ape"] else "relative",
        window_policy="pad",
        drop_path_rate=trunk["drop_path_rate"],
        out_indices=tuple(trunk["out_indices"]),
    )


def close(got: Tensor, wanted: Tensor, what: str) -> None:
    """Compare to TOLERANCE of the largest value."""
    assert got.shape == wanted.shape, f"{what}: {tuple(got.shape)}, expected {tuple(wanted.shape)}"
    error = float((got.detach() - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))
    assert error <= TOLERANCE, f"{what}: relative error {error:.2e}"


def sizes_of(folder: Path, io: Io) -> list[tuple[int, int]]:
    """True (height, width) of each picture."""
    height, width = json.loads((folder / "case.json").read_text())["image_size"]
    return [(height, width)] * len(io["image"])


def targets_of(io: Io, count: int) -> list[Targets]:
    """The objects of each picture."""
    return [Targets(io[f"gt.{i}.boxes"], io[f"gt.{i}.labels"], io.get(f"gt.{i}.masks")) for i in range(count)]


def same_boxes(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    wanted_boxes: Tensor,
    wanted_scores: Tensor,
    wanted_labels: Tensor | None,
    pixels: float = PIXELS,
) -> Tensor:
    """Check boxes to `pixels`, as sets where scores are equal to float32 noise; return our index of each."""
    assert boxes.shape == wanted_boxes.shape
    near = (wanted_scores[:, None] - scores[None]).abs() <= 1e-5
    if labels is not None and wanted_labels is not None:
        near &= wanted_labels[:, None] == labels[None]
    distance = (wanted_boxes[:, None] - boxes[None]).abs().amax(dim=-1)
    distance = torch.where(near, distance, torch.inf)
    order = distance.argmin(dim=1)
    worst = distance.min(dim=1).values.max()
    assert worst <= pixels, f"a box is {float(worst):.2e} pixels away"
    assert len(order.unique()) == len(order) or bool((pairwise_iou(boxes, boxes) > 0.999).sum() > len(order))
    return order
