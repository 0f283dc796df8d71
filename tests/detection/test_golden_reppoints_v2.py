"""RepPoints v2 against outputs of the published code, and its published key file, complete."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from golden_cases import ROOT, meta_state
from swinkit.backbones import SwinConfig
from swinkit.build import build_model
from swinkit.detection.reppoints_v2 import RepPointsV2Detector
from swinkit.detection.config import DetectorConfig, SelectConfig
from swinkit.detection.config_dense import BiFpnConfig, RepPointsV2Config
from swinkit.detection.structures import Targets
from swinkit.spec import ModelSpec
from swinkit.weights import detect_format, from_swinkit, infer_spec, load_weights

TOLERANCE = 1e-4
PIXELS = 1e-3
GOLDEN = Path(os.environ.get("SWINKIT_GOLDEN") or ROOT.parent.parent / "shared" / "golden")
needs_golden = pytest.mark.skipif(
    not (GOLDEN / "reppoints-v2").is_dir(),
    reason="no RepPoints v2 case here: set SWINKIT_GOLDEN to its folder",
)


def spec_of_case(config: dict[str, Any]) -> ModelSpec:
    """The model that case.json describes."""
    trunk, neck, head = config["backbone"], config["neck"], config["bbox_head"]
    train, test = config["train_cfg"], config["test_cfg"]
    return ModelSpec(
        config=DetectorConfig(
            backbone=SwinConfig(
                embed_dim=trunk["embed_dim"],
                depths=tuple(trunk["depths"]),
                num_heads=tuple(trunk["num_heads"]),
                window_size=trunk["window_size"],
                window_policy="pad",
                drop_path_rate=0.0,
                out_indices=tuple(trunk["out_indices"]),
            ),
            num_classes=head["num_classes"],
            neck=BiFpnConfig(
                channels=neck["out_channels"],
                levels=neck["num_outs"],
                start=neck["start_level"],
                repeats=neck["num_repeat"],
                groups=neck["norm_cfg"]["num_groups"],
            ),
            head=RepPointsV2Config(
                channels=head["feat_channels"],
                convs=head["stacked_convs"],
                shared_convs=head["shared_stacked_convs"],
                corner_channels=head["corner_dim"],
                groups=head["norm_cfg"]["num_groups"],
                scale=train["init"]["assigner"]["scale"],
                candidates=train["refine"]["assigner"]["topk"],
                corner_iou=train["heatmap"]["assigner"]["gaussian_iou"],
                gradient=head["gradient_mul"],
                first_weight=head["loss_bbox_init"]["loss_weight"],
                refined_weight=head["loss_bbox_refine"]["loss_weight"],
                heat_weight=head["loss_heatmap"]["loss_weight"],
                offset_weight=head["loss_offset"]["loss_weight"],
                foreground_weight=head["loss_sem"]["loss_weight"],
            ),
            select=SelectConfig(
                before_nms=test["nms_pre"],
                score=test["score_thr"],
                iou=test["nms"]["iou_threshold"],
                most=test["max_per_img"],
            ),
        )
    )


@pytest.fixture(scope="module")
def case() -> tuple[RepPointsV2Detector, dict[str, Tensor], list[tuple[int, int]]]:
    """Model, tensors and true sizes."""
    about = json.loads((GOLDEN / "reppoints-v2" / "case.json").read_text())
    spec = spec_of_case(about["config"])
    model = build_model(spec)
    report = load_weights(model, load_file(GOLDEN / "reppoints-v2" / "weights.safetensors"), spec=spec)
    assert (report.format, report.resized, report.fresh, report.unused) == (
        "official_reppoints_v2",
        [],
        [],
        [],
    )
    io = load_file(GOLDEN / "reppoints-v2" / "io.safetensors")
    height, width = about["image_size"]
    return model.eval(), io, [(height, width)] * len(io["image"])


def close(got: Tensor, wanted: Tensor, what: str) -> None:
    assert got.shape == wanted.shape, f"{what}: {tuple(got.shape)}, expected {tuple(wanted.shape)}"
    error = float((got.detach() - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))
    assert error <= TOLERANCE, f"{what}: relative error {error:.2e}"


@needs_golden
@torch.inference_mode()
def test_maps_are_the_published_ones(case) -> None:
    model, io, _ = case
    levels = model.features(io["image"])
    outputs = model.dense(levels)
    assert len(levels) == 5
    for number, level in enumerate(levels):
        close(level, io[f"neck.{number}"], f"neck {number}")
        for kind, maps in enumerate(outputs):
            close(maps[number], io[f"head.{kind}.{number}"], f"output {kind} of level {number}")


@needs_golden
@torch.inference_mode()
def test_detections_are_the_published_ones(case) -> None:
    model, io, sizes = case
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


@needs_golden
def test_losses_and_gradients_are_the_published_ones(case) -> None:
    model, io, sizes = case
    targets = [Targets(io[f"gt.{i}.boxes"], io[f"gt.{i}.labels"]) for i in range(len(sizes))]
    model.zero_grad()
    losses = model.losses(io["image"], sizes, targets)
    names = {
        "classes": "cls",
        "first_boxes": "pts_init",
        "refined_boxes": "pts_refine",
        "heat": "heatmap",
        "offsets": "offset",
    }
    for ours, theirs in names.items():
        wanted = torch.cat([io[f"loss.loss_{theirs}.{level}"] for level in range(5)])
        close(losses[ours], wanted, ours)
    close(losses["foreground"][None], io["loss.loss_sem"], "foreground")
    torch.stack([value.sum() for value in losses.values()]).sum().backward()
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    close(norm[None], io["grad_norm"], "gradient norm")
