"""The pieces of Hybrid Task Cascade and HTC++, and jobs that train them."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import swinkit
from detector_jobs import TINY, job
from swinkit.backbones import SwinConfig
from swinkit.build import build_model
from swinkit.cli.main import main
from swinkit.detection.config import (
    BoxHeadConfig,
    DetectorConfig,
    FpnConfig,
    MaskHeadConfig,
    RpnConfig,
    SelectConfig,
)
from swinkit.detection.global_attention import GlobalAttention
from swinkit.detection.htc import HybridTaskCascade
from swinkit.detection.htc_config import HtcConfig, SemanticConfig, htc, htc_plus
from swinkit.detection.semantic_head import SemanticHead, stack_stuff
from swinkit.detection.structures import Targets
from swinkit.errors import InputError
from swinkit.spec import ModelSpec, from_dict, to_dict
from swinkit.train import train
from swinkit.train.prepare_detection import prepare_detection
from swinkit.weights import from_swinkit, load, load_weights

HEAD = HtcConfig(
    rpn=RpnConfig(channels=16, scale=4.0, samples=32, train_before_nms=60, train_proposals=40),
    stages=htc().stages,
    box=BoxHeadConfig(fc_channels=32, class_agnostic=True, smooth_beta=1.0),
    mask=MaskHeadConfig(convs=1, channels=16),
    samples=16,
    semantic=SemanticConfig(classes=4, convs=1, channels=16),
    global_attention=True,
)
CONFIG = DetectorConfig(
    backbone=SwinConfig(
        embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4, window_policy="pad"
    ),
    num_classes=3,
    neck=FpnConfig(channels=16),
    head=HEAD,
    select=SelectConfig(score=0.0, most=6, before_nms=40, proposals=30),
)


def tiny(**changes) -> HybridTaskCascade:
    torch.manual_seed(0)
    return build_model(
        ModelSpec(config=dataclasses.replace(CONFIG, head=dataclasses.replace(HEAD, **changes)))
    )


def target(*, objects: int = 2) -> Targets:
    boxes = torch.tensor([[4.0, 5, 40, 50], [30, 10, 60, 60]])[:objects]
    masks = torch.zeros(objects, 64, 64, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.long().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    return Targets(boxes, torch.tensor([2, 0])[:objects], masks, torch.full((64, 64), 3, dtype=torch.uint8))


@pytest.mark.parametrize(
    "changes",
    [{}, {"flow": False}, {"interleaved": False}, {"semantic": None}, {"global_attention": False}],
    ids=lambda changes: "-".join(changes) or "all",
)
@pytest.mark.parametrize("objects", [2, 0])
def test_a_step_reaches_every_parameter(changes: dict, objects: int) -> None:
    model = tiny(**changes)
    losses = model.losses(torch.randn(1, 3, 64, 64), [(64, 64)], [target(objects=objects)])
    assert ("semantic" in losses) == (model.semantic is not None)
    total = torch.stack([value.sum() for value in losses.values()]).sum()
    assert torch.isfinite(total)
    total.backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []


def test_the_flow_adds_what_the_stage_before_saw() -> None:
    model = tiny(semantic=None).eval()
    first, second = (stage.mask for stage in model.stages[:2])
    assert first is not None
    assert first.relay is None
    assert second is not None
    assert second.relay is not None
    x = torch.randn(2, 16, 14, 14)
    hidden = x
    for conv in first.convs:
        hidden = conv(hidden)
    moved = x + F.relu(second.relay(hidden))
    for conv in second.convs:
        moved = conv(moved)
    torch.testing.assert_close(model._hidden(1, x)[1], moved)
    assert all(stage.mask is not None and stage.mask.relay is None for stage in tiny(flow=False).stages)


@torch.inference_mode()
def test_masks_are_the_last_stages_or_the_mean() -> None:
    image, boxes = torch.randn(1, 3, 64, 64), [torch.tensor([[4.0, 5, 40, 50]])]
    last, mean = tiny().eval(), tiny(masks="mean").eval()
    mean.load_state_dict(last.state_dict())
    levels, labels = last.features(image), [torch.tensor([1])]
    regions = torch.cat([torch.zeros(1, 1), boxes[0]], dim=1)
    hidden = last._hidden(2, last.mask_regions(levels, regions))
    each = torch.stack(
        [s.mask.decode(x)[:, 1].sigmoid() for s, x in zip(last.stages, hidden, strict=True) if s.mask]
    )
    torch.testing.assert_close(last.masks(levels, boxes, labels)[0], each[2])
    torch.testing.assert_close(mean.masks(levels, boxes, labels)[0], each.mean(dim=0))


@torch.inference_mode()
def test_semantic_loss_is_cross_entropy_at_the_maps_size() -> None:
    torch.manual_seed(0)
    head = SemanticHead(8, 2, SemanticConfig(classes=4, convs=1, channels=8, level=1, loss_weight=0.2))
    logits, features = head([torch.randn(1, 8, 16, 16), torch.randn(1, 8, 8, 8)])
    assert logits.shape == (1, 4, 8, 8)
    assert features.shape == (1, 8, 8, 8)
    stuff = torch.randint(4, (60, 64), dtype=torch.uint8)
    stuff[::16] = 255
    batch = stack_stuff([stuff], (64, 64))
    assert batch[0, 60:].unique().tolist() == [255]
    probabilities = logits[0].log_softmax(dim=0)
    total = 0.0
    for row in range(8):
        for column in range(8):
            wanted = int(batch[0, row * 8, column * 8])
            total -= 0.0 if wanted == 255 else float(probabilities[wanted, row, column])
    assert float(head.loss(logits, batch)) == pytest.approx(0.2 * total / 64, rel=1e-5)
    odd = torch.full((1, 59, 61), 255, dtype=torch.uint8)
    odd[0, 59 * 7 // 8, 61 * 7 // 8] = 2
    only = -0.2 * float(probabilities[2, 7, 7]) / 64
    assert float(head.loss(logits, odd)) == pytest.approx(only, rel=1e-5), "any size"


def test_global_attention_is_over_the_whole_map() -> None:
    torch.manual_seed(0)
    layer = GlobalAttention(32)
    x = torch.randn(1, 32, 3, 5, requires_grad=True)
    layer(x)[0, :, 0, 0].sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum(dim=1) > 0).all(), "every point reaches every other"
    turned = layer(x.flip(-1)).flip(-1)
    torch.testing.assert_close(turned, layer(x))
    block = 12 * 32**2 + 13 * 32
    assert sum(p.numel() for p in layer.parameters()) == block


@torch.inference_mode()
def test_global_attention_is_a_block_with_heads_of_32_channels() -> None:
    """torch's own encoder layer, norm first, with the same weights."""
    torch.manual_seed(0)
    layer = GlobalAttention(64)
    theirs = nn.TransformerEncoderLayer(64, 2, 256, 0.0, F.gelu, batch_first=True, norm_first=True).eval()
    for parameter in layer.parameters():
        parameter.normal_(std=0.2)
    names = {
        "norm1": "norm1",
        "proj": "self_attn.out_proj",
        "norm2": "norm2",
        "fc1": "linear1",
        "fc2": "linear2",
    }
    for ours, its in names.items():
        theirs.get_submodule(its).load_state_dict(layer.get_submodule(ours).state_dict())
    theirs.self_attn.in_proj_weight.copy_(layer.qkv.weight)
    theirs.self_attn.in_proj_bias.copy_(layer.qkv.bias)
    x = torch.randn(2, 64, 3, 5)
    wanted = theirs(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_the_global_layer_takes_the_place_of_the_coarsest_map() -> None:
    with_layer, without = tiny(semantic=None).eval(), tiny(semantic=None, global_attention=False).eval()
    without.load_state_dict(with_layer.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 64)
    layer = with_layer.global_attention
    assert layer is not None
    maps = list(without.backbone(images))
    wanted = without.neck([*maps[:-1], layer(maps[-1])])
    torch.testing.assert_close(with_layer.features(images), wanted)
    assert not torch.equal(wanted[3], without.features(images)[3])


@torch.inference_mode()
def test_masks_are_trained_on_the_boxes_that_the_stage_has_moved() -> None:
    moved = [torch.tensor([[5.0, 6, 41, 51], [0, 0, 9, 9]])]
    for interleaved in (True, False):
        model = tiny(interleaved=interleaved)
        stage, objects = model.stages[0], target()
        before = [stage.sample(torch.tensor([[3.0, 5, 40, 50]]), objects)]
        found = model.mask_samples(stage, before, moved, [objects])[0].boxes
        wanted = torch.cat([objects.boxes, moved[0]]) if interleaved else before[0].boxes
        assert sorted(found.tolist()) == sorted(wanted.tolist())


def test_the_stages_of_the_published_cascade() -> None:
    assert [(stage.iou, stage.loss_weight) for stage in htc().stages] == [(0.5, 1), (0.6, 0.5), (0.7, 0.25)]
    assert [stage.deviations for stage in htc().stages] == [
        (0.1, 0.1, 0.2, 0.2),
        (0.05, 0.05, 0.1, 0.1),
        (0.033, 0.033, 0.067, 0.067),
    ]
    assert htc_plus().stages == htc().stages


def test_it_is_plain_data_and_refuses_what_cannot_be() -> None:
    model = tiny()
    assert from_dict(to_dict(model.spec)) == model.spec
    without = dataclasses.replace(target(), stuff=None)
    with pytest.raises(InputError, match=r"no stuff maps.*--data\.stuff"):
        model.losses(torch.randn(1, 3, 64, 64), [(64, 64)], [without])
    with pytest.raises(InputError, match="no masks"):
        model.losses(torch.randn(1, 3, 64, 64), [(64, 64)], [dataclasses.replace(target(), masks=None)])
    with pytest.raises(InputError, match="semantic branch is added to regions of 16 channels"):
        tiny(semantic=SemanticConfig(classes=4, channels=8))
    with pytest.raises(InputError, match="two classes and a convolution"):
        SemanticConfig(classes=1)


def test_the_semantic_branch_can_be_left_out_of_a_file_or_begin_anew() -> None:
    whole, without = tiny(), tiny(semantic=None)
    lost = load_weights(without, whole.state_dict(), spec=whole.spec, replace_head=True)
    assert {key.split(".")[0] for key in lost.unused} == {"semantic"}
    found = load_weights(whole, without.state_dict(), spec=without.spec, replace_head=True)
    assert {key.split(".")[0] for key in found.fresh} == {"semantic"}
    with pytest.raises(InputError, match="semantic"):
        load_weights(without, whole.state_dict(), spec=whole.spec)
    with pytest.raises(InputError, match=r"no place for global_attention"):
        from_swinkit(without.state_dict(), "mmdet3_htc", without.spec)


def test_names_say_which_cascade() -> None:
    with torch.device("meta"):
        plus = swinkit.create_detector("htc_plus_swin_base_patch4_window7_224")
        boxes = swinkit.create_detector("htc_swin_tiny_patch4_window7_224", masks=False)
    assert isinstance(plus, HybridTaskCascade)
    assert plus.global_attention is not None
    assert plus.config.select.nms == "soft"
    assert not boxes.has_masks


def write_stuff(data: Path) -> None:
    """A map a picture beside the annotations: what is brighter than the middle is class 1."""
    folder = data / "stuffthingmaps" / "train"
    folder.mkdir(parents=True)
    for picture in (data / "train").glob("*.png"):
        grey = np.asarray(Image.open(picture).convert("L"))
        Image.fromarray((grey > 150).astype(np.uint8)).save(folder / picture.name)


def test_a_job_with_stuff_maps_trains_saves_and_is_used(object_folder, tmp_path: Path, capsys) -> None:
    data = object_folder(count=4)
    write_stuff(data)
    options = dataclasses.replace(TINY, head="htc_plus", stuff_classes=2)
    settings = job(data, tmp_path / "run", model=options)
    settings = dataclasses.replace(
        settings,
        augment=dataclasses.replace(settings.augment, instaboost=0.5),
        select=dataclasses.replace(settings.select, nms="soft"),
        trainer=dataclasses.replace(settings.trainer, max_steps=2),
    )
    train(settings)
    model = load(tmp_path / "run")
    assert isinstance(model, HybridTaskCascade)
    assert model.semantic is not None
    assert main(["eval", str(tmp_path / "run"), "--split", "val", "--scales", "0.75", "1", "--flip"]) == 0
    picture = str(data / "val" / "0.png")
    linear = ["--nms", "soft_linear", "--iou", "0.3"]
    assert main(["predict", str(tmp_path / "run"), picture, "--score", "0", *linear]) == 0
    assert main(["predict", str(tmp_path / "run"), picture, "--soft-nms", *linear]) == 2
    assert "--soft-nms is --nms soft" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "run")]) == 0
    capsys.readouterr()


