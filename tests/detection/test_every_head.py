"""What all detectors have in common: how they choose what they report, and what they do with odd batches."""

import dataclasses
from pathlib import Path

import pytest
import torch

import swinkit
from detector_jobs import TINY, job
from swinkit.backbones import SwinConfig
from swinkit.detection.config import SelectConfig, StageConfig, TwoStageConfig, cascade_mask_rcnn
from swinkit.detection.detector import Detector
from swinkit.detection.htc_config import htc, htc_plus
from swinkit.detection.published import published_select
from swinkit.detection.sparse_config import SparseConfig
from swinkit.detection.stage import RegionStage, Samples
from swinkit.detection.structures import Targets
from swinkit.detection.two_stage import refined
from swinkit.errors import InputError
from swinkit.models_detection import HEADS
from swinkit.recipes import RECIPES
from swinkit.train import train
from swinkit.train.config import TrainerConfig
from swinkit.train.detection_config import DetectConfig, SelectOptions
from swinkit.train.prepare_detection import prepare_detection
from swinkit.weights import load
from swinkit.weights.io import spec_of

TRUNK = SwinConfig(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4)
every = pytest.mark.parametrize("head", ["mask_rcnn", "htc", "atss", "reppoints_v2", "sparse_rcnn"])
PUBLISHED = {
    "mask_rcnn": SelectConfig(score=0.05, iou=0.5),
    "cascade_mask_rcnn": SelectConfig(score=0.05, iou=0.5),
    "htc": SelectConfig(score=0.001, iou=0.5),
    "htc_plus": SelectConfig(score=0.001, nms="soft"),
    "atss": SelectConfig(score=0.05, iou=0.6),
    "reppoints_v2": SelectConfig(score=0.05, iou=0.6),
    "sparse_rcnn": SelectConfig(score=0.0),
}


def tiny(head: str) -> Detector:
    torch.manual_seed(0)
    config = HEADS[head]
    if head == "htc":
        config = dataclasses.replace(config, semantic=None)
    return swinkit.create_detector(TRUNK, head=config, num_classes=3, neck_channels=32)


def target(boxes: list[list[float]]) -> Targets:
    masks = torch.zeros(len(boxes), 64, 64, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[int(y1) : int(y2), int(x1) : int(x2)] = 1
    return Targets(torch.tensor(boxes), torch.arange(len(boxes)) % 3, masks)


def choosing(config: DetectConfig) -> SelectConfig:
    """How the detector that a job trains chooses."""
    return prepare_detection(config, None).model.config.select


@pytest.mark.parametrize("head", PUBLISHED)
def test_a_job_chooses_as_its_head_is_published_but_for_what_is_set(
    head: str, object_folder, tmp_path: Path
) -> None:
    model = dataclasses.replace(TINY, head=head, channels=32, proposals=10)
    config = job(object_folder(4), tmp_path / "run", model=model, select=SelectOptions())
    assert choosing(config) == PUBLISHED[head] == published_select(HEADS[head])
    own = dataclasses.replace(config, select=SelectOptions(most=7, score=0.2))
    assert choosing(own) == dataclasses.replace(PUBLISHED[head], most=7, score=0.2)


def test_only_nuclei_choose_in_their_own_way() -> None:
    """The other recipes leave it to the head, so that --model.head brings its own."""
    recipes = {name: make() for name, make in RECIPES.items()}
    own = {
        name: recipe.select
        for name, recipe in recipes.items()
        if isinstance(recipe, DetectConfig) and recipe.select != SelectOptions()
    }
    assert own == {"nuclei": SelectOptions(most=400, before_nms=2000, proposals=1500)}


def test_a_resumed_run_chooses_as_before_or_as_it_is_told_now(object_folder, tmp_path: Path) -> None:
    config = job(object_folder(4), tmp_path / "run", select=SelectOptions(most=9))
    cut = dataclasses.replace(config, trainer=TrainerConfig(device="cpu", max_steps=1))
    train(cut)
    prepared = prepare_detection(dataclasses.replace(config, select=SelectOptions()), tmp_path / "run")
    assert prepared.model.config.select.most == 9
    train(dataclasses.replace(config, select=SelectOptions(iou=0.3)), resume=True)
    found = spec_of(load(tmp_path / "run")).config
    assert (found.select.most, found.select.iou) == (9, 0.3)  # type: ignore[union-attr]  # a detector's


@every
def test_no_pictures_give_no_detections_and_no_training(head: str) -> None:
    model = tiny(head)
    assert model.eval()(torch.zeros(0, 3, 64, 64)) == []
    for images, targets in ((torch.zeros(0, 3, 64, 64), []), (torch.zeros(2, 3, 64, 64), [target([])])):
        with pytest.raises(InputError, match=r"at least one picture, and the targets of each; got [02] "):
            model.losses(images, [(64, 64)] * len(images), targets)


def test_an_object_s_region_moves_as_its_class_does_and_background_as_it_looks() -> None:
    """Of a cascade whose stages have a box a class."""
    stage = RegionStage(8, 2, TwoStageConfig(mask=None), StageConfig())
    boxes = torch.tensor([[0.0, 0, 20, 20], [0, 0, 20, 20], [0, 0, 20, 20]])
    given = torch.tensor([False, False, True])
    samples = Samples(boxes, torch.tensor([1, 2, 1]), torch.tensor([0]), given)
    logits = torch.tensor([[3.0, 0, 0]] * 3)
    deltas = torch.zeros(3, 2, 4)
    deltas[:, 1, 0] = 5.0  # times the deviation 0.1 times 20 pixels
    moved = refined(stage, [samples], logits, deltas, [(64, 64)])[0]
    assert moved.tolist() == [[10, 0, 30, 20], [0, 0, 20, 20]], "own boxes are left out"


def test_numbers_of_the_published_heads() -> None:
    sparse = SparseConfig()
    assert (sparse.proposals, sparse.stages, sparse.pool, sparse.samples) == (300, 6, 7, 2)
    assert (sparse.heads, sparse.hidden, sparse.dynamic, sparse.dropout) == (8, 2048, 64, 0.0)
    assert (sparse.class_fcs, sparse.box_fcs, sparse.deviations) == (1, 3, (0.5, 0.5, 1.0, 1.0))
    assert (sparse.class_weight, sparse.box_weight, sparse.giou_weight) == (2, 5, 2)
    cascade = cascade_mask_rcnn()
    assert htc().rpn == htc_plus().rpn == cascade.rpn
    assert (cascade.rpn.border, cascade.rpn.smooth_beta, cascade.rpn.train_proposals) == (0, 1 / 9, 2000)
    assert htc_plus().box == dataclasses.replace(cascade.box, class_agnostic=True, smooth_beta=1.0)
    assert (cascade.box.loss, cascade.box.loss_weight) == ("giou", 10)


@every
def test_a_box_without_area_is_no_object(head: str) -> None:
    """Boxes of a line or a point can come from Python; the data sets refuse them."""
    model = tiny(head)
    given = target([[40.0, 40, 40, 50], [10, 10, 34, 40], [20, 20, 20, 20]])
    assert given.masks is not None
    alone = Targets(given.boxes[1:2], given.labels[1:2], given.masks[1:2])
    images = torch.randn(1, 3, 64, 64)

    def losses(target: Targets) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        return model.losses(images, [(64, 64)], [target])

    with_all = losses(given)
    assert all(torch.isfinite(value).all() for value in with_all.values())
    if hasattr(model, "rpn"):
        torch.testing.assert_close(with_all, losses(alone))
