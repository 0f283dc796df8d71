"""What a run writes down while it goes: metrics.csv, TensorBoard events, log.txt, the progress bar."""

import csv
import math
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch.utils.tensorboard import SummaryWriter

from swinkit.files import atomic_path
from swinkit.train.task_module import TaskModule, stepped

COLUMNS: tuple[str, ...] = ("step", "epoch", "lr", "loss", "grad_norm", "images_per_second", "val_loss")
"""Of metrics.csv, before the task's scores (0..1): steps and epochs done, lr of the step, mean loss since the
row before.
"""


class RunLog:
    """One line at a time, to stderr above the progress bar and with the time to log.txt.

    Args:
        path: the log file; None on processes that stay silent.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.console = Console(file=sys.stderr, markup=False, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print and log one line."""
        if self.path is None:
            return
        self.console.print(text)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


class History(Callback):
    """Writes metrics.csv and TensorBoard events; a resumed run takes back the rows after its checkpoint.

    Args:
        folder: the run folder.
        every: optimiser steps between rows.
        scores: names of the task's scores.
        after_epoch: called after every epoch's row, to redraw the curve.
    """

    def __init__(
        self,
        folder: Path,
        *,
        every: int,
        scores: Iterable[str],
        after_epoch: Callable[[], None] = lambda: None,
    ) -> None:
        self.columns = (*COLUMNS, *(f"val_{name}" for name in scores))
        self.path, self.every, self.after_epoch = folder / "metrics.csv", every, after_epoch
        self._events_folder = folder / "tensorboard"
        self._events: SummaryWriter | None = None
        self._loss_sum: torch.Tensor | float = 0.0
        self._batches = 0
        self._pictures, self._since = 0, time.perf_counter()
        self.rows: list[dict[str, str]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"loss_sum": float(self._loss_sum), "batches": self._batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loss_sum, self._batches = state_dict["loss_sum"], state_dict["batches"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since = time.perf_counter()
        if not trainer.is_global_zero:
            return
        kept = read_metrics(self.path) if self.path.exists() else []
        kept = [row for row in kept if int(row["step"]) <= trainer.global_step] if trainer.global_step else []
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, self.columns)
            writer.writeheader()
            writer.writerows(kept)
        self._events = SummaryWriter(str(self._events_folder), purge_step=trainer.global_step + 1)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, TaskModule)
        self._loss_sum = self._loss_sum + pl_module.loss  # no .item(): that would wait for the device
        self._batches += 1
        self._pictures += len(batch[1]) * trainer.world_size
        if stepped(trainer) and trainer.global_step % self.every == 0:
            self._write_step(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        self._pictures, self._since = 0, time.perf_counter()
        if trainer.is_global_zero:
            fresh = pl_module.validation if pl_module.validated_epoch == trainer.current_epoch else {}
            scores = {f"val_{name}": f"{value:.6g}" for name, value in fresh.items()}
            self._append(trainer.global_step, trainer.current_epoch + 1, scores)
            self.after_epoch()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._events is not None:
            self._events.close()

    def _write_step(self, trainer: L.Trainer, module: TaskModule) -> None:
        loss = torch.as_tensor(self._loss_sum, device=module.device) / self._batches
        if trainer.world_size > 1:
            loss = trainer.strategy.reduce(loss, reduce_op="mean")
        rate = self._pictures / max(1e-9, time.perf_counter() - self._since)
        self._loss_sum, self._batches = 0.0, 0
        self._pictures, self._since = 0, time.perf_counter()
        if trainer.is_global_zero:
            row = {
                "lr": f"{trainer.optimizers[0].param_groups[-1]['lr']:.6g}",
                "loss": f"{float(loss):.8g}",
                "grad_norm": f"{module.grad_norm:.6g}",
                "images_per_second": f"{rate:.4g}",
            }
            done = (
                trainer.current_epoch
                + module.trainer.fit_loop.epoch_loop.batch_progress.current.ready
                / max(1, trainer.num_training_batches)
            )
            self._append(trainer.global_step, done, row)

    def _append(self, step: int, epoch: float, values: dict[str, str]) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, self.columns).writerow({"step": step, "epoch": f"{epoch:.6g}", **values})
        assert self._events is not None
        for name, value in values.items():
            self._events.add_scalar(name, float(value), step)


class ProgressBar(Callback):
    """One bar for the whole run on stderr, one line an epoch, and an early estimate of the time.

    Args:
        log: where the lines go.
        estimate_after: optimiser steps after which the whole time is estimated.
    """

    def __init__(self, log: RunLog, *, estimate_after: int = 20) -> None:
        self.run_log, self.estimate_after = log, estimate_after
        self._bar: Progress | None = None
        self._task: Any = None
        self._start, self._first = time.monotonic(), 0
        self._epoch_start = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._start = self._epoch_start = time.monotonic()
        self._first = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        if self.run_log.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self.run_log.console, transient=True, refresh_per_second=4)
            self._task = self._bar.add_task("training", total=_total_batches(trainer), completed=self._first)
            self._bar.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.is_global_zero:
            return
        done = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        if self._bar is not None:
            text = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self._bar.update(self._task, completed=done, description=text)
        if done - self._first == self.estimate_after:
            seconds = (time.monotonic() - self._start) / self.estimate_after
            left = seconds * (_total_batches(trainer) - done)
            self.run_log.say(
                f"about {duration(left)} to go ({1000 * seconds:.0f} ms a batch, validation not counted)"
            )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        now = time.monotonic()
        scores = pl_module.validation
        text = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        if scores and pl_module.validated_epoch == trainer.current_epoch:
            text += "".join(f"  {label} {100 * scores[name]:.2f}%" for name, label in pl_module.told.items())
            text += f"  loss {scores['loss']:.4f}" if math.isfinite(scores.get("loss", math.nan)) else ""
        self.run_log.say(f"{text}  ({duration(now - self._epoch_start)})")
        self._epoch_start = now

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Read metrics.csv: one dict a row, "" where a row has no value; a half-written last row is left out."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [row for row in rows if row["step"].isdigit() and None not in row.values()]


def duration(seconds: float) -> str:
    """Return seconds in words a person reads: 8 s, 3 min 20 s, 2 h 05 min."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def _total_batches(trainer: L.Trainer) -> int:
    return int((trainer.max_epochs or 1) * trainer.num_training_batches)
