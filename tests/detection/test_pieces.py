"""Anchors, coders, assigners, samplers, losses and the operators on boxes and masks, against definitions."""

import math

import pytest
import torch
import torch.distributed
import torchvision
from torch import Tensor

from swinkit.backbones import SwinConfig
from swinkit.build import build_model
from swinkit.detection.anchors import anchor_grid, anchor_shapes, trainable_anchors
from swinkit.detection.assigners import BACKGROUND, IGNORED, IouAssigner
from swinkit.detection.coders import DeltaCoder
from swinkit.detection.config import (
    BoxHeadConfig,
    DetectorConfig,
    FpnConfig,
    MaskHeadConfig,
    RpnConfig,
    SelectConfig,
    TwoStageConfig,
    cascade_mask_rcnn,
)
from swinkit.detection.config_dense import AtssConfig
from swinkit.detection.extractor import RegionExtractor
from swinkit.detection.samplers import sample_boxes
from swinkit.detection.select import select_detections
from swinkit.detection.sparse_config import SparseConfig
from swinkit.detection.structures import Targets
from swinkit.detection.two_stage import TwoStageDetector
from swinkit.errors import InputError
from swinkit.ops.boxes import (
    clip_boxes,
    flip_boxes,
    generalized_iou,
    pairwise_ios,
    pairwise_iou,
    soft_nms,
)
from swinkit.ops.masks import crop_masks, paste_masks
from swinkit.spec import ModelSpec, from_dict, to_dict


def boxes(count: int, side: float = 100.0) -> Tensor:
    start = torch.rand(count, 2) * side
    return torch.cat([start, start + 1 + torch.rand(count, 2) * side], dim=1)


def test_overlaps_are_torchvisions() -> None:
    a, b = boxes(20), boxes(30)
    torch.testing.assert_close(pairwise_iou(a, b), torchvision.ops.box_iou(a, b))
    wanted = torchvision.ops.generalized_box_iou(a, b[:20]).diagonal()
    torch.testing.assert_close(generalized_iou(a, b[:20]), wanted)


def test_a_box_inside_another_covers_the_smaller_one() -> None:
    outer, inner = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[2.0, 2, 4, 4]])
    assert float(pairwise_ios(outer, inner)) == 1
    assert float(pairwise_iou(outer, inner)) == pytest.approx(0.04)


def test_clipping_and_flipping() -> None:
    box = torch.tensor([[-5.0, 3, 70, 90]])
    assert clip_boxes(box, (40, 60)).tolist() == [[0, 3, 60, 40]]
    assert flip_boxes(torch.tensor([[10.0, 1, 20, 2]]), 60).tolist() == [[40, 1, 50, 2]]
    assert torch.equal(flip_boxes(flip_boxes(box, 60), 60), box)


def test_soft_nms_lowers_by_the_gaussian_of_the_overlap() -> None:
    overlapping = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [100, 100, 110, 110], [0, 0, 10, 5]])
    scores, groups = torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 0, 0, 1])
    keep, lowered = soft_nms(overlapping, scores, groups, sigma=0.5, least=0.01)
    assert keep.tolist() == [0, 2, 3, 1]
    assert lowered.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.8 * math.exp(-0.25 / 0.5)])
    keep, _ = soft_nms(overlapping, scores, groups, sigma=0.5, least=0.65)
    assert keep.tolist() == [0, 2]


def test_linear_soft_nms_lowers_from_an_overlap_on() -> None:
    """The second box overlaps the first by 0.5, the third by 0.25."""
    places = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 7.5, 10, 10], [0, 0, 10, 5]])
    scores, classes = torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 0, 0, 1])
    table = torch.zeros(4, 2)
    table[torch.arange(4), classes] = scores
    for iou, wanted in (
        (0.5, [0.9, 0.7, 0.6, 0.4]),
        (0.25, [0.9, 0.6, 0.525, 0.4]),
        (0.6, [0.9, 0.8, 0.7, 0.6]),
    ):
        select = SelectConfig(nms="soft_linear", iou=iou, score=0.01)
        found = select_detections(places[:, None].expand(-1, 2, -1), table, select)
        assert found.scores.tolist() == pytest.approx(wanted)


def test_deltas_lead_back() -> None:
    starts, wanted = boxes(50), boxes(50)
    coder = DeltaCoder((0.1, 0.1, 0.2, 0.2))
    torch.testing.assert_close(
        coder.decode(starts, coder.encode(starts, wanted)), wanted, atol=1e-4, rtol=1e-4
    )
    far = coder.decode(starts, torch.full((50, 4), 1000.0), (80, 90))
    assert float(far.max()) <= 90