def test_only_who_reads_stuff_needs_every_map(object_folder, tmp_path: Path) -> None:
    data = object_folder(count=4)
    write_stuff(data)
    (data / "stuffthingmaps" / "train" / "2.png").unlink()
    settings = job(data, tmp_path / "run")
    boxes = prepare_detection(settings, None)
    assert len(boxes.data.train_set) == 4, "Mask R-CNN does not care"
    reads = dataclasses.replace(settings, model=dataclasses.replace(TINY, head="htc", stuff_classes=2))
    with pytest.raises(InputError, match=r"2\.png has no stuff map"):
        prepare_detection(reads, None)
    skips = dataclasses.replace(reads, data=dataclasses.replace(reads.data, bad="skip"))
    prepared = prepare_detection(skips, None)
    assert len(prepared.data.train_set) == 3
    assert prepared.model.semantic is not None
    without = dataclasses.replace(reads, model=dataclasses.replace(reads.model, semantic=False))
    assert len(prepare_detection(without, None).data.train_set) == 4


def test_stuff_is_asked_for_or_left_out(object_folder, tmp_path: Path) -> None:
    data = object_folder(count=2)
    asked = dataclasses.replace(TINY, head="htc", semantic=True)
    with pytest.raises(InputError, match=r"needs a stuff map .*--data\.stuff"):
        train(job(data, tmp_path / "a", model=asked))
    with pytest.raises(InputError, match="mask_rcnn has no semantic branch"):
        train(job(data, tmp_path / "a", model=dataclasses.replace(TINY, semantic=True)))
    boxes = object_folder(count=2, masks=False, root="boxes")
    boosted = dataclasses.replace(job(boxes, tmp_path / "b").augment, instaboost=0.5)
    with pytest.raises(InputError, match="instaboost moves objects by their outlines"):
        train(job(boxes, tmp_path / "b", augment=boosted))
    sparse = dataclasses.replace(TINY, head="sparse_rcnn", masks=True)
    with pytest.raises(InputError, match="sparse_rcnn finds boxes only"):
        train(job(data, tmp_path / "c", model=sparse))


def test_a_sparse_job_trains_saves_and_is_used(object_folder, tmp_path: Path, capsys) -> None:
    data = object_folder(count=4)
    options = dataclasses.replace(TINY, head="sparse_rcnn", proposals=8)
    settings = job(data, tmp_path / "run", model=options)
    train(dataclasses.replace(settings, trainer=dataclasses.replace(settings.trainer, max_steps=2)))
    model = load(tmp_path / "run")
    assert not model.has_masks
    assert main(["eval", str(tmp_path / "run"), "--split", "val"]) == 0
    capsys.readouterr()
    for asked, seen in ((["--score", "0"], True), ([], False)):
        words = [str(tmp_path / "run"), str(data / "val" / "0.png"), "--format", "json", *asked]
        assert main(["predict", *words]) == 0
        scores = [item["score"] for item in json.loads(capsys.readouterr().out)["annotations"]]
        assert bool(scores) == seen or min(scores) > 0.05, "an untrained one is sure of nothing"
    target = tmp_path / "theirs.pth"
    assert main(["convert", str(tmp_path / "run"), "--out", str(target), "--format", "mmdet3_sparse"]) == 0
    capsys.readouterr()
    again = load(target)
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
