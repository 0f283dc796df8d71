"""RepPoints v2 against outputs of the published code, and its published key file, complete."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from golden_cases import ROOT, meta_state
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
from swinkit.detection.config import DetectorConfig, SelectConfig
from swinkit.detection.config_dense import BiFpnConfig, RepPointsV2Config
from swinkit.detection.foreground import foreground_weights
from swinkit.detection.reppoints_v2 import RepPointsV2Detector
from swinkit.detection.structures import Targets
from swinkit.spec import ClassifierConfig, ModelSpec
from swinkit.weights import detect_format, infer_spec, load_weights

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
    same_gradient_norm(model, io)


@needs_golden
def test_the_foreground_is_the_published_one(case) -> None:
    _, io, sizes = case
    for picture in range(len(sizes)):
        target = Targets(io[f"gt.{picture}.boxes"], io[f"gt.{picture}.labels"])
        weights = foreground_weights(target, 5, (20, 28), 8)
        close(weights, io["gt.semantic_weights"][picture], "weights of the foreground")
        assert torch.equal(weights > 0, io["gt.semantic_map"][picture] > 0)


@needs_golden
def test_the_case_is_recognised_by_its_keys_alone(case) -> None:
    """All but the groups of the norms, which the tensors do not tell."""
    model, _, _ = case
    found = infer_spec(load_file(GOLDEN / "reppoints-v2" / "weights.safetensors")).config
    assert isinstance(found, DetectorConfig)
    assert isinstance(found.neck, BiFpnConfig)
    assert isinstance(found.head, RepPointsV2Config)
    assert isinstance(found.backbone, SwinConfig)
    assert replace(found.neck, groups=8) == model.config.neck
    assert replace(found.head, groups=8) == model.config.head
    assert (found.num_classes, found.backbone.out_indices) == (5, (1, 2, 3))
    assert (found.select.iou, found.select.before_nms) == (0.6, 1000)


def test_the_full_size_checkpoint_fits_key_by_key(golden_dir: Path) -> None:
    keys = golden_dir / "keys" / "reppointsv2_swin_tiny_patch4_window7_3x.json"
    model, spec, state = fits_key_by_key(
        keys, name="reppoints_v2_swin_tiny_patch4_window7_224", fmt="official_reppoints_v2"
    )
    assert len(spec.class_names) == 80
    for fmt in ("official_reppoints_v2", "mmdet3_reppoints_v2"):
        goes_both_ways(model, spec, state, fmt)


def test_of_the_variant_with_masks_the_backbone_is_read(golden_dir: Path) -> None:
    state, _ = meta_state(golden_dir / "keys" / "mask_reppointsv2_swin_tiny_patch4_window7_3x.json")
    spec = infer_spec(state)
    assert detect_format(state) == "official_dense"
    assert isinstance(spec.config, ClassifierConfig)
    assert isinstance(spec.config.backbone, SwinConfig)
    assert spec.config.backbone.out_indices == (1, 2, 3)