def test_anchors_have_the_squares_area_and_stand_row_by_row() -> None:
    shapes = anchor_shapes(16, 8.0, (0.5, 1.0, 2.0))
    sides = shapes[:, 2:] - shapes[:, :2]
    torch.testing.assert_close(sides.prod(dim=1), torch.full((3,), 128.0**2))
    torch.testing.assert_close(sides[:, 1] / sides[:, 0], torch.tensor([0.5, 1.0, 2.0]))
    centres = anchor_grid(shapes, (2, 3), 16).view(2, 3, 3, 2, 2).mean(dim=3)
    assert centres[1, 2, 0].tolist() == [32, 16]


def test_anchors_over_padding_are_not_trained() -> None:
    anchors = [anchor_grid(anchor_shapes(32, 1.0, (1.0,)), (3, 4), 32)]
    usable = trainable_anchors(anchors, [(3, 4)], [32], (33, 64), None).view(3, 4)
    assert usable.tolist() == [[True, True, False, False]] * 2 + [[False] * 4]
    inside = trainable_anchors(anchors, [(3, 4)], [32], (96, 128), 0).view(3, 4)
    assert not inside[0].any()
    assert not inside[:, 0].any()
    assert inside[1:, 1:].all()


def test_assignment_follows_the_thresholds() -> None:
    objects = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    candidates = torch.tensor(
        [[0.0, 0, 10, 9], [0, 0, 10, 5], [0, 0, 10, 2], [50, 50, 60, 54], [200, 200, 210, 210]]
    )
    strict = IouAssigner(positive=0.7, negative=0.3, least=0.3, match_low_quality=False)
    assert strict(candidates, objects).tolist() == [0, IGNORED, BACKGROUND, IGNORED, BACKGROUND]
    kind = IouAssigner(positive=0.7, negative=0.3, least=0.3, match_low_quality=True)
    assert kind(candidates, objects).tolist() == [0, IGNORED, BACKGROUND, 1, BACKGROUND]
    assert kind(candidates, objects[:0]).tolist() == [BACKGROUND] * 5
    assert kind(candidates[:0], objects).tolist() == []


def test_sampling_keeps_the_share_of_objects_and_fills_with_background() -> None:
    assigned = torch.tensor([0] * 50 + [BACKGROUND] * 500 + [IGNORED] * 50)
    positive, negative = sample_boxes(assigned, 100, 0.25)
    assert (len(positive), len(negative)) == (25, 75)
    assert bool((assigned[positive] >= 0).all())
    assert bool((assigned[negative] == BACKGROUND).all())
    assert len(negative.unique()) == 75
    positive, negative = sample_boxes(assigned, None, 0.25)
    assert (len(positive), len(negative)) == (50, 500)


