"""What keeps a run safe: a guard against numbers that are not finite, checkpoints that outlive a crash."""

import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from swinkit.errors import InputError
from swinkit.files import atomic_path
from swinkit.train.data import JobData
from swinkit.train.errors import TrainingError, TrainingInterrupted
from swinkit.train.task_module import TaskModule, stepped

AGREE_EVERY = 10
"""Optimiser steps between the moments at which the processes of a job agree to save or stop."""


class FiniteGuard(Callback):
    """Stops a run whose loss or gradient stays NaN or infinite.

    The module has already kept such a step from the weights. The gradient norm alone decides: it is not
    finite when the loss is not, and it is the same on every process.

    Args:
        folder: where the checkpoints are, for the message.
        patience: consecutive optimiser steps that may fail before the run stops.
    """

    def __init__(self, folder: Path, patience: int = 3) -> None:
        self.folder, self.patience = folder, patience
        self.failures = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, TaskModule)
        if not stepped(trainer):
            return
        # Under fp16 an overflow is how the loss scale is found: it counts once that is as low as it gets.
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        searching = scaler is not None and scaler.get_scale() > 1
        if math.isfinite(pl_module.grad_norm) or searching:
            self.failures = 0
            return
        self.failures += 1
        if self.failures >= self.patience:
            self._stop(trainer, pl_module.grad_norm, float(pl_module.loss))

    def _stop(self, trainer: L.Trainer, norm: float, loss: float) -> None:
        last = self.folder / "last.ckpt"
        kept = (
            f"the last good checkpoint is {last}" if last.exists() else "no checkpoint had been written yet"
        )
        rate = max(group["lr"] for group in trainer.optimizers[0].param_groups)
        raise TrainingError(
            f"training stopped at step {trainer.global_step}: the loss or its gradient was not finite in "
            f"{self.patience} consecutive steps (loss {loss:g}, gradient norm {norm:g}, lr {rate:g}). "
            f"None of these steps reached the weights; {kept}. Try a lower --optimizer.lr, a longer "
            "--schedule.warmup-epochs, a smaller --optimizer.clip-norm, or --trainer.precision bf16 or fp32."
        )


class Checkpoints(Callback):
    """Writes last.ckpt every epoch and every few minutes, best.ckpt and the model when validation improves.

    SIGINT (Ctrl-C), SIGTERM and, under SLURM, SIGUSR1 end the run at the next step with its state saved; a
    second Ctrl-C ends it at once. It saves between optimiser steps only, when there are no gradients to save.

    Args:
        folder: for the checkpoints.
        minutes: between checkpoints inside an epoch.
        keep: number of last epochs whose checkpoints are kept as epoch_N.ckpt.
        export: called on every process when the model is the best so far.
        say: prints a line for the user.
        max_steps: stop after this many optimiser steps.

    Attributes:
        best: validation score (a fraction, the task's first) of the best epoch; -1 before the first.
        best_epoch: that epoch, from 0.
    """

    def __init__(
        self,
        folder: Path,
        *,
        minutes: float,
        keep: int = 0,
        export: Callable[[], None],
        say: Callable[[str], None],
        max_steps: int | None = None,
    ) -> None:
        self.folder, self.minutes, self.keep = folder, minutes, keep
        self.export, self.say, self.max_steps = export, say, max_steps
        self.best, self.best_epoch = -1.0, -1
        self.scores: dict[str, float] = {}
        self._saved_at = time.monotonic()
        self._signal: int | None = None
        self._before: dict[int, Any] = {}
        self._cut_short = False

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "scores": self.scores}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]
        self.scores = state_dict["scores"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved_at = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            names = ["SIGINT", "SIGTERM", *(["SIGUSR1"] if "SLURM_JOB_ID" in os.environ else [])]
            for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
                self._before[number] = signal.signal(number, self._on_signal)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not stepped(trainer):
            return
        finished = self.max_steps is not None and trainer.global_step >= self.max_steps
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            trainer.should_stop = trainer.should_stop or finished
            return  # validation and the end of the epoch follow at once, and save
        if not finished and trainer.world_size > 1 and trainer.global_step % AGREE_EVERY:
            return
        stop = self._agreed(trainer, self._signal is not None)
        due = self._agreed(trainer, time.monotonic() - self._saved_at >= self.minutes * 60)
        if stop or due or finished:
            self._save(
                trainer, trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_progress.current.ready
            )
        if stop:
            self._interrupt()
        if finished:
            self._cut_short = trainer.should_stop = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        fresh = pl_module.validated_epoch == trainer.current_epoch
        scores = pl_module.validation if fresh else {}
        # Until there is a score the newest model is the best, and always where nothing is validated.
        first = not self.scores or not trainer.enable_validation
        name = next(iter(pl_module.scores))
        improved = first or (fresh and better(scores, self.scores, name))
        if improved:
            self.best, self.best_epoch = scores.get(name, self.best), trainer.current_epoch
            self.scores = dict(scores)
        if not self._cut_short:  # else last.ckpt stands inside the epoch, where the run goes on
            self._save(trainer, trainer.current_epoch + 1, 0)
            self._keep(trainer)
        if improved:
            self._copy(trainer, "best.ckpt")
            self.export()
        if self._agreed(trainer, self._signal is not None) and trainer.current_epoch + 1 < (
            trainer.max_epochs or 0
        ):
            self._interrupt()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._restore_handlers()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore_handlers()

    def _save(self, trainer: L.Trainer, epoch: int, batch: int) -> None:
        """Write last.ckpt, from which the run goes on with `batch` of `epoch`."""
        data = getattr(trainer, "datamodule", None)
        assert isinstance(data, JobData)
        data.position = (epoch, batch)
        try:
            trainer.save_checkpoint(self.folder / "last.ckpt", weights_only=False)
        except InputError as error:
            raise TrainingError(
                f"{error} Training stopped at step {trainer.global_step}; once there is room, go on with: "
                f"swinkit train --resume {self.folder.parent}"
            ) from error
        self._saved_at = time.monotonic()

    def _keep(self, trainer: L.Trainer) -> None:
        if self.keep > 0:
            self._copy(trainer, f"epoch_{trainer.current_epoch + 1}.ckpt")
            if trainer.is_global_zero:
                (self.folder / f"epoch_{trainer.current_epoch + 1 - self.keep}.ckpt").unlink(missing_ok=True)

    def _copy(self, trainer: L.Trainer, name: str) -> None:
        """Give last.ckpt a second name, by a link where possible: last.ckpt is only ever replaced."""
        if not trainer.is_global_zero:
            return
        with atomic_path(self.folder / name) as temporary:
            temporary.unlink()
            try:
                os.link(self.folder / "last.ckpt", temporary)
            except OSError:
                shutil.copyfile(self.folder / "last.ckpt", temporary)

    def _agreed(self, trainer: L.Trainer, mine: bool) -> bool:
        return (
            bool(trainer.strategy.reduce_boolean_decision(mine, all=False))
            if trainer.world_size > 1
            else mine
        )

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = number
        name = signal.Signals(number).name
        self.say(f"{name}: finishing this step and saving. Press Ctrl-C again to stop at once.")

    def _interrupt(self) -> None:
        raise TrainingInterrupted(signal.Signals(self._signal or signal.SIGTERM).name)

    def _restore_handlers(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def better(scores: dict[str, float], best: dict[str, float], name: str = "top1") -> bool:
    """Whether validation scores beat the best so far: by `name`, and by the loss where that ties.

    Without validation pictures the newest model is the best.
    """
    if not scores or not best:
        return True
    return (scores[name], -scores["loss"]) > (best[name], -best["loss"])
