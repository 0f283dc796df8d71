"""A segmentation job from a folder of masks to a run folder, stopped and resumed, scored and loaded."""

import csv
import dataclasses
import json
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

from swinkit.cli.main import main
from swinkit.data.mask_config import MaskAugmentConfig, MaskDataConfig
from swinkit.data.masks import open_masks
from swinkit.errors import InputError
from swinkit.evaluate.segmentation import evaluate_segmenter
from swinkit.recipes import RECIPES
from swinkit.segmentation.config import InferenceConfig, LossConfig
from swinkit.segmentation.losses import counted_weights
from swinkit.segmentation.segmenter import Segmenter
from swinkit.train import train
from swinkit.train.config import OptimizerConfig, ScheduleConfig, TrainerConfig
from swinkit.train.jobs import job_from_json
from swinkit.train.prepare import build_segmenter_of, open_mask_data, prepare
from swinkit.train.quiet import quiet
from swinkit.train.segmentation_config import SegmentConfig, SegmenterOptions
from swinkit.train.segmentation_module import SegmentationModule
from swinkit.weights import catalog, load, read_state_dict
from swinkit.weights.io import spec_of


def job(data: Path, out: Path, **changes) -> SegmentConfig:
    config = SegmentConfig(
        model=SegmenterOptions(
            name="custom",
            embed_dim=8,
            depths=(2, 2, 2, 2),
            num_heads=(1, 2, 4, 8),
            window_size=4,
            channels=16,
            auxiliary_channels=8,
        ),
        data=MaskDataConfig(path=data, batch_size=3, workers=0),
        augment=MaskAugmentConfig(crop=(32, 32), ratio=(0.8, 1.2)),
        loss=LossConfig(dice=1.0),
        optimizer=OptimizerConfig(lr=3e-3),
        schedule=ScheduleConfig(epochs=3, warmup_epochs=0, min_lr=0.0),
        trainer=TrainerConfig(device="cpu", log_every=1),
        out=out,
    )
    return dataclasses.replace(config, **changes)


def test_a_run_folder_has_all_a_user_needs(mask_folder, tmp_path) -> None:
    result = train(job(mask_folder(), tmp_path / "run"))
    assert result.scores.keys() == {"miou", "macc", "aacc"}
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["miou"] == result.scores["miou"]
    with (tmp_path / "run" / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["val_miou"] for row in rows if row["val_miou"]}
    seen = json.loads((tmp_path / "run" / "data.json").read_text())
    assert [row["name"] for row in seen["train"]["classes"]] == ["ground", "square"]
    model = load(tmp_path / "run")
    assert spec_of(model).class_names == ("ground", "square")
    again = job_from_json((tmp_path / "run" / "config.json").read_text())
    assert again == job(tmp_path / "squares", tmp_path / "run")
    assert (tmp_path / "run" / "curve.png").stat().st_size > 0


def test_a_backbone_from_scratch_starts_as_asked(mask_folder, tmp_path) -> None:
    config = job(mask_folder(), tmp_path / "run")
    data, _ = open_mask_data(config)
    for init, spread in (("paper", 0.02), ("xavier", (2 / (64 + 256)) ** 0.5)):
        options = dataclasses.replace(config.model, init=init)
        model = build_segmenter_of(dataclasses.replace(config, model=options), data)
        weight = model.backbone.get_parameter("stages.3.blocks.0.mlp.fc1.weight")
        assert weight.std().item() == pytest.approx(spread, rel=0.05)


def test_a_resumed_run_is_bit_for_bit_the_one_never_stopped(mask_folder, tmp_path) -> None:
    data = mask_folder()
    train(job(data, tmp_path / "whole"))
    cut = TrainerConfig(device="cpu", log_every=1, max_steps=3)
    train(job(data, tmp_path / "parts", trainer=cut))
    train(job(data, tmp_path / "parts"), resume=True)
    whole, _ = read_state_dict(tmp_path / "whole" / "checkpoints" / "last.ckpt")
    parts, _ = read_state_dict(tmp_path / "parts" / "checkpoints" / "last.ckpt")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_validation_every_few_epochs_still_has_the_last_one(mask_folder, tmp_path) -> None:
    settings = TrainerConfig(device="cpu", validate_every=2)
    train(job(mask_folder(), tmp_path / "run", trainer=settings))
    with (tmp_path / "run" / "metrics.csv").open() as stream:
        epochs = [row["epoch"] for row in csv.DictReader(stream) if row["val_miou"]]
    assert epochs == ["2", "3"]


