"""The pieces of ATSS and RepPoints v2 against cases worked by hand, and both detectors as a whole."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import swinkit
from swinkit.backbones import SwinConfig
from swinkit.build import build_model
from swinkit.detection.assigners import BACKGROUND
from swinkit.detection.atss import AtssDetector, centerness_of
from swinkit.detection.atss_assigner import AtssAssigner
from swinkit.detection.bifpn import WeightedSum
from swinkit.detection.config import DetectorConfig, FpnConfig, HeadConfig, NeckConfig, SelectConfig
from swinkit.detection.config_dense import AtssConfig, BiFpnConfig, RepPointsV2Config
from swinkit.detection.corners import corner_pool, corner_radius, corner_targets, verify_corners
from swinkit.detection.dense_losses import gaussian_focal_loss, giou_loss_of_pixels, quality_focal_loss
from swinkit.detection.detector import Detector
from swinkit.detection.foreground import foreground_loss, foreground_weights
from swinkit.detection.necks import Fpn, build_neck
from swinkit.detection.points import PointAssigner, box_of_points, kernel_grid, point_grid
from swinkit.detection.reppoints_v2 import RepPointsV2Detector
from swinkit.detection.structures import Detections, Targets
from swinkit.errors import InputError
from swinkit.ops.boxes import generalized_iou, paired_iou, pairwise_iou
from swinkit.spec import ModelSpec, from_dict, to_dict
from swinkit.weights import save

ATSS = AtssConfig(channels=32, convs=1)
REPPOINTS = RepPointsV2Config(channels=32, convs=1, corner_channels=32)
NECKS: dict[type, NeckConfig] = {
    AtssConfig: FpnConfig(channels=32, extra="conv"),
    RepPointsV2Config: BiFpnConfig(channels=32, repeats=1),
}
both = pytest.mark.parametrize("head", [ATSS, REPPOINTS], ids=["atss", "reppoints_v2"])


def tiny(head: HeadConfig, **changes) -> Detector:
    torch.manual_seed(0)
    trunk = SwinConfig(
        embed_dim=8,
        depths=(1, 1, 1, 1),
        num_heads=(1, 1, 2, 2),
        window_size=4,
        window_policy="pad",
        out_indices=(1, 2, 3),
    )
    config = DetectorConfig(backbone=trunk, num_classes=3, neck=NECKS[type(head)], head=head, **changes)
    return build_model(ModelSpec(config=config))


def _bias(layer: nn.Conv2d) -> torch.Tensor:
    assert layer.bias is not None
    return layer.bias


def squares(*places: tuple[float, float, float]) -> torch.Tensor:
    """Boxes from (x, y, side)."""
    return torch.tensor([[x, y, x + side, y + side] for x, y, side in places], dtype=torch.float32)


# --- which boxes are trained ---


def test_the_threshold_is_the_mean_and_one_deviation_of_the_candidates() -> None:
    """An object of 10 x 10. Candidates: itself (IoU 1), moved by 5 (1/3), a large one (1/4), far ones (0)."""
    fine = squares((0, 0, 10), (5, 0, 10), (40, 40, 10), (60, 60, 10))
    coarse = squares((-5, -5, 20), (100, 100, 20))
    boxes, objects = torch.cat([fine, coarse]), squares((0, 0, 10))
    # Two a level: IoU 1, 1/3 and 1/4, 0. Mean 0.396, deviation 0.427: only the first is above 0.823.
    overlaps = torch.tensor([1, 1 / 3, 1 / 4, 0])
    assert float(overlaps.mean() + overlaps.std()) == pytest.approx(0.823, abs=1e-3)
    assigned = AtssAssigner(2)(boxes, [4, 2], objects)
    assert assigned.tolist() == [0] + [BACKGROUND] * 5
    # Without the exact box the rest have a lower bar: 1/3 is above mean 0.146 + deviation 0.172.
    assigned = AtssAssigner(2)(boxes[1:], [3, 2], objects)
    assert assigned.tolist() == [BACKGROUND] * 5, "its centre lies on the object's edge, not inside"
    boxes[1] -= torch.tensor([1.0, 0, 1, 0])
    assert AtssAssigner(2)(boxes[1:], [3, 2], objects).tolist() == [0] + [BACKGROUND] * 4


def test_a_box_of_two_objects_goes_to_the_one_it_overlaps_more() -> None:
    boxes = squares((0, 0, 10), (200, 200, 10), (300, 300, 10))
    objects = squares((0, 0, 14), (0, 0, 11))
    assert AtssAssigner(3)(boxes, [3], objects).tolist() == [1, BACKGROUND, BACKGROUND]
    assert AtssAssigner(3)(boxes, [3], objects[:0]).tolist() == [BACKGROUND] * 3


def test_a_small_level_can_count_as_much_as_the_others() -> None:
    """One coarse box of no overlap, counted three times, lowers the bar below the second fine box."""
    boxes = squares((0, 0, 10), (1, 0, 10), (3, 0, 10), (500, 500, 80))
    objects = squares((0, 0, 10))
    overlaps = pairwise_iou(objects, boxes)[0]
    for fill, counted in ((False, overlaps), (True, overlaps[[0, 1, 2, 3, 3, 3]])):
        bar = float(counted.mean() + counted.std())
        wanted = [0 if float(iou) >= bar else BACKGROUND for iou in overlaps]
        assert AtssAssigner(3, fill=fill)(boxes, [3, 1], objects).tolist() == wanted


def test_an_object_s_first_point_lies_on_the_level_of_its_size() -> None:
    points, strides = (
        [point_grid((8, 8), 8, torch.device("cpu")), point_grid((4, 4), 16, torch.device("cpu"))],
        [8, 16],
    )
    # 32 pixels a side are 4 strides of 8; 64 x 72 lie on the level of stride 16; 1000 on the coarsest.
    objects = torch.tensor([[2.0, 3, 34, 35], [0, 0, 64, 72], [-480, -480, 520, 520]])
    assigned = PointAssigner(4)(points, strides, objects)
    found = {int(assigned[at]): at for at in torch.nonzero(assigned >= 0).flatten().tolist()}
    assert found[0] == 2 * 8 + 2  # the centre (18, 19) is nearest to (16, 16)
    assert found[1] == 64 + 2 * 4 + 2  # (32, 36): (32, 32)
    assert found[2] == 64 + 1 * 4 + 1  # (20, 20): (16, 16)
    assert PointAssigner(4)(points, strides, objects[:0]).tolist() == [BACKGROUND] * 80
    twice = PointAssigner(4)(points, strides, objects[[0, 0]])
    assert twice.unique().tolist() == [BACKGROUND, 0], "the first of two that are equally near"
    line = PointAssigner(4)(points, strides, torch.tensor([[17.0, 15, 17, 15]]))
    assert torch.nonzero(line >= 0).flatten().tolist() == [2 * 8 + 2], "a box without area has a place too"


# --- losses ---


def test_centerness_is_one_in_the_middle_and_falls_to_the_edges() -> None:
    objects = squares((0, 0, 8)).expand(3, 4)
    boxes = squares((2, 2, 4), (0, 2, 4), (-2, 2, 4))
    assert centerness_of(boxes, objects).tolist() == pytest.approx([1, math.sqrt(2 / 6), 0])


def test_focal_losses_are_their_formulas() -> None:
    logits, quality = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.7, 0.0]])
    p = logits.sigmoid()
    wanted = -(quality * p.log() + (1 - quality) * (1 - p).log()) * (p - quality).abs() ** 2
    torch.testing.assert_close(quality_focal_loss(logits, quality), wanted)
    logits, heat = torch.tensor([0.5, 0.5, -1.0]), torch.tensor([1.0, 0.6, 0.0])
    p = logits.sigmoid()
    wanted = torch.stack(
        [
            -p[0].log() * (1 - p[0]) ** 2,
            -(1 - p[1]).log() * p[1] ** 2 * 0.4**4,
            -(1 - p[2]).log() * p[2] ** 2,
        ]
    )
    torch.testing.assert_close(gaussian_focal_loss(logits, heat), wanted)


def test_boxes_of_pixels_are_one_wider_and_one_higher() -> None:
    a, b = torch.tensor([[0.0, 0, 3, 4], [0, 0, 1, 1]]), torch.tensor([[1.0, 1, 5, 4], [7, 7, 8, 9]])
    wider = torch.tensor([0.0, 0, 1, 1])
    torch.testing.assert_close(giou_loss_of_pixels(a, b), 1 - generalized_iou(a + wider, b + wider))
    torch.testing.assert_close(paired_iou(a, b), pairwise_iou(a, b).diagonal())


def test_small_boxes_weigh_more_in_the_foreground() -> None:
    target = Targets(squares((0, 0, 15), (8, 8, 7)), torch.tensor([1, 1]))
    weights = foreground_weights(target, 2, (3, 4), 8)
    assert weights[0].count_nonzero() == 0
    wanted = [[1 / 225, 1 / 225, 0, 0], [1 / 225, 1 / 49, 0, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(weights[1], torch.tensor(wanted))
    logits = torch.randn(1, 2, 3, 4)
    p, flat = logits.sigmoid().flatten(), weights.flatten()
    inside = flat > 0
    positive = (-p.log() * (1 - p) ** 2 * 0.25 * flat).sum() / flat.sum()
    negative = (-(1 - p).log() * p**2 * 0.75)[~inside].sum() / 4
    torch.testing.assert_close(foreground_loss([logits], [target], 8), positive + negative)


def test_boxes_without_area_or_beyond_the_picture_weigh_what_is_seen_of_them() -> None:
    odd = torch.tensor([[9.0, 9, 9, 12], [-40, -40, 12, 12]])
    weights = foreground_weights(Targets(odd, torch.tensor([0, 1])), 2, (4, 4), 8)
    assert weights[0].nonzero().tolist() == [[1, 1]]
    assert float(weights[0, 1, 1]) == 1
    assert weights[1].nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


# --- corners and points ---


def test_large_values_run_to_the_corner() -> None:
    x = torch.tensor([[[[1.0, 5, 2], [4, 0, 3]]]])
    assert corner_pool(x, 3, towards_start=True).tolist() == [[[[5, 5, 2], [4, 3, 3]]]]
    assert corner_pool(x, 3, towards_start=False).tolist() == [[[[1, 5, 5], [4, 4, 4]]]]
    assert corner_pool(x, 2, towards_start=True).tolist() == [[[[4, 5, 3], [4, 0, 3]]]]
    assert corner_pool(x, 2, towards_start=False).tolist() == [[[[1, 5, 2], [4, 5, 3]]]]


def test_corners_within_the_radius_leave_the_overlap() -> None:
    box = torch.tensor([[0.0, 0, 40, 30]])
    radius = float(corner_radius(box, 0.7))
    moves = [torch.tensor([[a, a, b, b]]) * radius for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    overlaps = [float(paired_iou(box + move, box)) for move in moves]
    assert min(overlaps) == pytest.approx(0.7, abs=1e-5)


def test_heat_lies_around_corners_and_offsets_lead_to_them() -> None:
    points = [point_grid((4, 4), 8, torch.device("cpu"))]
    corners, radius = torch.tensor([[9.0, 17.0], [10.0, 18.0]]), torch.tensor([9.0, 4.0])
    heat, offsets = corner_targets(points, [8], corners, radius)
    heat, offsets = heat.view(4, 4), offsets.view(4, 4, 2)
    assert heat[2, 1] == 1
    assert offsets[2, 1].tolist() == [2 / 8, 2 / 8]  # of the later object
    distance = math.dist((16, 16), (9, 17))
    assert float(heat[2, 2]) == pytest.approx(math.exp(-(distance**2) / (2 * (19 / 6) ** 2)))
    assert heat[0, 3] == 0
    assert offsets.count_nonzero() == 2


def test_a_corner_moves_to_the_hottest_of_four_points() -> None:
    heat = torch.full((3, 4), -5.0)
    heat[2, 3] = 1.0
    offsets = torch.zeros(2, 3, 4)
    offsets[:, 2, 3] = torch.tensor([0.25, -0.5])
    found = verify_corners(torch.tensor([[17.0, 9.0], [500.0, 500.0], [0.0, 0.0]]), heat, offsets, 8)
    assert found[:2].tolist() == [[26, 12]] * 2
    assert found[2].tolist()[0] in (0, 8)


def test_points_are_offsets_of_a_convolution_s_own() -> None:
    grid = kernel_grid().flatten().view(9, 2)
    assert grid[0].tolist() == [-1, -1]
    assert grid[1].tolist() == [-1, 0], "y before x"
    points = torch.arange(18.0)
    assert box_of_points(points).tolist() == [1, 0, 3, 2]


def test_a_weighted_sum_is_a_mean_with_swish() -> None:
    layer = WeightedSum(2)
    with torch.no_grad():
        layer.weights.copy_(torch.tensor([3.0, -1.0]))
    a, b = torch.randn(1, 2, 3, 3), torch.randn(1, 2, 3, 3)
    torch.testing.assert_close(layer([a, b]), F.silu(a * 3 / 3.0001))


def test_extra_levels_are_convolutions_or_every_second_point() -> None:
    maps = [torch.randn(1, 8, 8, 8), torch.randn(1, 16, 4, 4)]
    neck = Fpn([16], 4, 3, start=1, convs=True)
    levels = neck(maps)
    assert [tuple(x.shape[2:]) for x in levels] == [(4, 4), (2, 2), (1, 1)]
    torch.testing.assert_close(levels[2], neck.outputs[2](levels[1]))
    with pytest.raises(InputError, match="cannot read the backbone's 2 maps"):
        build_neck(FpnConfig(start=2), [8, 16])


# --- the detectors ---


@both
def test_a_step_with_and_without_objects_reaches_every_parameter(head: HeadConfig) -> None:
    model = tiny(head).train()
    full = Targets(torch.tensor([[10.0, 10, 40, 50]]), torch.tensor([1]))
    empty = Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    for targets in ([full, empty], [empty, empty]):
        model.zero_grad()
        losses = model.losses(torch.randn(2, 3, 64, 96), [(64, 80), (60, 96)], targets)
        total = torch.stack([value.sum() for value in losses.values()]).sum()
        assert bool(torch.isfinite(total))
        total.backward()
        assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
        assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


@both
def test_boxes_stay_in_their_picture_and_come_without_masks(head: HeadConfig) -> None:
    model = tiny(head, select=SelectConfig(score=0.0, before_nms=30)).eval()
    sizes = [(64, 64), (60, 96)]
    with torch.inference_mode():
        for found, (height, width) in zip(model(torch.randn(2, 3, 64, 96), sizes), sizes, strict=True):
            assert len(found)
            assert found.masks is None
            assert float(found.boxes[:, 2].max()) <= width
            assert float(found.boxes[:, 3].max()) <= height
    assert not model.has_masks


def test_what_is_not_a_number_does_not_reach_the_deformable_convolution() -> None:
    """It would end the process; so a training that diverges is told by its loss."""
    model = tiny(REPPOINTS).eval()
    assert isinstance(model, RepPointsV2Detector)

    def check(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        assert bool(torch.isfinite(given[1]).all())

    for layer in (model.dense.class_deform, model.dense.refined_deform):
        layer.register_forward_pre_hook(check)
    images = torch.full((1, 3, 64, 64), torch.nan)
    target = Targets(torch.tensor([[10.0, 10, 40, 50]]), torch.tensor([1]))
    losses = model.losses(images, [(64, 64)], [target])
    assert not bool(torch.isfinite(losses["classes"]).all())
    with torch.inference_mode():
        assert len(model(images)[0]) == 0


def test_the_least_score_is_asked_before_centerness() -> None:
    model = tiny(ATSS, select=SelectConfig(score=0.4)).eval()
    assert isinstance(model, AtssDetector)
    with torch.no_grad():
        nn.init.zeros_(_bias(model.dense.scores))  # every class has about 0.5
        nn.init.constant_(_bias(model.dense.centerness), -2.0)  # times 0.12
    with torch.inference_mode():
        found = model(torch.randn(1, 3, 64, 64))[0]
    assert len(found) > 10
    assert float(found.scores.max()) < 0.1


@torch.inference_mode()
def test_a_box_that_lies_outside_the_picture_is_no_finding() -> None:
    """Clipped, it has no width; its score may be the highest of all."""
    model = tiny(ATSS, select=SelectConfig(score=0.0)).eval()
    assert isinstance(model, AtssDetector)
    images = torch.randn(1, 3, 64, 64)
    assert len(model(images)[0])
    for side, far in ((0, 1e4), (0, -1e4), (1, 1e4), (1, -1e4)):
        _bias(model.dense.deltas).zero_()[side] = far
        assert len(model(images)[0]) == 0


def test_a_picture_without_objects_counts_as_one_anchor() -> None:
    """So is the published divisor: the anchors with objects of each picture, one at least."""
    model = tiny(ATSS).eval()
    assert isinstance(model, AtssDetector)
    image = torch.randn(1, 3, 64, 64)
    full = Targets(torch.tensor([[10.0, 10, 40, 50]]), torch.tensor([1]))
    empty = Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    with torch.inference_mode():
        sizes = [tuple(x.shape[2:]) for x in model.features(image)]
        levels = model.anchors(sizes, image.device)  # type: ignore[arg-type]  # pairs of int
        anchors = torch.cat(levels)
        assigned = model.assigner(anchors, [len(x) for x in levels], full.boxes)
        positive = int((assigned >= 0).sum())
        alone = model.losses(image, [(64, 64)], [full])["centerness"].sum()
        both = model.losses(image.repeat(2, 1, 1, 1), [(64, 64)] * 2, [full, empty])["centerness"].sum()
    assert positive > 0
    assert float(both / alone) == pytest.approx(positive / (positive + 1), rel=1e-5)


def test_the_refinement_s_loss_leaves_the_first_points_alone() -> None:
    """But for the share that goes through the places it looks at."""
    for share in (0.0, 0.1):
        model = tiny(replace(REPPOINTS, gradient=share))
        assert isinstance(model, RepPointsV2Detector)
        outputs = model.dense([torch.randn(1, 32, 8, 8)])
        outputs.refined[0].sum().backward()
        weight = model.dense.first.weight.grad
        assert weight is not None
        assert bool((weight != 0).any()) == (share > 0)


@torch.inference_mode()
def test_boxes_are_verified_on_the_published_levels() -> None:
    """None on the finest, the finest for the next two, the second for the rest."""
    model = tiny(REPPOINTS).eval()
    assert isinstance(model, RepPointsV2Detector)
    outputs = model.dense(model.features(torch.randn(1, 3, 128, 128)))
    for level, offsets in enumerate(outputs.offsets):
        offsets.fill_(0.1 * (level + 1))
    boxes = torch.tensor([[34.0, 36, 70, 72]])
    used = []
    for level in range(5):
        found = model._verified(boxes, outputs, 0, level, (128, 128))
        steps = {at: (found / stride - 0.1 * (at + 1)) for at, stride in ((0, 8), (1, 16))}
        used.append([at for at, x in steps.items() if bool(((x - x.round()).abs() < 1e-4).all())])
    assert used == [[], [0], [0], [1], [1]]


def test_a_box_inside_out_is_no_finding() -> None:
    boxes = torch.tensor([[0.0, 0, 5, 5], [5, 0, 0, 5], [5, 5, 5, 9]])
    found = Detections(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.int64))
    assert found.in_order().scores.tolist() == pytest.approx([0.9, 0.7])


@both
def test_a_dense_detector_is_plain_data_and_survives_a_checkpoint(head: HeadConfig, tmp_path) -> None:
    model = tiny(head).eval()
    assert from_dict(to_dict(model.spec)) == model.spec
    save(model, tmp_path / "model.safetensors")
    again = swinkit.load(tmp_path / "model.safetensors").eval()
    assert isinstance(again, Detector)
    assert again.spec.config == model.spec.config
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(again(image)[0].boxes, model(image)[0].boxes)


@pytest.mark.parametrize("name", ["atss", "reppoints_v2"])
def test_the_builder_reads_only_the_maps_it_needs(name: str) -> None:
    with torch.device("meta"):
        model = swinkit.create_detector(f"{name}_swin_tiny_patch4_window7_224", num_classes=7)
        stood = swinkit.create_detector("timm/resnet50", head=name)
    assert isinstance(model.config.backbone, SwinConfig)
    assert model.config.backbone.out_indices == (1, 2, 3)
    assert model.strides == stood.strides == [8, 16, 32, 64, 128]
    assert (model.config.select.iou, model.config.num_classes) == (0.6, 7)
    with pytest.raises(InputError, match="boxes only"):
        swinkit.create_detector(f"{name}_swin_tiny_patch4_window7_224", masks=True)


@both
def test_a_detector_starts_from_one_of_other_classes(head: HeadConfig, tmp_path) -> None:
    """Also where the file's backbone gives a map that nothing reads, as published ATSS files do."""
    config = tiny(head).config
    assert isinstance(config.backbone, SwinConfig)
    four = replace(config.backbone, out_indices=(0, 1, 2, 3))
    first = build_model(ModelSpec(config=replace(config, backbone=four, neck=replace(config.neck, start=1))))
    save(first, tmp_path / "model.safetensors")
    model = swinkit.create_detector(
        config.backbone,
        head=head,
        neck=first.config.neck,
        num_classes=5,
        pretrained=tmp_path / "model.safetensors",
    )
    state, old = model.state_dict(), first.state_dict()
    assert state["dense.scores.weight"].shape[0] == 5
    same = [key for key in state if state[key].shape == old[key].shape and "scores" not in key]
    assert all(torch.equal(state[key], old[key]) for key in same if "foreground.bias" not in key)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AtssConfig(channels=48), "multiple of the 32 groups"),
        (lambda: AtssConfig(candidates=1), "at least 2 candidates"),
        (lambda: RepPointsV2Config(corner_channels=40), "corner_channels must be a multiple"),
        (lambda: RepPointsV2Config(corner_iou=1.0), "between 0 and 1"),
        (lambda: BiFpnConfig(repeats=0), "at least one repeat"),
        (lambda: BiFpnConfig(channels=16), "channels of the neck"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
