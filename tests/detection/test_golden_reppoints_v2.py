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
from swinkit.backbones import SwinConfig
from swinkit.build import build_model
from swinkit.detection.config import DetectorConfig, SelectConfig
from swinkit.detection.config_dense import BiFpnConfig, RepPointsV2Config
from swinkit.detection.foreground import foreground_weights
from swinkit.detection.reppoints_v2 import RepPointsV2Detector
from swinkit.detection.structures import Targets
from swinkit.spec import ClassifierConfig, ModelSpec
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
    state, parameters = meta_state(golden_dir / "keys" / "reppointsv2_swin_tiny_patch4_window7_3x.json")
    spec = infer_spec(state)
    assert spec.name == "reppoints_v2_swin_tiny_patch4_window7_224"
    assert len(spec.class_names) == 80
    with torch.device("meta"):
        model = build_model(spec)
    report = load_weights(model, state, spec=spec)
    assert report.format == "official_reppoints_v2"
    assert (report.resized, report.fresh, report.unused) == ([], [], [])
    assert sum(p.numel() for p in model.parameters()) == parameters
    for fmt in ("official_reppoints_v2", "mmdet3_reppoints_v2"):
        theirs = from_swinkit(model.state_dict(), fmt, spec)
        assert detect_format(theirs) == fmt
        heads = {key for key in state if key.startswith(("neck.", "bbox_head."))}
        assert {key for key in theirs if not key.startswith("backbone.")} == heads
        again = load_weights(model, theirs, spec=spec)
        assert (again.resized, again.fresh, again.unused) == ([], [], [])
    back = from_swinkit(model.state_dict(), report.format, spec)
    learnt = {key for key in state if not key.endswith("relative_position_index")}
    assert back.keys() == learnt
    assert all(back[key].shape == state[key].shape for key in learnt)


def test_of_the_variant_with_masks_the_backbone_is_read(golden_dir: Path) -> None:
    state, _ = meta_state(golden_dir / "keys" / "mask_reppointsv2_swin_tiny_patch4_window7_3x.json")
    spec = infer_spec(state)
    assert detect_format(state) == "official_dense"
    assert isinstance(spec.config, ClassifierConfig)
    assert isinstance(spec.config.backbone, SwinConfig)
    assert spec.config.backbone.out_indices == (1, 2, 3)
