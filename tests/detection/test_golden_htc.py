"""Hybrid Task Cascade, with and without the semantic branch, against outputs of the published code, and its
published key file, complete."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from golden_detectors import (
    Io,
    close,
    config_of,
    detector_cases,
    fits_key_by_key,
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
)
from swinkit.detection.htc import HybridTaskCascade
from swinkit.detection.htc_config import HtcConfig, SemanticConfig
from swinkit.detection.structures import Targets
from swinkit.ops.masks import paste_masks
from swinkit.spec import ModelSpec
from swinkit.weights import detect_format, from_swinkit, infer_spec, load_weights

Case = tuple[Path, HybridTaskCascade, Io]


def spec_of_case(folder: Path) -> ModelSpec:
    """The model that case.json describes."""
    config = config_of(folder)
    rpn, roi, train, test = (config[name] for name in ("rpn_head", "roi_head", "train_cfg", "test_cfg"))
    box, mask, stuff = roi["bbox_head"][0], roi["mask_head"][1], roi.get("semantic_head")
    assert all(item["sampler"]["num"] >= 1_000_000 for item in [train["rpn"], *train["rcnn"]])
    head = HtcConfig(
        rpn=RpnConfig(
            channels=rpn["feat_channels"],
            border=train["rpn"]["allowed_border"],
            samples=None,
            smooth_beta=rpn["loss_bbox"]["beta"],
            train_before_nms=train["rpn_proposal"]["nms_pre"],
            train_proposals=train["rpn_proposal"]["max_per_img"],
        ),
        stages=tuple(
            StageConfig(
                iou=stage["assigner"]["pos_iou_thr"],
                deviations=tuple(own["bbox_coder"]["target_stds"]),
                loss_weight=weight,
            )
            for stage, own, weight in zip(
                train["rcnn"], roi["bbox_head"], roi["stage_loss_weights"], strict=True
            )
        ),
        box=BoxHeadConfig(
            fc_channels=box["fc_out_channels"],
            class_agnostic=box["reg_class_agnostic"],
            smooth_beta=box["loss_bbox"]["beta"],
        ),
        mask=MaskHeadConfig(convs=mask["num_convs"], channels=mask["conv_out_channels"]),
        samples=None,
        interleaved=roi["interleaved"],
        flow=roi["mask_info_flow"],
        semantic=stuff
        and SemanticConfig(
            classes=stuff["num_classes"],
            convs=stuff["num_convs"],
            channels=stuff["conv_out_channels"],
            level=stuff["fusion_level"],
            loss_weight=stuff["loss_seg"]["loss_weight"],
        ),
    )
    return ModelSpec(
        config=DetectorConfig(
            backbone=trunk_of(config),
            num_classes=box["num_classes"],
            neck=FpnConfig(channels=config["neck"]["out_channels"], levels=config["neck"]["num_outs"]),
            head=head,
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


@pytest.fixture(params=detector_cases("HybridTaskCascade"))
def case(request: pytest.FixtureRequest) -> Case:
    """Folder, model and tensors."""
    folder: Path = request.param
    spec = spec_of_case(folder)
    model = build_model(spec)
    report = load_weights(model, load_file(folder / "weights.safetensors"), spec=spec)
    assert report.format == "official_htc"
    assert (report.resized, report.fresh, report.unused) == ([], [], [])
    return folder, model.eval(), load_file(folder / "io.safetensors")


def targets_with_stuff(io: Io) -> list[Targets]:
    targets = targets_of(io, len(io["image"]))
    for number, target in enumerate(targets):
        if f"gt.{number}.semantic" in io:
            target.stuff = io[f"gt.{number}.semantic"][0].to(torch.uint8)
    return targets


@torch.inference_mode()
def test_maps_and_proposals_are_the_published_ones(case: Case) -> None:
    folder, model, io = case
    levels = model.features(io["image"])
    for number in range(5):
        close(levels[number], io[f"neck.{number}"], f"level {number}")
    scores, deltas = model.rpn(levels[:5])
    for number in range(5):
        close(scores[number], io[f"rpn.cls.{number}"], f"scores of level {number}")
        close(deltas[number], io[f"rpn.bbox.{number}"], f"deltas of level {number}")
    select = model.config.select
    found = model.rpn.proposals(
        (scores, deltas),
        sizes_of(folder, io),
        before_nms=select.before_nms,
        count=select.proposals,
        iou=select.proposal_iou,
    )
    for picture, (boxes, best) in enumerate(found):
        wanted = io[f"proposals.{picture}.boxes"], io[f"proposals.{picture}.scores"]
        same_boxes(boxes, best, None, wanted[0], wanted[1], None)
    if model.semantic is not None:
        logits, embedding = model.semantic(levels[:5])
        close(logits, io["semantic_logits"], "stuff logits")
        close(embedding, io["semantic_feature"], "semantic features")
        close(levels[5], io["semantic_feature"], "semantic features after the pyramid")


@torch.inference_mode()
def test_detections_are_the_published_ones(case: Case) -> None:
    folder, model, io = case
    sizes = sizes_of(folder, io)
    for picture, found in enumerate(model(io["image"], sizes)):
        wanted = {key: io[f"det.{picture}.{key}"] for key in ("boxes", "scores", "labels")}
        close(found.scores, wanted["scores"], f"scores of picture {picture}")
        order = same_boxes(
            found.boxes, found.scores, found.labels, wanted["boxes"], wanted["scores"], wanted["labels"]
        )
        assert found.masks is not None
        height, width = sizes[picture]
        packed = io[f"det.{picture}.masks"].numpy()
        masks = torch.from_numpy(np.unpackbits(packed, axis=-1)[..., :width]).bool()
        got = paste_masks(found.masks, found.boxes, (height, width), model.config.select.mask)
        agree = float((got[order] == masks).float().mean())
        assert agree >= 0.9999, f"masks of picture {picture} agree on {100 * agree:.3f} % of pixels"


def test_losses_and_gradients_are_the_published_ones(case: Case) -> None:
    folder, model, io = case
    losses = model.losses(io["image"], sizes_of(folder, io), targets_with_stuff(io))
    torch.stack([value.sum() for value in losses.values()]).sum().backward()
    wanted = {key.removeprefix("loss."): value for key, value in io.items() if key.startswith("loss.")}
    for ours, theirs in (("rpn_scores", "loss_rpn_cls"), ("rpn_boxes", "loss_rpn_bbox")):
        levels = torch.cat([wanted.pop(f"{theirs}.{level}") for level in range(5)])
        close(losses.pop(ours), levels, theirs)
    if model.semantic is not None:
        close(losses.pop("semantic").view(1), wanted.pop("loss_semantic_seg"), "semantic loss")
    for number in range(3):
        wanted.pop(f"s{number}.acc")
        for ours, theirs in (("classes", "loss_cls"), ("boxes", "loss_bbox"), ("masks", "loss_mask")):
            value = losses.pop(f"stage{number}_{ours}")
            close(value.view(1), wanted.pop(f"s{number}.{theirs}"), f"{theirs} of stage {number}")
    assert not wanted
    assert not losses
    same_gradient_norm(model, io)


def test_a_case_is_recognised_by_its_keys_alone(case: Case) -> None:
    folder, model, _ = case
    found = infer_spec(load_file(folder / "weights.safetensors")).config
    assert isinstance(found, DetectorConfig)
    assert isinstance(found.head, HtcConfig)
    wanted = model.htc_config
    assert found.num_classes == model.config.num_classes
    assert found.neck == model.config.neck
    assert (found.head.box, found.head.mask) == (wanted.box, wanted.mask)
    assert (found.head.flow, found.head.semantic) == (wanted.flow, wanted.semantic)
    assert not found.head.global_attention


def test_a_full_size_checkpoint_fits_key_by_key(golden_dir: Path) -> None:
    keys = golden_dir / "keys" / "htc_swin_tiny.json"
    fits_key_by_key(keys, name="htc_swin_tiny_patch4_window7_224", fmt="official_htc")


def test_mmdetection_3_names_the_same_model(case: Case) -> None:
    _, model, io = case
    theirs = from_swinkit(model.state_dict(), "mmdet3_htc", model.spec)
    assert "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight" in theirs
    assert detect_format(theirs) == "mmdet3_htc"
    again = build_model(model.spec).eval()
    load_weights(again, theirs, spec=model.spec)
    with torch.inference_mode():
        torch.testing.assert_close(again.features(io["image"])[-1], model.features(io["image"])[-1])


def test_without_the_flow_masks_differ(case: Case) -> None:
    folder, model, io = case
    assert isinstance(model.config, DetectorConfig)
    head = replace(model.htc_config, flow=False)
    other = build_model(ModelSpec(config=replace(model.config, head=head))).eval()
    state = {key: value for key, value in model.state_dict().items() if ".relay." not in key}
    other.load_state_dict(state, strict=True)
    sizes = sizes_of(folder, io)
    with torch.inference_mode():
        mine, its = model(io["image"], sizes)[0], other(io["image"], sizes)[0]
    torch.testing.assert_close(mine.boxes, its.boxes)
    assert float((mine.masks - its.masks).abs().max()) > 1e-3


def test_size_of_case_is_true() -> None:
    """The cases' pictures are padded, so that clipping and stuff maps are tested too."""
    for parameter in detector_cases("HybridTaskCascade"):
        folder = parameter.values[0]
        if folder is not None:
            case = json.loads((folder / "case.json").read_text())
            assert case["image_size"] != case["padded"]
