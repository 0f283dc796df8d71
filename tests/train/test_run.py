"""What a run leaves behind, and that the number of processes and of accumulated batches does not matter."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import swinkit
from swinkit.classification import Classifier
from swinkit.data import AugmentConfig, DataConfig
from swinkit.errors import InputError
from swinkit.train import ModelOptions, RunResult, TrainConfig, TrainerConfig, train
from swinkit.train.history import duration, read_metrics


def plain(config: TrainConfig, out: Path, **trainer: Any) -> TrainConfig:
    """The job without augmentation, mixing and dropout: what is left must not depend on how batches are
    shared out.
    """
    return replace(
        config,
        out=out,
        model=replace(config.model, drop_path_rate=0.0, drop_rate=0.0),
        augment=AugmentConfig(
            scale=(1, 1),
            ratio=(1, 1),
            hflip=0,
            rand_magnitude=0,
            color_jitter=0,
            erasing=0,
            mixup=0,
            cutmix=0,
        ),
        data=replace(config.data, batch_size=trainer.pop("batch_size")),
        trainer=replace(config.trainer, **trainer),
    )


def curve(folder: Path, column: str) -> list[float]:
    return [float(row[column]) for row in read_metrics(folder / "metrics.csv") if row[column]]


def test_run_folder_holds_everything(whole_run: RunResult, small_job: TrainConfig) -> None:
    folder = whole_run.folder
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "checkpoints", "config.json", "curve.png", "environment.json", "log.txt", "metrics.csv",
        "model.safetensors", "model_spec.json", "report.json", "tensorboard",
    }  # fmt: skip
    assert TrainConfig.from_json((folder / "config.json").read_text()) == replace(small_job, out=folder)
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["torch"]
    assert environment["cpu"]
    report = json.loads((folder / "report.json").read_text())
    assert report["top1"] == whole_run.top1
    assert (folder / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert list((folder / "tensorboard").iterdir())
    log = (folder / "log.txt").read_text()
    assert "1295 training and 143 validation pictures, 10 classes" in log
    assert "to go" not in log or "ms a batch" in log


def test_model_of_a_run_loads_with_its_classes_and_preprocessing(whole_run: RunResult) -> None:
    model = swinkit.load(whole_run.folder)
    assert isinstance(model, Classifier)
    assert model.spec.class_names == tuple(str(digit) for digit in range(10))
    assert model.spec.preprocess.size == (8, 8)


def test_two_processes_give_the_curve_of_one(
    small_job: TrainConfig, run_job: Callable[..., Any], tmp_path: Path
) -> None:
    # Of 143 validation pictures one process gets two batches, 71 and 1, and the other 71 alone.
    one = plain(small_job, tmp_path / "one", batch_size=142)
    two = plain(small_job, tmp_path / "two", batch_size=71, devices=2, strategy="ddp")
    done = run_job(two)
    assert done.returncode == 0, done.stderr
    train(one)
    assert curve(two.out or Path(), "loss") == pytest.approx(curve(tmp_path / "one", "loss"), rel=2e-5)
    assert curve(two.out or Path(), "grad_norm") == pytest.approx(
        curve(tmp_path / "one", "grad_norm"), rel=2e-3
    )
    for column in ("val_loss", "val_top1", "val_top5"):
        assert curve(two.out or Path(), column) == pytest.approx(curve(tmp_path / "one", column), rel=1e-4)


def test_accumulated_batches_are_one_large_batch(small_job: TrainConfig, tmp_path: Path) -> None:
    """Ten steps an epoch, though the small batches are 21: the last would make a step of half the size."""
    large = train(plain(small_job, tmp_path / "large", batch_size=120, accumulate=1))
    small = train(plain(small_job, tmp_path / "small", batch_size=60, accumulate=2))
    assert small.steps == large.steps == 20
    for column in ("loss", "grad_norm", "lr", "val_loss"):
        assert curve(small.folder, column) == pytest.approx(curve(large.folder, column), rel=1e-3), column


def test_fewer_batches_than_a_step_takes_are_refused(small_job: TrainConfig, tmp_path: Path) -> None:
    config = replace(small_job, trainer=replace(small_job.trainer, accumulate=14), out=tmp_path / "run")
    with pytest.raises(InputError, match=r"13 batches of 99 pictures .*fewer than the 14.*accumulate"):
        train(config)


def test_seed_decides_the_run(small_job: TrainConfig, whole_run: RunResult, tmp_path: Path) -> None:
    other = replace(small_job, trainer=replace(small_job.trainer, seed=4, max_steps=2), out=tmp_path / "a")
    train(other)
    assert curve(tmp_path / "a", "loss")[:2] != curve(whole_run.folder, "loss")[:2]


def test_keep_leaves_the_checkpoints_of_the_last_epochs(small_job: TrainConfig, tmp_path: Path) -> None:
    config = replace(small_job, trainer=replace(small_job.trainer, keep=1), out=tmp_path / "run")
    train(config)
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["best.ckpt", "epoch_2.ckpt", "last.ckpt"]


def test_without_validation_pictures_the_newest_model_is_the_best(
    small_job: TrainConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = train(replace(small_job, data=replace(small_job.data, val_fraction=0.0), out=tmp_path / "run"))
    assert (result.top1, result.best_epoch) == (None, 2)
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    saved = swinkit.load(tmp_path / "run").state_dict()
    assert all(torch.equal(value, last[f"model.{name}"]) for name, value in saved.items())
    assert "Total length" not in capfd.readouterr().err


def test_frozen_stages_do_not_move(small_job: TrainConfig, tmp_path: Path) -> None:
    config = replace(
        small_job,
        model=replace(small_job.model, freeze_stages=2),
        trainer=replace(small_job.trainer, max_steps=3),
        out=tmp_path / "run",
    )
    train(config)
    torch.manual_seed(config.trainer.seed)
    from swinkit.train.build import build_model

    fresh = dict(build_model(config.model, [str(digit) for digit in range(10)]).named_parameters())
    trained = dict(swinkit.load(tmp_path / "run").named_parameters())
    moved = {name for name, value in trained.items() if not torch.equal(value, fresh[name])}
    assert not any(name.startswith(("backbone.patch_embed", "backbone.stages.0")) for name in moved)
    assert any(name.startswith("backbone.stages.1") for name in moved)


def test_run_says_what_it_does(
    whole_run: RunResult, small_job: TrainConfig, tmp_path: Path, capfd: Any
) -> None:
    train(replace(small_job, trainer=replace(small_job.trainer, max_steps=1), out=tmp_path / "run"))
    out, err = capfd.readouterr()
    assert not out
    assert "2 epochs of 6 steps of 198 pictures" in err
    for chatter in ("GPU available", "Tip", "Warning", "warn("):
        assert chatter not in err


def test_bad_jobs_are_input_errors(small_job: TrainConfig, tmp_path: Path, picture_folder: Any) -> None:
    def job(**changes: Any) -> TrainConfig:
        return replace(small_job, out=tmp_path / "run", **changes)

    one_class = picture_folder(classes=("only",), root="one")
    for config, words in (
        (job(data=DataConfig(path=tmp_path / "missing")), "missing"),
        (job(data=DataConfig(path=one_class)), "at least two classes"),
        (job(model=ModelOptions(name="swin_tinny_patch4_window7_224")), "did you mean"),
        (job(model=ModelOptions(name="swin_tinny_patch4_window7_224", depths=(1, 1))), "did you mean"),
        (job(trainer=TrainerConfig(device="cpu", precision="fp16")), "fp16 needs a GPU.*use fp32"),
        (job(trainer=TrainerConfig(device="cpu", devices=144)), r"fewer validation pictures \(143\)"),
        (job(trainer=TrainerConfig(device="cpu", strategy="fsdp")), "use ddp"),
    ):
        with pytest.raises(InputError, match=words):
            train(config)
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_durations_read_well() -> None:
    assert [duration(value) for value in (8.4, 200, 7500)] == ["8 s", "3 min 20 s", "2 h 05 min"]