def test_steps_instead_of_epochs_end_with_a_whole_epoch(mask_folder, tmp_path) -> None:
    schedule = ScheduleConfig(steps=3, warmup_steps=1, warmup_lr=0.0, min_lr=0.0, kind="linear")
    result = train(job(mask_folder(), tmp_path / "run", schedule=schedule))
    assert (result.steps, result.epochs) == (4, 2)


def test_classes_that_differ_from_the_checkpoint_s_are_said(mask_folder, tmp_path) -> None:
    data = mask_folder()
    train(job(data, tmp_path / "run", schedule=ScheduleConfig(epochs=1, warmup_epochs=0)))
    (data / "classes.txt").write_text("ground\nsquare\ncircle\n")
    with pytest.raises(InputError, match=r"3 classes.*the model 2"):
        main_error(["eval", str(tmp_path / "run"), "--data", str(data), "--workers", "0"])


def test_jobs_that_cannot_run_are_said_before_they_start(mask_folder, tmp_path) -> None:
    config = job(mask_folder(), tmp_path / "run")
    with pytest.raises(
        InputError, match=r"two pictures a batch or more, and this job's have 1: raise --data\."
    ):
        train(dataclasses.replace(config, data=dataclasses.replace(config.data, batch_size=1)))
    model = dataclasses.replace(config.model, name="swin_tinny_patch4_window7_224")
    with pytest.raises(InputError, match="did you mean swin_tiny_patch4_window7_224"):
        train(dataclasses.replace(config, model=model))
    assert not (tmp_path / "run").exists()


def test_a_folder_without_splits_is_measured_on_what_was_held_out(mask_folder, tmp_path, capsys) -> None:
    data = mask_folder({"": 10})
    train(job(data, tmp_path / "run", schedule=ScheduleConfig(epochs=1, warmup_epochs=0)))
    for more in ([], ["--data", str(data)]):
        out = tmp_path / f"report{len(more)}"
        assert main(["eval", str(tmp_path / "run"), "--device", "cpu", "--out", str(out), *more]) == 0
        assert "measuring it only on pictures it was not trained on" in capsys.readouterr().err
        report = json.loads((out / "report.json").read_text())
        assert (report["split"], report["count"]) == ("val", 1)
    words = ["eval", str(tmp_path / "run" / "model.safetensors"), "--data", str(data), "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "all")]) == 0
    assert json.loads((tmp_path / "all" / "report.json").read_text())["count"] == 10


def main_error(words: list[str]) -> None:
    """Run a command for its error itself, which the program would print."""
    from swinkit.cli.main import COMMANDS, _load

    _load(COMMANDS[words[0]])(words[1:])


def test_validation_scores_are_those_of_the_evaluator(mask_folder, tmp_path) -> None:
    data = mask_folder()
    inference = InferenceConfig(crop=(32, 32), stride=(21, 21), short_side=40)
    result = train(job(data, tmp_path / "run", inference=inference))
    model = load(tmp_path / "run")
    assert isinstance(model, Segmenter)
    report = evaluate_segmenter(model, open_masks(MaskDataConfig(path=data), "val"))
    for name in ("miou", "macc", "aacc"):
        assert result.scores[name] == pytest.approx(100 * getattr(report.scores, name)), name


def test_two_processes_score_the_model_that_they_save(mask_folder, run_job, tmp_path) -> None:
    """Each validates its share of five pictures; the sum is what one process counts, to the last pixel.

    Batch norm's running statistics differ between processes while they train: all must use the saved ones.
    """
    data = mask_folder({"train": 12, "val": 5})
    settings = TrainerConfig(device="cpu", devices=2, strategy="ddp")
    config = job(data, tmp_path / "run", trainer=settings)
    done = run_job(config)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "run" / "report.json").read_text())
    alone = prepare(job(data, tmp_path / "alone"), resume_in=None)
    alone.model.load_state_dict(read_state_dict(tmp_path / "run" / "model.safetensors")[0])
    with quiet():
        L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False).validate(
            alone.module, alone.data, verbose=False
        )
    for name in ("miou", "macc", "aacc"):
        assert found[name] == pytest.approx(100 * alone.module.validation[name], rel=1e-12), name
    assert found["val_loss"] == pytest.approx(alone.module.validation["loss"], rel=1e-6)


def test_settings_of_training_arrive(mask_folder, tmp_path) -> None:
    """Counted weights are the counted ones; frozen parts are frozen; blocks are recomputed when asked."""
    config = job(mask_folder(), tmp_path / "run", loss=LossConfig(class_weights="counted"))
    model = dataclasses.replace(config.model, freeze_stages=2, grad_checkpointing=True)
    parts = prepare(dataclasses.replace(config, model=model), resume_in=None)
    pixels = np.zeros(2, np.int64)
    for _, mask in open_masks(config.data, "train"):
        pixels += np.bincount(mask[mask != 255], minlength=2)
    assert isinstance(parts.module, SegmentationModule)
    criterion = parts.module.criterion
    assert criterion.class_weights is not None
    torch.testing.assert_close(criterion.class_weights, counted_weights(pixels.tolist()))
    backbone = parts.model.backbone
    assert not any(p.requires_grad for p in backbone.patch_embed.parameters())
    assert not any(p.requires_grad for p in backbone.stages[0].parameters())
    assert all(p.requires_grad for p in backbone.stages[1].parameters())
    assert all(stage.grad_checkpointing for stage in backbone.stages)


