"""A run that is stopped and resumed must end as one that was never stopped: same weights, same history."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file

from swinkit import weights
from swinkit.classification import build_classifier
from swinkit.errors import InputError
from swinkit.spec import swin_config
from swinkit.train import RunResult, TrainConfig, train
from swinkit.train.build import build_model
from swinkit.train.history import read_metrics
from swinkit.weights.models import read_checkpoint


class SignalAt(Callback):
    """Sends this process a signal at an optimiser step."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:  # type: ignore[override]
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def final_state(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_end(folder: Path, reference: Path) -> None:
    ours, theirs = final_state(folder), final_state(reference)
    assert ours["global_step"] == theirs["global_step"]
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    for name, value in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], value), name
    for mine, other in zip(ours["optimizer_states"], theirs["optimizer_states"], strict=True):
        for index, moments in other["state"].items():
            for name, value in moments.items():
                assert torch.equal(mine["state"][index][name], value), (index, name)
    mine, other = (load_file(path / "model.safetensors") for path in (folder, reference))
    assert all(torch.equal(mine[name], value) for name, value in other.items())
    drop = "images_per_second"
    rows, expected = (
        [
            {key: value for key, value in row.items() if key != drop}
            for row in read_metrics(path / "metrics.csv")
        ]
        for path in (folder, reference)
    )
    assert rows == expected


def test_killed_inside_an_epoch_and_resumed(
    small_job: TrainConfig, whole_run: RunResult, run_job: Callable[..., Any], tmp_path: Path
) -> None:
    config = replace(
        small_job, out=tmp_path / "run", trainer=replace(small_job.trainer, checkpoint_minutes=0.0)
    )
    killed = run_job(config, kill_at=9)  # step 3 of 6 in the second epoch, before its checkpoint
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    saved = final_state(tmp_path / "run")
    assert saved["global_step"] == 8
    assert saved["JobData"] == {"epoch": 1, "batch": 4}
    train(config, resume=True)
    assert_same_end(tmp_path / "run", whole_run.folder)


@pytest.mark.parametrize(("step", "number"), [(3, signal.SIGTERM), (8, signal.SIGINT)])
def test_signal_saves_says_how_to_resume_and_loses_nothing(
    small_job: TrainConfig,
    whole_run: RunResult,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    step: int,
    number: int,
) -> None:
    config = replace(small_job, out=tmp_path / "run")
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(config, callbacks=[SignalAt(step, number)])
    assert signal.getsignal(number) is before
    assert final_state(tmp_path / "run")["global_step"] == step
    assert f"swinkit train --resume {tmp_path / 'run'}" in capfd.readouterr().err.replace("\n", "")
    train(config, resume=True)
    assert_same_end(tmp_path / "run", whole_run.folder)


def test_signal_on_the_last_batch_stops_after_the_epoch(
    small_job: TrainConfig, whole_run: RunResult, tmp_path: Path
) -> None:
    config = replace(small_job, out=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(config, callbacks=[SignalAt(6, signal.SIGTERM)])
    assert final_state(tmp_path / "run")["JobData"] == {"epoch": 1, "batch": 0}
    train(config, resume=True)
    assert_same_end(tmp_path / "run", whole_run.folder)


def test_max_steps_stops_there_and_resuming_goes_on(
    small_job: TrainConfig, whole_run: RunResult, tmp_path: Path
) -> None:
    config = replace(small_job, out=tmp_path / "run")
    short = train(replace(config, trainer=replace(config.trainer, max_steps=2)))
    assert short.steps == 2
    assert final_state(tmp_path / "run")["JobData"] == {"epoch": 0, "batch": 4}
    train(config, resume=True)
    ours, theirs = final_state(tmp_path / "run"), final_state(whole_run.folder)
    assert all(torch.equal(ours["state_dict"][name], value) for name, value in theirs["state_dict"].items())


def test_resuming_a_finished_run_reports_it_again(whole_run: RunResult) -> None:
    config = TrainConfig.from_json((whole_run.folder / "config.json").read_text())
    again = train(config, resume=True)
    assert (again.top1, again.best_epoch, again.steps) == (
        whole_run.top1,
        whole_run.best_epoch,
        whole_run.steps,
    )


def test_run_folder_must_be_empty_or_resumable(
    small_job: TrainConfig, whole_run: RunResult, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"not empty.*--resume"):
        train(replace(small_job, out=whole_run.folder))
    with pytest.raises(InputError, match="nothing to resume"):
        train(replace(small_job, out=tmp_path / "new"), resume=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        train(replace(small_job, out=tmp_path / "file"))


def test_resumed_run_keeps_the_model_it_was_started_with(small_job: TrainConfig, tmp_path: Path) -> None:
    """The window policy comes from the file that training starts from, which may be gone by then."""
    start, folder = tmp_path / "start.safetensors", tmp_path / "run"
    digits = [str(digit) for digit in range(10)]
    model = build_model(small_job.model, digits)
    backbone = replace(model.spec.config.backbone, window_policy="pad_axis")
    spec = replace(model.spec, config=replace(model.spec.config, backbone=backbone))
    weights.save(build_classifier(spec), start)
    config = replace(
        small_job,
        model=replace(small_job.model, pretrained=str(start)),
        trainer=replace(small_job.trainer, max_steps=1),
        out=folder,
    )
    train(config)
    began = read_checkpoint(folder).spec
    assert swin_config(began).window_policy == "pad_axis"
    start.unlink()
    train(replace(config, trainer=replace(config.trainer, max_steps=2)), resume=True)
    assert read_checkpoint(folder).spec == began


def test_resumed_run_refuses_another_model_or_other_classes(
    small_job: TrainConfig, whole_run: RunResult, tmp_path: Path, picture_folder: Any
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole_run.folder, folder)
    job = replace(small_job, out=folder)
    with pytest.raises(InputError, match=r"keeps its model: model\.position was None and cannot become none"):
        train(replace(job, model=replace(job.model, position="none")), resume=True)
    other = replace(job.data, kind="folder", path=picture_folder(count=60))
    with pytest.raises(InputError, match=r"other classes .*10 then, 2 now"):
        train(replace(job, data=other), resume=True)
    (folder / "model_spec.json").unlink()
    with pytest.raises(InputError, match=r"nothing to resume .*model_spec\.json"):
        train(job, resume=True)


def test_damaged_checkpoint_is_one_sentence(
    small_job: TrainConfig, whole_run: RunResult, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole_run.folder, folder)
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"last\.ckpt is not a readable training checkpoint"):
        train(replace(small_job, out=folder), resume=True)
