"""Numbers that are not finite never reach the weights; a full disk never costs the last good checkpoint."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

import swinkit
from swinkit.errors import InputError
from swinkit.train import TrainConfig, TrainingError, train
from swinkit.train.callbacks import better
from swinkit.train.checkpoint_io import AtomicCheckpointIO


class Poison(Callback):
    """Fills the pictures of some optimiser steps with NaN and remembers the weights around each step."""

    def __init__(self, steps: set[int]) -> None:
        self.steps = steps
        self.before: dict[int, torch.Tensor] = {}
        self.after: dict[int, torch.Tensor] = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.before.setdefault(trainer.global_step, weights_of(pl_module))
        if trainer.global_step in self.steps:
            batch[0].fill_(torch.nan)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.after[trainer.global_step - 1] = weights_of(pl_module)


class LimitFiles(Callback):
    """After the first epoch the disk takes no file as large as a checkpoint."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            limit = self.checkpoint.stat().st_size // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def weights_of(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@contextmanager
def file_limit_restored() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_step_that_is_not_finite_leaves_the_weights_alone(small_job: TrainConfig, tmp_path: Path) -> None:
    poison = Poison({2, 3, 7})  # two in a row are forgiven, and the count starts anew
    result = train(replace(small_job, out=tmp_path / "run"), callbacks=[poison])
    assert result.steps == 12
    for step in range(12):
        unchanged = torch.equal(poison.before[step], poison.after[step])
        assert unchanged == (step in poison.steps), step
    assert all(torch.isfinite(value).all() for value in swinkit.load(tmp_path / "run").parameters())


def test_three_in_a_row_stop_the_run_and_keep_the_last_good_checkpoint(
    small_job: TrainConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(TrainingError) as stopped:
        train(replace(small_job, out=folder), callbacks=[Poison({7, 8, 9, 10, 11})])
    message = str(stopped.value)
    for part in ("step 10", "gradient norm nan", "lr 0.00", str(folder / "checkpoints" / "last.ckpt")):
        assert part in message
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 6
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())


def test_full_disk_keeps_the_last_good_checkpoint_and_says_so(small_job: TrainConfig, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    last = folder / "checkpoints" / "last.ckpt"
    with (
        file_limit_restored(),
        pytest.raises(TrainingError, match=r"unchanged.*step 12.*--resume") as stopped,
    ):
        train(replace(small_job, out=folder), callbacks=[LimitFiles(last)])
    assert str(last) in str(stopped.value)
    saved = torch.load(last, weights_only=True)
    assert saved["global_step"] == 6
    assert sorted(path.name for path in last.parent.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert train(replace(small_job, out=folder), resume=True).steps == 12


def test_checkpoints_are_whole_or_not_there(tmp_path: Path) -> None:
    files, path = AtomicCheckpointIO(), tmp_path / "x.ckpt"
    files.save_checkpoint({"a": torch.ones(3)}, path)
    with file_limit_restored():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        with pytest.raises(InputError, match="could not write"):
            files.save_checkpoint({"a": torch.ones(100_000)}, path)
    assert torch.equal(files.load_checkpoint(path)["a"], torch.ones(3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.ckpt"]


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path: Path) -> None:
    torch.save({"a": Path("x")}, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match="not a readable training checkpoint"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "x.ckpt")


def test_best_is_by_accuracy_then_by_loss() -> None:
    first = {"top1": 0.9, "loss": 0.5}
    assert better(first, {})
    assert better({"top1": 0.9, "loss": 0.4}, first)
    assert better({"top1": 0.91, "loss": 0.9}, first)
    assert not better({"top1": 0.9, "loss": 0.5}, first)
    assert not better({"top1": 0.89, "loss": 0.1}, first)
    assert better({}, {})  # nothing to compare: the newest