def test_a_rare_class_is_warned_of_unless_the_loss_weighs_it(mask_folder, tmp_path, capsys) -> None:
    from swinkit.data.look_over import look_over, warnings_of

    seen = look_over(open_masks(MaskDataConfig(path=mask_folder()), "train"))
    rare = dataclasses.replace(seen, pixels=(10_000, 10))
    assert "plain cross-entropy tends to forget" in warnings_of(rare)[0]
    assert warnings_of(rare, balanced=True) == []
    missing = dataclasses.replace(seen, pixels=(10_000, 0))
    assert "square never occur" in warnings_of(missing)[0]
    hidden = dataclasses.replace(seen, pixels=(50, 50), ignored=300)
    assert warnings_of(hidden) == ["75% of the training pixels are ignored: is that meant?"]
    assert any("do not occur in validation" in line for line in warnings_of(seen, missing))
    assert any("validation only" in line for line in warnings_of(missing, seen))


@pytest.mark.parametrize(
    "name", [name for name, recipe in RECIPES.items() if recipe().task == "segmentation"]
)
def test_every_recipe_takes_one_step(name: str, mask_folder, tmp_path) -> None:
    """Published sizes are cut down to what a test can hold; everything else is the recipe's."""
    recipe = RECIPES[name]()
    assert isinstance(recipe, SegmentConfig)
    small = dataclasses.replace(
        recipe,
        model=SegmenterOptions(
            name="custom",
            embed_dim=8,
            depths=(1, 1, 1, 1),
            num_heads=(1, 2, 4, 8),
            channels=8,
            auxiliary_channels=8,
            drop_path_rate=recipe.model.drop_path_rate,
        ),
        data=dataclasses.replace(recipe.data, path=mask_folder(), workers=0, kind="masks", batch_size=2),
        augment=dataclasses.replace(recipe.augment, crop=(64, 64), short_side=None, long_side=None),
        inference=dataclasses.replace(recipe.inference, short_side=None, long_side=None),
        trainer=dataclasses.replace(recipe.trainer, device="cpu", max_steps=1),
        out=tmp_path / "run",
    )
    assert train(small).steps == 1
    assert job_from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large"])
def test_the_paper_s_recipes_start_from_published_weights(size: str) -> None:
    recipe = RECIPES[f"upernet_swin_{size}_ade20k"]()
    assert isinstance(recipe, SegmentConfig)
    entry = catalog.find(str(recipe.model.pretrained))
    assert entry is not None
    assert (entry.name, entry.variant) == (recipe.model.pretrained, recipe.model.name)
    assert entry.num_classes == (1000 if size in ("tiny", "small") else 21841)
    assert recipe.augment.crop == ((512, 512) if size in ("tiny", "small") else (640, 640))


def test_the_paper_s_recipes_build_their_models_on_the_meta_device(mask_folder) -> None:
    for name in ("swin_tiny", "swin_small", "swin_base", "swin_large"):
        recipe = RECIPES[f"upernet_{name}_ade20k"]()
        assert isinstance(recipe, SegmentConfig)
        data, _ = open_mask_data(
            dataclasses.replace(recipe, data=MaskDataConfig(path=mask_folder(root=name)))
        )
        fresh = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, pretrained=False))
        with torch.device("meta"):
            model = build_segmenter_of(fresh, data)
        assert model.config.inference.short_side == recipe.augment.crop[0]


def test_the_command_line_trains_and_resumes(mask_folder, tmp_path, capsys) -> None:
    words = ["train", "camvid", "--data", str(mask_folder()), "--out", str(tmp_path / "run")]
    words += ["--model.embed-dim", "8", "--model.depths", "1", "1", "1", "1", "--model.num-heads", "1", "2"]
    words += ["4", "8", "--augment.crop", "32", "32", "--schedule.epochs", "4", "--data.workers", "0"]
    words += ["--data.batch-size", "3", "--device", "cpu"]
    assert main([*words, "--trainer.max-steps", "1"]) == 0
    assert main(["train", "--resume", str(tmp_path / "run"), "--trainer.max-steps", "3"]) == 0
    assert "mIoU (validation)" in capsys.readouterr().out