def test_regions_come_from_the_level_of_their_size() -> None:
    levels = [torch.full((1, 1, 64 // 2**i, 64 // 2**i), float(i)) for i in range(4)]
    extractor = RegionExtractor(7, [4, 8, 16, 32])
    sides = torch.tensor([50.0, 111, 113, 223, 225, 250])
    regions = torch.stack([torch.zeros(6), torch.zeros(6), torch.zeros(6), sides, sides], dim=1)
    assert extractor(levels, regions)[:, 0, 3, 3].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_mask_cut_out_and_pasted_back_is_the_mask() -> None:
    mask = torch.zeros(1, 60, 80)
    mask[0, 10:40, 20:70] = 1
    mask[0, 10:20, 20:40] = 0
    box = torch.tensor([[20.0, 10, 70, 40]])
    cells = crop_masks(mask, box, torch.tensor([0]), 56)
    pasted = paste_masks(cells, box, (60, 80))
    assert float((pasted == mask.bool()).float().mean()) > 0.995
    outside = paste_masks(cells, box + 1000, (60, 80))
    assert not outside.any()


def test_selection_keeps_the_best_above_the_threshold() -> None:
    candidates = torch.tensor([[[0.0, 0, 10, 10]] * 2, [[0.0, 0, 10, 9]] * 2, [[50.0, 50, 60, 60]] * 2])
    scores = torch.tensor([[0.9, 0.02], [0.8, 0.6], [0.3, 0.1]])
    found = select_detections(candidates, scores, SelectConfig())
    assert found.scores.tolist() == pytest.approx([0.9, 0.6, 0.3, 0.1])
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert len(select_detections(candidates, scores, SelectConfig(most=2))) == 2
    soft = select_detections(candidates, scores, SelectConfig(nms="soft"))
    assert len(soft) == 5
    assert bool((soft.scores[:-1] >= soft.scores[1:]).all())


def tiny(head: TwoStageConfig) -> TwoStageDetector:
    config = DetectorConfig(
        backbone=SwinConfig(
            embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4, window_policy="pad"
        ),
        num_classes=3,
        neck=FpnConfig(channels=16),
        head=head,
    )
    return build_model(ModelSpec(config=config))


def small_head(*, masks: bool) -> TwoStageConfig:
    return TwoStageConfig(
        rpn=RpnConfig(channels=16, train_before_nms=100, train_proposals=50),
        stages=cascade_mask_rcnn().stages,
        box=BoxHeadConfig(convs=1, conv_channels=16, conv_norm=True, fcs=1, fc_channels=16, loss="giou"),
        mask=MaskHeadConfig(convs=1, channels=16) if masks else None,
        samples=32,
    )


@pytest.mark.parametrize("masks", [True, False])
def test_a_step_with_and_without_objects_reaches_every_parameter(masks: bool) -> None:
    """Pictures without objects are training data too, and under DDP every parameter needs a gradient."""
    model = tiny(small_head(masks=masks)).train()
    own = torch.tensor([[10.0, 10, 40, 50]])
    mask = torch.zeros(1, 64, 80, dtype=torch.uint8)
    mask[0, 10:50, 10:40] = 1
    full = Targets(own, torch.tensor([1]), mask if masks else None)
    empty = Targets(own[:0], torch.zeros(0, dtype=torch.int64), mask[:0] if masks else None)
    for targets in ([full, empty], [empty, empty]):
        model.zero_grad()
        losses = model.losses(torch.randn(2, 3, 64, 96), [(64, 80), (60, 96)], targets)
        total = torch.stack([value.sum() for value in losses.values()]).sum()
        assert bool(torch.isfinite(total))
        total.backward()
        without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
        assert not without


def test_boxes_only_is_a_detector_without_a_mask_branch() -> None:
    model = tiny(small_head(masks=False)).eval()
    assert not any("mask" in key for key in model.state_dict())
    with torch.inference_mode():
        found = model(torch.randn(1, 3, 64, 64))[0]
    assert found.masks is None
    with pytest.raises(InputError, match="no masks"):
        tiny(small_head(masks=True)).losses(
            torch.randn(1, 3, 64, 64), [(64, 64)], [Targets(boxes(1), torch.tensor([0]))]
        )


def test_a_picture_is_seen_alike_alone_and_padded_into_a_batch() -> None:
    """Zeros at the bottom and right of a picture whose sides are whole windows change nothing much above
    them; detections stay inside the picture."""
    model = tiny(small_head(masks=True)).eval()
    images = torch.randn(2, 3, 64, 96)
    images[0, :, :, 64:] = 0
    with torch.inference_mode():
        for found, (height, width) in zip(
            model(images, [(64, 64), (64, 96)]), [(64, 64), (64, 96)], strict=True
        ):
            assert float(found.boxes[:, 2].max()) <= width
            assert float(found.boxes[:, 3].max()) <= height
            assert found.masks is not None
            assert found.masks.shape[1:] == (28, 28)


def test_a_detector_is_plain_data() -> None:
    spec = ModelSpec(name="x", config=DetectorConfig(num_classes=2, head=cascade_mask_rcnn(masks=False)))
    assert from_dict(to_dict(spec)) == spec


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DetectorConfig(num_classes=0), "at least one class"),
        (lambda: TwoStageConfig(stages=()), "at least one stage"),
        (lambda: SelectConfig(score=2.0), "from 0 to 1"),
        (lambda: BoxHeadConfig(fcs=0), "linear layer"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


def test_losses_are_by_what_all_processes_found_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made up: two processes, and the other one has three times as many objects as this one."""
    trunk = SwinConfig(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4)
    heads = (
        (AtssConfig(channels=32, convs=1), FpnConfig(channels=32, extra="conv")),
        (
            SparseConfig(proposals=4, stages=1, heads=4, hidden=16, dynamic=4),
            FpnConfig(channels=16, levels=4),
        ),
    )
    target = Targets(torch.tensor([[4.0, 5, 40, 50]]), torch.tensor([1]))
    for head, neck in heads:
        torch.manual_seed(0)
        model = build_model(
            ModelSpec(config=DetectorConfig(backbone=trunk, num_classes=2, neck=neck, head=head))
        ).eval()
        images = torch.randn(1, 3, 64, 64)
        alone = model.losses(images, [(64, 64)], [target])
        with monkeypatch.context() as patched:
            patched.setattr(torch.distributed, "is_initialized", lambda: True)
            patched.setattr(torch.distributed, "get_world_size", lambda: 2)
            patched.setattr(torch.distributed, "all_reduce", lambda value: value.mul_(4))
            together = model.losses(images, [(64, 64)], [target])
        for name, value in alone.items():
            assert bool(value.abs().sum() > 0)
            torch.testing.assert_close(together[name], value / 2, msg=f"{type(head).__name__}: {name}")
