"""A detection job from pictures with objects to a run folder; stopped, resumed, scored and used."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import swinkit
from detector_jobs import TINY, job
from swinkit.cli.main import main
from swinkit.data.object_config import ObjectDataConfig
from swinkit.detection.config import DetectorConfig, SelectConfig
from swinkit.detection.two_stage import TwoStageDetector
from swinkit.errors import InputError
from swinkit.recipes import RECIPES
from swinkit.train import train
from swinkit.train.config import ScheduleConfig, TrainerConfig
from swinkit.train.detection_config import DetectConfig, DetectorOptions, SelectOptions
from swinkit.train.jobs import job_from_json
from swinkit.train.prepare_detection import build_detector_of, open_object_data
from swinkit.weights import catalog, load, read_state_dict
from swinkit.weights.io import spec_of


def shrunk(config: DetectConfig, data: Path, out: Path) -> DetectConfig:
    """A recipe on small pictures with a small model, and everything else as it is."""
    model = dataclasses.replace(
        config.model,
        **{name: getattr(TINY, name) for name in ("embed_dim", "depths", "num_heads", "window_size")},
        name="custom",
        pretrained=False,
        freeze_stages=0,
        norm_eval=False,
        channels=16 if config.model.head.endswith("rcnn") else 32,  # group norm has 32 groups
        fc_channels=32,
        proposals=10,
        short_side=64,
        long_side=96,
    )
    augment = dataclasses.replace(
        config.augment,
        short_sides=(64,),
        short_range=(48, 64) if config.augment.short_range else None,
        long_side=96,
        crop_sides=(64,),
        crop_range=(48, 64),
        size=(64, 64),
    )
    return dataclasses.replace(
        config,
        model=model,
        data=dataclasses.replace(config.data, path=data, batch_size=2, workers=0),
        augment=augment,
        trainer=dataclasses.replace(config.trainer, device="cpu", max_steps=1),
        out=out,
    )


@pytest.fixture
def run(object_folder, tmp_path: Path) -> Path:
    """The folder of a short run."""
    train(job(object_folder(), tmp_path / "run"))
    return tmp_path / "run"


def test_a_backbone_from_scratch_starts_as_asked(object_folder, tmp_path) -> None:
    config = job(object_folder(), tmp_path / "run")
    data, _ = open_object_data(config)
    for init, spread in (("paper", 0.02), ("xavier", (2 / (64 + 256)) ** 0.5)):
        options = dataclasses.replace(config.model, init=init)
        model = build_detector_of(dataclasses.replace(config, model=options), data, masks=False)
        weight = model.backbone.get_parameter("stages.3.blocks.0.mlp.fc1.weight")
        assert weight.std().item() == pytest.approx(spread, rel=0.05)


def test_a_run_folder_has_all_a_user_needs(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    assert {"mask_ap", "mask_ap50", "box_ap", "box_ap50"} <= report.keys()
    with (run / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["val_mask_ap"] for row in rows if row["val_mask_ap"]}
    rates = [float(row["lr"]) for row in rows if row["lr"]]
    assert rates[:2] + rates[3:] == pytest.approx([2e-3] * 2 + [2e-4] * 3)
    seen = json.loads((run / "data.json").read_text())
    assert seen["train"]["classes"] == {"square": 6, "disk": 6}
    model = load(run)
    assert isinstance(model, TwoStageDetector)
    assert model.has_masks
    assert model.spec.class_names == ("square", "disk")
    again = job_from_json((run / "config.json").read_text())
    assert again == job(run.parent / "shapes", run)


def test_a_resumed_run_is_bit_for_bit_the_one_never_stopped(object_folder, tmp_path: Path) -> None:
    data = object_folder(masks=False)
    train(job(data, tmp_path / "whole"))
    cut = TrainerConfig(device="cpu", log_every=1, max_steps=2)
    train(job(data, tmp_path / "parts", trainer=cut))
    train(job(data, tmp_path / "parts"), resume=True)
    whole, _ = read_state_dict(tmp_path / "whole" / "checkpoints" / "last.ckpt")
    parts, _ = read_state_dict(tmp_path / "parts" / "checkpoints" / "last.ckpt")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert not any("mask" in key for key in whole), "data without outlines train boxes only"


def test_boxes_only_is_one_word(object_folder, tmp_path: Path) -> None:
    data = str(object_folder())
    words = ["--data", data, "--boxes-only", "--out", str(tmp_path / "run"), "--pretrained", "False"]
    words += ["--model", "custom", "--model.embed-dim", "8", "--model.depths", "1", "1", "1", "1"]
    words += ["--model.num-heads", "1", "1", "2", "2", "--model.channels", "16", "--model.fc-channels", "32"]
    words += ["--model.short-side", "64", "--augment.short-sides", "64", "--augment.crop-probability", "0"]
    words += ["--trainer.max-steps", "1", "--device", "cpu", "--data.workers", "0"]
    assert main(["train", "detect", *words]) == 0
    model = load(tmp_path / "run")
    assert isinstance(model, TwoStageDetector)
    assert not model.has_masks


def test_training_learns_the_shapes(object_folder, tmp_path: Path) -> None:
    """A few steps on few pictures must bring the loss down."""
    settings = dataclasses.replace(
        job(object_folder(), tmp_path / "run"),
        schedule=ScheduleConfig(epochs=8, warmup_epochs=0, kind="constant"),
        trainer=TrainerConfig(device="cpu", log_every=3, validate_every=8),
    )
    train(settings)
    with (tmp_path / "run" / "metrics.csv").open() as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream) if row["loss"]]
    assert losses[-1] < 0.7 * losses[0]


def test_a_detector_starts_from_a_detector_of_other_classes(run: Path, object_folder) -> None:
    config = spec_of(load(run)).config
    assert isinstance(config, DetectorConfig)
    model = swinkit.create_detector(
        config.backbone,
        head=config.head,
        neck_channels=16,
        num_classes=5,
        pretrained=run,
    )
    trained = load(run).state_dict()
    state = model.state_dict()
    assert torch.equal(state["roi.0.box.fcs.0.weight"], trained["roi.0.box.fcs.0.weight"])
    assert state["roi.0.box.classes.weight"].shape[0] == 6


def test_eval_scores_a_run_and_anyone_s_detections(run: Path, capsys, tmp_path: Path) -> None:
    assert main(["eval", str(run), "--out", str(tmp_path / "report"), "--split", "val"]) == 0
    shown = capsys.readouterr().out
    assert "AP50 %" in shown
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["boxes"]["pictures"] == 6
    truth = run.parent / "shapes" / "annotations" / "instances_val.json"
    words = ["--detections", str(tmp_path / "report" / "detections.json"), "--data", str(truth)]
    assert main(["eval", "theirs", *words, "--out", str(tmp_path / "again")]) == 0
    few = ["--most", "1", "--tile", "48", "--overlap", "0.5", "--out", str(tmp_path / "few")]
    assert main(["eval", str(run), *few, "--split", "val", "--score", "0.9999"]) == 0
    assert json.loads((tmp_path / "few" / "report.json").read_text())["boxes"]["detections"] == 0
    again = json.loads((tmp_path / "again" / "report.json").read_text())
    assert again["boxes"]["AP"] == pytest.approx(report["boxes"]["AP"], abs=1e-9)
    assert again["masks"]["AP"] == pytest.approx(report["masks"]["AP"], abs=1e-6)


def test_predict_writes_coco_csv_and_pictures(run: Path, tmp_path: Path, capsys) -> None:
    photos = run.parent / "shapes" / "val"
    out = tmp_path / "out"
    assert main(["predict", str(run), str(photos), "--out", str(out), "--save-pictures", "--score", "0"]) == 0
    found = json.loads((out / "predictions.json").read_text())
    assert len(found["images"]) == 6
    assert {item["category_id"] for item in found["annotations"]} <= {1, 2}
    assert {"bbox", "score", "segmentation"} <= found["annotations"][0].keys()
    assert len(list((out / "pictures").glob("*.png"))) == 6
    capsys.readouterr()
    words = [str(photos / "0.png"), "--format", "csv", "--only", "disk", "--score", "0"]
    assert main(["predict", str(run), *words]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert {row["name"] for row in rows} == {"disk"}


def test_a_stopped_prediction_goes_on(run: Path, tmp_path: Path) -> None:
    photos, out = run.parent / "shapes" / "val", tmp_path / "out"
    assert main(["predict", str(run), str(photos), "--out", str(out)]) == 0
    whole = (out / "predictions.json").read_text()
    lines = (out / "predictions.jsonl").read_text().splitlines()
    (out / "predictions.jsonl").write_text("\n".join(lines[:2]) + "\n" + lines[2][:50])
    (photos / "0.png").write_bytes(b"broken since, but done already")
    assert main(["predict", str(run), str(photos), "--out", str(out), "--resume"]) == 0
    assert (out / "predictions.json").read_text() == whole


def test_info_knows_a_detector(run: Path, capsys) -> None:
    assert main(["info", str(run), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["task"], facts["class_names"], facts["fits"]) == ("detection", ["square", "disk"], True)


def test_predictor_gives_plain_arrays_and_pictures(run: Path) -> None:
    predictor = swinkit.Predictor(load(run))
    photo = run.parent / "shapes" / "val" / "1.png"
    result = predictor(photo)
    assert result.boxes.shape == (len(result), 4)
    assert result.masks.shape == (len(result), 64, 80)
    assert result.to_dict()["objects"][0]["name"] in ("square", "disk")
    assert result.draw().size[0] >= 480
    assert result._repr_png_().startswith(b"\x89PNG")
    from_memory = predictor(Image.open(photo))
    assert torch.equal(torch.from_numpy(from_memory.boxes), torch.from_numpy(result.boxes))
    assert len(predictor([photo, photo])) == 2


def test_data_that_do_not_fit_are_named(object_folder, tmp_path: Path) -> None:
    data = object_folder(masks=False)
    wanted = dataclasses.replace(TINY, masks=True)
    with pytest.raises(InputError, match="12 objects have no outline"):
        train(job(data, tmp_path / "run", model=wanted))
    path = data / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = "box"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"different categories .*'box', 'square'"):
        open_object_data(job(data, tmp_path / "run"))
    content = json.loads((data / "annotations" / "instances_train.json").read_text())
    content["annotations"] = []
    (data / "annotations" / "instances_train.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="have no object"):
        open_object_data(job(data, tmp_path / "run"))


@pytest.mark.parametrize("name", ["timm/resnet50", "swin_nothing"])
def test_numbers_of_ones_own_need_a_swin(name: str, object_folder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fit a Swin variant or custom"):
        train(job(object_folder(), tmp_path / "run", model=dataclasses.replace(TINY, name=name)))


def test_numbers_that_make_no_detector_are_refused() -> None:
    models: list[dict[str, Any]] = [{"channels": 0}, {"fc_channels": 0}, {"samples": 0}, {"short_side": 0}]
    models += [{"anchor_scale": 0.0}, {"scale": -1.0}]
    for bad in models:
        with pytest.raises(InputError, match=next(iter(bad))):
            DetectorOptions(**bad)
    chosen: list[dict[str, Any]] = [{"iou": 2.0}, {"sigma": 0.0}, {"before_nms": 0}, {"proposals": 0}]
    for bad in chosen:
        with pytest.raises(InputError, match=next(iter(bad))):
            SelectConfig(**bad)
        with pytest.raises(InputError, match=next(iter(bad))):
            SelectOptions(**bad)
    with pytest.raises(InputError, match="unknown head 'other'"):
        swinkit.create_detector("swin_tiny_patch4_window7_224", head="other")


def test_a_damaged_training_picture_is_named(object_folder, tmp_path: Path) -> None:
    data = object_folder()
    (data / "train" / "3.png").write_bytes(b"\x89PNG but no more")
    with pytest.raises(InputError, match=r"3\.png"):
        train(job(data, tmp_path / "run"))
    settings = ObjectDataConfig(path=data, batch_size=2, workers=0, bad="skip")
    one = TrainerConfig(device="cpu", max_steps=3)
    skipping = dataclasses.replace(job(data, tmp_path / "skip"), data=settings, trainer=one)
    assert train(skipping).steps == 3


def test_a_damaged_validation_picture_is_left_out_of_the_score(object_folder, tmp_path: Path) -> None:
    data = object_folder()
    (data / "val" / "2.png").write_bytes(b"\x89PNG but no more")
    settings = ObjectDataConfig(path=data, batch_size=2, workers=0, bad="skip")
    one = ScheduleConfig(epochs=1, warmup_epochs=0, kind="constant")
    run = tmp_path / "run"
    result = train(dataclasses.replace(job(data, run), data=settings, schedule=one))
    words = ["eval", str(run), "--data", str(data), "--split", "val"]
    assert main(words) == 2
    assert main([*words, "--skip-bad-pictures", "--out", str(tmp_path / "report")]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["boxes"]["pictures"] == 5
    for kind, name in (("boxes", "box_ap50"), ("masks", "mask_ap50")):
        assert result.scores[name] == pytest.approx(100 * report[kind]["AP50"], abs=1e-6)
    rows = json.loads((tmp_path / "report" / "detections.json").read_text())
    assert {row["image_id"] for row in rows} == {100, 101, 103, 104, 105}


RECIPES_HERE = [name for name, make in RECIPES.items() if isinstance(make(), DetectConfig)]


@pytest.mark.parametrize("name", RECIPES_HERE)
def test_recipe_takes_one_step(name: str, object_folder, tmp_path: Path) -> None:
    recipe = RECIPES[name]()
    assert isinstance(recipe, DetectConfig)
    result = train(shrunk(recipe, object_folder(count=4), tmp_path / "run"))
    assert result.steps == 1
    assert result.model.is_file()


@pytest.mark.parametrize("name", [name for name in RECIPES_HERE if name.endswith(("1x", "3x"))])
def test_recipe_of_the_paper_is_the_published_one(name: str) -> None:
    recipe = RECIPES[name]()
    assert isinstance(recipe, DetectConfig)
    assert (recipe.optimizer.lr, recipe.optimizer.lr_base_batch, recipe.optimizer.weight_decay) == (
        1e-4,
        16,
        0.05,
    )
    assert (recipe.schedule.epochs, recipe.schedule.drops) in ((36, (27, 33)), (12, (8, 11)))
    largest = 960 if name.startswith("reppoints") else 800
    assert recipe.augment.short_sides == tuple(range(480, largest + 1, 32))
    assert (recipe.augment.long_side, recipe.augment.crop_range) == (1333, (384, 600))
    assert recipe.optimizer.no_decay == "layer_norms"
    assert recipe.trainer.sync_batchnorm
    depth = {"cascade_mask_rcnn_swin_tiny_1x": 0.0, "mask_rcnn_swin_tiny_1x": 0.1}
    depth |= {
        "cascade_mask_rcnn_swin_base_3x": 0.3,
        **{own: None for own in RECIPES_HERE if "resnet50" in own},
    }
    assert recipe.model.drop_path_rate == depth.get(name, 0.2)
    resnet = "resnet" in name
    assert (recipe.model.freeze_stages, recipe.model.norm_eval) == ((2, True) if resnet else (0, False))
    weights = recipe.model.pretrained
    assert weights is True if "resnet" in name else catalog.find(str(weights)).num_classes == 1000  # type: ignore[union-attr]  # it is there


@pytest.mark.parametrize("name", [name for name in RECIPES_HERE if name.endswith("6x")])
def test_recipe_of_htc_plus_is_a2_2(name: str) -> None:
    recipe = RECIPES[name]()
    assert isinstance(recipe, DetectConfig)
    assert recipe.model.head == "htc_plus"
    assert (recipe.schedule.epochs, recipe.schedule.drops) == (72, (63, 69))
    augment = recipe.augment
    assert (augment.short_range, augment.long_side, augment.instaboost) == ((400, 1400), 1600, 0.5)
    assert augment.crop_probability == 0
    assert recipe.select == SelectOptions(), "what HTC++ is published with: soft-NMS"
    weights = catalog.find(str(recipe.model.pretrained))
    assert weights is not None
    assert weights.num_classes == 21841
