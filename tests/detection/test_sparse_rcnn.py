"""The pieces of Sparse R-CNN one by one, and what it does in use."""

import math
from dataclasses import replace

import pytest
import torch

import swinkit
from swinkit.backbones import SwinConfig
from swinkit.build import build_model
from swinkit.detection.assigners import BACKGROUND
from swinkit.detection.config import DetectorConfig, FpnConfig, SelectConfig
from swinkit.detection.dynamic_head import DynamicHead, DynamicInteraction
from swinkit.detection.matching import SetMatcher
from swinkit.detection.sparse_config import SparseConfig
from swinkit.detection.sparse_rcnn import SparseRcnn
from swinkit.detection.structures import Targets
from swinkit.detection.views import View, detect_views
from swinkit.errors import InputError
from swinkit.ops.boxes import centred_to_corners, generalized_iou, pairwise_giou
from swinkit.spec import ModelSpec, from_dict, to_dict
from swinkit.weights.load import load_weights

TINY = DetectorConfig(
    backbone=SwinConfig(
        embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4, window_policy="pad"
    ),
    num_classes=3,
    neck=FpnConfig(channels=16, levels=4),
    head=SparseConfig(proposals=12, stages=2, heads=4, hidden=32, dynamic=4),
    select=SelectConfig(score=0.0, most=10),
)


def tiny() -> SparseRcnn:
    torch.manual_seed(0)
    return build_model(ModelSpec(config=TINY))


def test_boxes_as_shares_and_their_overlaps() -> None:
    assert centred_to_corners(torch.tensor([[0.5, 0.5, 1.0, 0.5]])).tolist() == [[0.0, 0.25, 1.0, 0.75]]
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 5, 20, 9], [30, 30, 31, 40]])
    for at in range(3):
        own = boxes[at : at + 1].expand(3, 4)
        torch.testing.assert_close(pairwise_giou(boxes, boxes)[at], generalized_iou(own, boxes))


def test_matching_is_the_cheapest_as_a_whole() -> None:
    """Worked by hand: the second prediction is nearest to both objects; to give it the second costs less in
    all."""
    matcher = SetMatcher(class_weight=0.0, box_weight=1.0, giou_weight=0.0)
    predictions = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [90, 90, 100, 100]])
    objects = torch.tensor([[12.0, 0, 22, 10], [26, 0, 36, 10]])
    labels = torch.tensor([1, 0])
    costs = matcher.costs(torch.zeros(3, 2), predictions, objects, labels, (100, 100))
    # L1 of two x corners, in shares of 100 pixels
    torch.testing.assert_close(costs[:2], torch.tensor([[0.24, 0.52], [0.16, 0.12]]))
    assigned = matcher(torch.zeros(3, 2), predictions, objects, labels, (100, 100))
    assert assigned.tolist() == [0, 1, BACKGROUND]
    none = matcher(torch.zeros(3, 2), predictions, objects[:0], labels[:0], (100, 100))
    assert none.tolist() == [BACKGROUND] * 3
    with pytest.raises(ValueError, match="diverged"):
        matcher(torch.zeros(3, 2), predictions * math.nan, objects, labels, (100, 100))


def test_cost_of_a_class_is_what_the_focal_loss_rises_by() -> None:
    matcher = SetMatcher(class_weight=1.0, box_weight=0.0, giou_weight=0.0)
    logits = torch.tensor([[2.0, -1.0]])
    box = torch.tensor([[0.0, 0, 10, 10]])
    for label in range(2):
        p = float(logits[0, label].sigmoid())
        wanted = -0.25 * (1 - p) ** 2 * math.log(p) + 0.75 * p**2 * math.log(1 - p)
        got = matcher.costs(logits, box, box, torch.tensor([label]), (10, 10))
        assert float(got) == pytest.approx(wanted, rel=1e-5)


def test_an_interaction_is_two_products_with_the_proposals_own_weights() -> None:
    torch.manual_seed(0)
    layer = DynamicInteraction(6, 3, 2)
    features, regions = torch.randn(4, 6), torch.randn(4, 6, 2, 2)
    one = []
    for feature, region in zip(features, regions, strict=True):
        down, up = layer.weights(feature).split(18)
        x = torch.relu(layer.norm_in(region.flatten(1).T @ down.view(6, 3)))
        x = torch.relu(layer.norm_out(x @ up.view(3, 6)))
        one.append(torch.relu(layer.gather_norm(layer.gather(x.flatten()))))
    torch.testing.assert_close(layer(features, regions), torch.stack(one))


def test_every_class_is_rare_at_first() -> None:
    for head in tiny().roi:
        assert isinstance(head, DynamicHead)
        assert head.classes.bias.sigmoid().tolist() == pytest.approx([0.01] * 3)


