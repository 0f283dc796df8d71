"""Two-stage detectors against outputs of the published code, and their published key files, complete."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from golden_cases import meta_state
from golden_detectors import (
    Io,
    close,
    config_of,
    detector_cases,
    same_boxes,
    same_gradient_norm,
    sizes_of,
    targets_of,
    trunk_of,
)
from swinkit.build import build_model
from swinkit.detection.config import (
    BoxHeadConfig,
    DetectorConfig,
    FpnConfig,
    MaskHeadConfig,
    RpnConfig,
    SelectConfig,
    StageConfig,
    TwoStageConfig,
)
from swinkit.detection.extractor import to_regions
from swinkit.detection.two_stage import TwoStageDetector
from swinkit.ops.masks import paste_masks
from swinkit.spec import ModelSpec
from swinkit.weights import detect_format, from_swinkit, infer_spec, load_weights

TYPES = ("MaskRCNN", "CascadeRCNN")


def spec_of_case(folder: Path) -> ModelSpec:
    """The model that case.json describes."""
    config = config_of(folder)
    rpn, roi = config["rpn_head"], config["roi_head"]
    train, test = config["train_cfg"], config["test_cfg"]
    heads = _listed(roi["bbox_head"])
    rcnn = _listed(train["rcnn"])
    weights = roi.get("stage_loss_weights", [1.0])
    head, mask = heads[0], roi.get("mask_head")
    anchors = rpn["anchor_generator"]
    border = train["rpn"]["allowed_border"]
    assert all(item["sampler"]["num"] >= 1_000_000 for item in [train["rpn"], *rcnn]), "samplers take all"
    return ModelSpec(
        config=DetectorConfig(
            backbone=trunk_of(config),
            num_classes=head["num_classes"],
            neck=FpnConfig(channels=config["neck"]["out_channels"], levels=config["neck"]["num_outs"]),
            head=TwoStageConfig(
                rpn=RpnConfig(
                    channels=rpn["feat_channels"],
                    scale=anchors["scales"][0],
                    ratios=tuple(anchors["ratios"]),
                    border=None if border < 0 else border,
                    positive_iou=train["rpn"]["assigner"]["pos_iou_thr"],
                    negative_iou=train["rpn"]["assigner"]["neg_iou_thr"],
                    samples=None,
                    smooth_beta=rpn["loss_bbox"].get("beta", 0.0),
                    train_before_nms=train["rpn_proposal"]["nms_pre"],
                    train_proposals=train["rpn_proposal"]["max_per_img"],
                ),
                stages=tuple(
                    StageConfig(
                        iou=stage["assigner"]["pos_iou_thr"],
                        deviations=tuple(box["bbox_coder"]["target_stds"]),
                        loss_weight=weight,
                    )
                    for stage, box, weight in zip(rcnn, heads, weights, strict=True)
                ),
                box=BoxHeadConfig(
                    pool=head["roi_feat_size"],
                    convs=head.get("num_shared_convs", 0),
                    conv_channels=head.get("conv_out_channels", 256),
                    conv_norm="norm_cfg" in head,
                    fcs=head.get("num_shared_fcs", 2),
                    fc_channels=head["fc_out_channels"],
                    loss="giou" if head["loss_bbox"]["type"] == "GIoULoss" else "deltas",
                    loss_weight=head["loss_bbox"]["loss_weight"],
                ),
                mask=mask
                and MaskHeadConfig(
                    pool=roi["mask_roi_extractor"]["roi_layer"]["output_size"],
                    convs=mask["num_convs"],
                    channels=mask["conv_out_channels"],
                ),
                samples=None,
                match_low_quality=rcnn[0]["assigner"]["match_low_quality"],
            ),
            select=SelectConfig(
                before_nms=test["rpn"]["nms_pre"],
                proposals=test["rpn"]["max_per_img"],
                proposal_iou=test["rpn"]["nms"]["iou_threshold"],
                score=test["rcnn"]["score_thr"],
                iou=test["rcnn"]["nms"]["iou_threshold"],
                most=test["rcnn"]["max_per_img"],
                mask=test["rcnn"]["mask_thr_binary"],
            ),
        )
    )


@pytest.fixture(params=detector_cases(*TYPES))
def case(request: pytest.FixtureRequest) -> tuple[Path, TwoStageDetector, Io]:
    """Folder, model and tensors."""
    folder: Path = request.param
    spec = spec_of_case(folder)
    model = build_model(spec)
    report = load_weights(model, load_file(folder / "weights.safetensors"), spec=spec)
    assert report.format in ("official_rcnn", "official_cascade")
    assert (report.resized, report.fresh, report.unused) == ([], [], [])
    io = load_file(folder / "io.safetensors")
    if "unpadded" in io:  # a slim case
        image, (height, width) = io["unpadded"], json.loads((folder / "case.json").read_text())["padded"]
        io["image"] = F.pad(image, (0, width - image.shape[3], 0, height - image.shape[2]))
    return folder, model.eval(), io


@torch.inference_mode()
def test_maps_are_the_published_ones(case: tuple[Path, TwoStageDetector, Io]) -> None:
    _, model, io = case
    for number, level in enumerate(model.backbone(io["image"])):
        if f"backbone.{number}" in io:
            close(level, io[f"backbone.{number}"], f"backbone map {number}")
    levels = model.features(io["image"])
    scores, deltas = model.rpn(levels)
    seen = 0
    for number, level in enumerate(levels):
        for name, got in (("neck", level), ("rpn.cls", scores[number]), ("rpn.bbox", deltas[number])):
            if f"{name}.{number}" in io:
                close(got, io[f"{name}.{number}"], f"{name} {number}")
                seen += 1
    assert seen >= 3


@torch.inference_mode()
def test_proposals_are_the_published_ones(case: tuple[Path, TwoStageDetector, Io]) -> None:
    folder, model, io = case
    select = model.config.select
    found = model.rpn.proposals(
        model.rpn(model.features(io["image"])),
        sizes_of(folder, io),
        before_nms=select.before_nms,
        count=select.proposals,
        iou=select.proposal_iou,
    )
    for picture, (boxes, scores) in enumerate(found):
        wanted_scores = io[f"proposals.{picture}.scores"]
        close(scores, wanted_scores, f"scores of the proposals of picture {picture}")
        order = same_boxes(boxes, scores, None, io[f"proposals.{picture}.boxes"], wanted_scores, None)
        assert len(order) == len(boxes)


@torch.inference_mode()
def test_stages_say_what_the_published_ones_say(case: tuple[Path, TwoStageDetector, Io]) -> None:
    _, model, io = case
    levels, regions = model.features(io["image"]), io["stage_rois"]
    for number, stage in enumerate(model.stages):
        logits, deltas = stage.box(model.box_extractor(levels, regions))
        close(logits, io[f"stage{number}.cls"], f"class logits of stage {number}")
        close(deltas.flatten(1), io[f"stage{number}.bbox"], f"box deltas of stage {number}")
        if stage.mask is not None and f"stage{number}.mask" in io:
            assert model.mask_extractor is not None
            wanted = io[f"stage{number}.mask"]
            got = stage.mask(model.mask_extractor(levels, regions[: len(wanted)]))
            close(got, wanted, f"mask logits of stage {number}")


@torch.inference_mode()
def test_detections_are_the_published_ones(case: tuple[Path, TwoStageDetector, Io]) -> None:
    folder, model, io = case
    sizes = sizes_of(folder, io)
    for picture, found in enumerate(model(io["image"], sizes)):
        wanted = {key: io[f"det.{picture}.{key}"] for key in ("boxes", "scores", "labels")}
        close(found.scores, wanted["scores"], f"scores of picture {picture}")
        order = same_boxes(
            found.boxes, found.scores, found.labels, wanted["boxes"], wanted["scores"], wanted["labels"]
        )
        if found.masks is None or f"det.{picture}.masks" not in io:
            continue
        packed = io[f"det.{picture}.masks"]
        height, width = sizes[picture]
        masks = torch.from_numpy(np.unpackbits(packed.numpy(), axis=-1)[..., :width]).bool()
        got = paste_masks(found.masks, found.boxes, (height, width), model.config.select.mask)
        agree = (got[order][: len(masks)] == masks).float().mean()
        assert agree >= 0.9999, f"masks of picture {picture} agree on {100 * float(agree):.3f} % of pixels"


def test_losses_and_gradients_are_the_published_ones(case: tuple[Path, TwoStageDetector, Io]) -> None:
    folder, model, io = case
    if "grad_norm" not in io:
        pytest.skip("the slim case has one picture of two and no masks, and so no loss")
    losses = model.losses(io["image"], sizes_of(folder, io), targets_of(io, len(io["image"])))
    wanted = {key.removeprefix("loss."): value for key, value in io.items() if key.startswith("loss.")}
    for ours, theirs in (("rpn_scores", "loss_rpn_cls"), ("rpn_boxes", "loss_rpn_bbox")):
        levels = torch.cat([wanted.pop(f"{theirs}.{level}") for level in range(len(losses[ours]))])
        close(losses[ours], levels, theirs)
    several = len(model.stages) > 1
    for number in range(len(model.stages)):
        prefix = f"s{number}." if several else ""
        wanted.pop(f"{prefix}acc")
        for ours, theirs in (("classes", "loss_cls"), ("boxes", "loss_bbox"), ("masks", "loss_mask")):
            if f"{prefix}{theirs}" in wanted:
                close(losses[f"stage{number}_{ours}"].view(1), wanted.pop(f"{prefix}{theirs}"), theirs)
    assert not wanted, f"losses not compared: {sorted(wanted)}"
    torch.stack([value.sum() for value in losses.values()]).sum().backward()
    same_gradient_norm(model, io)


def test_a_case_is_recognised_by_its_keys_alone(case: tuple[Path, TwoStageDetector, Io]) -> None:
    folder, model, _ = case
    found = infer_spec(load_file(folder / "weights.safetensors")).config
    assert isinstance(found, DetectorConfig)
    assert found.num_classes == model.config.num_classes
    assert found.neck == model.config.neck
    assert isinstance(found.head, TwoStageConfig)
    assert isinstance(model.config.head, TwoStageConfig)
    assert (found.head.box, found.head.mask) == (model.config.head.box, model.config.head.mask)
    assert found.head.stages == model.config.head.stages


@pytest.mark.parametrize(
    "name",
    [
        "cascade_mask_rcnn_swin_tiny_patch4_window7",
        "cascade_mask_rcnn_swin_small_patch4_window7",
        "cascade_mask_rcnn_swin_base_patch4_window7",
        "mask_rcnn_swin_tiny_patch4_window7",
        "mask_rcnn_swin_small_patch4_window7",
        "mmdet3_mask-rcnn_swin-t-p4-w7_fpn_1x_coco",
    ],
)
def test_full_size_checkpoints_fit_key_by_key(name: str, golden_dir: Path) -> None:
    state, parameters = meta_state(golden_dir / "keys" / f"{name}.json")
    spec = infer_spec(state)
    assert len(spec.class_names) == 80
    if not name.startswith("mmdet3"):
        assert spec.name == f"{name}_224"
    with torch.device("meta"):
        model = build_model(spec)
    report = load_weights(model, state, spec=spec)
    assert (report.resized, report.fresh, report.unused) == ([], [], [])
    assert sum(p.numel() for p in model.parameters()) == parameters
    back = from_swinkit(model.state_dict(), report.format, spec)
    learnt = {key for key in state if not key.endswith("relative_position_index")}
    assert back.keys() == learnt
    assert all(back[key].shape == state[key].shape for key in learnt)


def test_mmdetection_3_names_the_same_model(case: tuple[Path, TwoStageDetector, Io]) -> None:
    _, model, io = case
    fmt = "mmdet3_cascade" if len(model.stages) > 1 else "mmdet3_rcnn"
    theirs = from_swinkit(model.state_dict(), fmt, model.spec)
    assert "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight" in theirs
    assert detect_format(theirs) == fmt
    again = build_model(model.spec).eval()
    load_weights(again, theirs, spec=model.spec)
    with torch.inference_mode():
        torch.testing.assert_close(again.features(io["image"])[0], model.features(io["image"])[0])


def test_regions_of_a_batch_name_their_picture() -> None:
    regions = to_regions([torch.ones(2, 4), torch.ones(0, 4), torch.ones(1, 4)])
    assert regions[:, 0].tolist() == [0, 0, 2]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
