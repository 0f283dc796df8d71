"""ATSS against outputs of the published code, and its published key file, complete."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from golden_cases import ROOT
from golden_detectors import (
    close,
    fits_key_by_key,
    goes_both_ways,
    same_dense_detections,
    same_dense_maps,
    same_gradient_norm,
)
from swinkit.backbones import SwinConfig
from swinkit.build import build_model
from swinkit.detection.atss import AtssDetector
from swinkit.detection.config import DetectorConfig, FpnConfig, SelectConfig
from swinkit.detection.config_dense import AtssConfig
from swinkit.detection.structures import Targets
from swinkit.spec import ModelSpec
from swinkit.weights import infer_spec, load_weights

GOLDEN = Path(os.environ.get("SWINKIT_GOLDEN") or ROOT.parent.parent / "shared" / "golden")
needs_golden = pytest.mark.skipif(
    not (GOLDEN / "atss").is_dir(), reason="no ATSS case here: set SWINKIT_GOLDEN to its folder"
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
            neck=FpnConfig(
                channels=neck["out_channels"],
                levels=neck["num_outs"],
                start=neck["start_level"],
                extra="conv" if neck["add_extra_convs"] == "on_output" else "pool",
            ),
            head=AtssConfig(
                channels=head["feat_channels"],
                convs=head["stacked_convs"],
                scale=head["anchor_generator"]["octave_base_scale"],
                candidates=train["assigner"]["topk"],
                deviations=tuple(head["bbox_coder"]["target_stds"]),
                box_weight=head["loss_bbox"]["loss_weight"],
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
def case() -> tuple[AtssDetector, dict[str, Tensor], list[tuple[int, int]]]:
    """Model, tensors and true sizes."""
    about = json.loads((GOLDEN / "atss" / "case.json").read_text())
    spec = spec_of_case(about["config"])
    model = build_model(spec)
    report = load_weights(model, load_file(GOLDEN / "atss" / "weights.safetensors"), spec=spec)
    assert (report.format, report.resized, report.fresh, report.unused) == ("official_atss", [], [], [])
    io = load_file(GOLDEN / "atss" / "io.safetensors")
    height, width = about["image_size"]
    return model.eval(), io, [(height, width)] * len(io["image"])


@needs_golden
@torch.inference_mode()
def test_maps_are_the_published_ones(case) -> None:
    model, io, _ = case
    same_dense_maps(model, io)


@needs_golden
@torch.inference_mode()
def test_detections_are_the_published_ones(case) -> None:
    model, io, sizes = case
    same_dense_detections(model, io, sizes)


@needs_golden
def test_losses_and_gradients_are_the_published_ones(case) -> None:
    model, io, sizes = case
    targets = [Targets(io[f"gt.{i}.boxes"], io[f"gt.{i}.labels"]) for i in range(len(sizes))]
    model.zero_grad()
    losses = model.losses(io["image"], sizes, targets)
    for ours, theirs in (("classes", "cls"), ("boxes", "bbox"), ("centerness", "centerness")):
        wanted = torch.cat([io[f"loss.loss_{theirs}.{level}"] for level in range(5)])
        close(losses[ours], wanted, ours)
    torch.stack([value.sum() for value in losses.values()]).sum().backward()
    same_gradient_norm(model, io)


@needs_golden
def test_the_case_is_recognised_by_its_keys_alone(case) -> None:
    model, _, _ = case
    found = infer_spec(load_file(GOLDEN / "atss" / "weights.safetensors")).config
    assert isinstance(found, DetectorConfig)
    assert (found.neck, found.head) == (model.config.neck, model.config.head)
    assert isinstance(found.backbone, SwinConfig)
    assert (found.num_classes, found.backbone.out_indices) == (5, (0, 1, 2, 3))
    assert (found.select.iou, found.select.before_nms) == (0.6, 1000)


def test_the_full_size_checkpoint_fits_key_by_key(golden_dir: Path) -> None:
    keys = golden_dir / "keys" / "atss_swin_tiny.json"
    model, spec, state = fits_key_by_key(keys, name="atss_swin_tiny_patch4_window7_224", fmt="official_atss")
    assert len(spec.class_names) == 80
    for fmt in ("official_atss", "mmdet3_atss"):
        goes_both_ways(model, spec, state, fmt)
