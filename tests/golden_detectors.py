"""Cases of outputs of published detectors, and what all of them are compared by."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from golden_cases import ROOT, meta_state
from swinkit.backbones import SwinConfig
from swinkit.build import build_model
from swinkit.detection.structures import Targets
from swinkit.ops.boxes import pairwise_iou
from swinkit.spec import ModelSpec
from swinkit.weights import detect_format, from_swinkit, infer_spec, load_weights

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


def same_gradient_norm(model: nn.Module, io: Io) -> None:
    """Compare the norm of all gradients, which the losses have left."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    close(nn.utils.get_total_norm(gradients).view(1), io["grad_norm"], "gradient norm")


def same_dense_maps(model: Any, io: Io) -> None:
    """Compare the pyramid's levels and everything that a dense head says of them."""
    levels = model.features(io["image"])
    outputs = model.dense(levels)
    assert len(levels) == 5
    for number, level in enumerate(levels):
        close(level, io[f"neck.{number}"], f"neck {number}")
        for kind, maps in enumerate(outputs):
            close(maps[number], io[f"head.{kind}.{number}"], f"output {kind} of level {number}")


def same_dense_detections(model: Any, io: Io, sizes: list[tuple[int, int]]) -> None:
    """Compare every picture's detections: scores in order, each box to PIXELS, none taken twice."""
    for picture, found in enumerate(model(io["image"], sizes)):
        wanted = {name: io[f"det.{picture}.{name}"] for name in ("boxes", "scores", "labels")}
        assert len(found) == len(wanted["scores"])
        torch.testing.assert_close(found.scores, wanted["scores"], atol=1e-5, rtol=0)
        near = (found.scores[None] - wanted["scores"][:, None]).abs() <= 1e-5
        near &= found.labels[None] == wanted["labels"][:, None]
        distance = (found.boxes[None] - wanted["boxes"][:, None]).abs().amax(dim=-1)
        nearest = torch.where(near, distance, torch.inf).min(dim=1)
        assert float(nearest.values.max()) <= PIXELS
        assert len(nearest.indices.unique()) == len(found)


def fits_key_by_key(keys: Path, *, name: str, fmt: str) -> tuple[nn.Module, ModelSpec, dict[str, Tensor]]:
    """Check a full-size key file: recognised, every key used, every parameter filled, and written back alike.

    Returns:
        The model without memory for its weights, its specification, the file's tensors.
    """
    state, parameters = meta_state(keys)
    spec = infer_spec(state)
    assert spec.name == name
    with torch.device("meta"):
        model = build_model(spec)
    report = load_weights(model, state, spec=spec)
    assert (report.format, report.resized, report.fresh, report.unused) == (fmt, [], [], [])
    assert sum(p.numel() for p in model.parameters()) == parameters
    back = from_swinkit(model.state_dict(), fmt, spec)
    learnt = {key for key in state if not key.endswith("relative_position_index")}
    assert back.keys() == learnt
    assert all(back[key].shape == state[key].shape for key in learnt)
    return model, spec, state


def goes_both_ways(model: nn.Module, spec: ModelSpec, state: dict[str, Tensor], fmt: str) -> None:
    """Check that a dense detector is written in a format with the heads' published names, and read again."""
    theirs = from_swinkit(model.state_dict(), fmt, spec)
    assert detect_format(theirs) == fmt
    heads = {key for key in state if key.startswith(("neck.", "bbox_head."))}
    assert {key for key in theirs if not key.startswith("backbone.")} == heads
    again = load_weights(model, theirs, spec=spec)
    assert (again.resized, again.fresh, again.unused) == ([], [], [])