def test_losses_are_the_direct_formula() -> None:
    model = tiny().eval()
    images, sizes = torch.randn(2, 3, 64, 96), [(64, 96), (50, 70)]
    targets = [
        Targets(torch.tensor([[4.0, 5, 40, 50], [50, 10, 90, 60]]), torch.tensor([2, 0])),
        Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
    ]
    with torch.inference_mode():
        losses = model.losses(images, sizes, targets)
        logits, boxes = model.stages(model.features(images), sizes)[0]
    assert losses.keys() == {f"stage{n}_{name}" for n in range(2) for name in ("classes", "boxes", "giou")}
    assigned = model.matcher(logits[0], boxes[0], targets[0].boxes, targets[0].labels, sizes[0])
    classes = l1 = giou = 0.0
    for picture in range(2):
        for at in range(12):
            own = int(assigned[at]) if picture == 0 else BACKGROUND
            for label in range(3):
                p = float(logits[picture, at, label].sigmoid())
                if own >= 0 and int(targets[0].labels[own]) == label:
                    classes -= 0.25 * (1 - p) ** 2 * math.log(p)
                else:
                    classes -= 0.75 * p**2 * math.log(1 - p)
            if own >= 0:
                wanted = targets[0].boxes[own]
                whole = torch.tensor([96.0, 64, 96, 64])
                l1 += float(((boxes[0, at] - wanted) / whole).abs().sum())
                giou += 1 - float(generalized_iou(boxes[0, at : at + 1], wanted[None]))
    assert float(losses["stage0_classes"]) == pytest.approx(2 * classes / 2, rel=1e-4)
    assert float(losses["stage0_boxes"]) == pytest.approx(5 * l1 / 2, rel=1e-4)
    assert float(losses["stage0_giou"]) == pytest.approx(2 * giou / 2, rel=1e-4)


@pytest.mark.parametrize("objects", [0, 2, 20])
def test_a_step_reaches_every_parameter(objects: int) -> None:
    """With none, and with more objects than proposals, too."""
    model = tiny()
    boxes = torch.rand(objects, 4) * 20
    boxes[:, 2:] += boxes[:, :2] + 4
    target = Targets(boxes, torch.randint(3, (objects,)))
    losses = model.losses(torch.randn(1, 3, 64, 64), [(64, 64)], [target])
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total)
    total.backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []


def test_learnt_boxes_begin_as_the_whole_picture() -> None:
    boxes, features = tiny().proposals([(50, 70), (64, 64)])
    assert boxes.shape == (2, 12, 4)
    assert boxes[0, 3].tolist() == [0, 0, 70, 50]
    assert torch.equal(features[0], features[1])


@torch.inference_mode()
def test_nothing_is_suppressed_unless_views_are_merged() -> None:
    model = tiny().eval()
    image = torch.randn(3, 64, 96)
    alone = model(image[None])[0]
    assert len(alone) == 10
    assert (alone.scores.diff() <= 0).all()
    view = View(image, (64, 96))
    once = detect_views(model, [view], (64, 96), TINY.select)
    torch.testing.assert_close(once.boxes, alone.boxes)
    # The same view twice finds every object twice, and suppression takes one of each pair.
    twice = detect_views(model, [view, view], (64, 96), TINY.select)
    pairs = pairwise_giou(twice.boxes, twice.boxes).fill_diagonal_(0) > 0.999
    assert not (pairs & (twice.labels[:, None] == twice.labels[None])).any()
    hard = model(image[None], select=replace(TINY.select, nms="hard", iou=0.01))[0]
    assert len(hard) <= len(alone)


def test_it_is_plain_data_and_takes_another_number_of_classes() -> None:
    model = tiny()
    assert from_dict(to_dict(model.spec)) == model.spec
    other = build_model(ModelSpec(config=replace(TINY, num_classes=5)))
    report = load_weights(other, model.state_dict(), spec=model.spec, replace_head=True)
    assert {key.split(".")[2] for key in report.fresh} == {"classes"}
    assert torch.equal(other.state_dict()["proposals.boxes"], model.state_dict()["proposals.boxes"])


def test_it_has_no_masks_and_says_so() -> None:
    with pytest.raises(InputError, match="boxes only"):
        swinkit.create_detector(TINY.backbone, head="sparse_rcnn", masks=True)
    with pytest.raises(InputError, match="16 channels do not divide into 5 attention heads"):
        build_model(ModelSpec(config=replace(TINY, head=SparseConfig(heads=5))))
    with pytest.raises(InputError, match="needs stages of 1 or more"):
        SparseConfig(stages=0)
    with pytest.raises(InputError, match="dropout must be from 0"):
        SparseConfig(dropout=1.0)
