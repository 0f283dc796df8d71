"""A whole training job, from a configuration to a run folder."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from swinkit import weights
from swinkit.build import build_model as spec_model
from swinkit.train.build import build_trainer, pick_device, pick_precision
from swinkit.train.callbacks import Checkpoints, FiniteGuard
from swinkit.train.config import JobConfig
from swinkit.train.errors import TrainingInterrupted
from swinkit.train.folder import check_folder, is_main_process, prepare_folder, write_text
from swinkit.train.history import History, ProgressBar, RunLog, duration, read_metrics
from swinkit.train.prepare import Prepared, prepare
from swinkit.train.quiet import quiet
from swinkit.viz.curves import draw_curves

DEFAULT_FOLDER = Path("runs/train")
REDRAW_SECONDS = 60.0
"""Least time between two drawings of the curve while the run goes on."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended; report.json in the run folder holds the same.

    Attributes:
        folder: the run folder.
        model: the best model by validation, for `swinkit.load`.
        epochs: epochs done.
        steps: optimiser steps done.
        best_epoch: epoch of the best model, from 1.
        scores: validation scores of the best model in percent (top1 and top5, or miou, macc and aacc); empty
            without validation pictures.
        labels: how a person calls them.
        val_loss: validation loss of the best model.
        seconds: duration of this call, without loading data.
        device: where it ran.
        precision: bf16, fp16 or fp32.
    """

    folder: Path
    model: Path
    epochs: int
    steps: int
    best_epoch: int
    scores: dict[str, float]
    labels: dict[str, str]
    val_loss: float | None
    seconds: float
    device: str
    precision: str

    @property
    def top1(self) -> float | None:
        """Validation top-1 of a classifier in percent; None without validation pictures."""
        return self.scores.get("top1")

    @property
    def top5(self) -> float | None:
        """The same for top-5."""
        return self.scores.get("top5")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the scores (None where there are none) beside the rest."""
        values = {key: str(item) if isinstance(item, Path) else item for key, item in asdict(self).items()}
        labels = values.pop("labels")
        values.pop("scores")
        return {**values, **{name: self.scores.get(name) for name in labels}}


def train(config: JobConfig, *, resume: bool = False, callbacks: Sequence[Callback] = ()) -> RunResult:
    """Train a model and leave everything in the run folder `config.out`.

    The folder gets config.json, model_spec.json, environment.json, log.txt, metrics.csv, tensorboard/,
    curve.png, checkpoints/, model.safetensors (the best by validation) and report.json.

    Args:
        config: the job; `config.out` None means runs/train.
        resume: go on from checkpoints/last.ckpt in the run folder; on the CPU the result is bit for bit that
            of a run never stopped.
        callbacks: more Lightning callbacks.

    Raises:
        InputError: data, model and settings do not fit together, or the folder is not as `resume` needs it.
        TrainingError: numbers that are not finite, or a full disk; the last good checkpoint is kept.
        KeyboardInterrupt: stopped by a signal, after saving.
    """
    folder = config.out or DEFAULT_FOLDER
    main = is_main_process()
    pick_precision(config.trainer, pick_device(config.trainer))
    if main:
        check_folder(folder, resume=resume)
    with quiet():
        parts = prepare(config, resume_in=folder if resume else None)
        if main:
            prepare_folder(folder, replace(config, out=folder), parts.model.spec)
        log = RunLog(folder / "log.txt" if main else None)
        _announce(log, config, parts)
        for name, content in parts.facts.items() if main else ():
            write_text(folder / name, json.dumps(content, indent=2) + "\n")
        return _Run(config, folder, parts, log).go(resume, callbacks)


class _Run:
    """The parts of one job while it runs."""

    def __init__(
        self,
        config: JobConfig,
        folder: Path,
        parts: Prepared,
        log: RunLog,
    ) -> None:
        self.config, self.folder, self.model = config, folder, parts.model
        self.data, self.module = parts.data, parts.module
        self.log, self.main = log, is_main_process()
        settings = config.trainer
        checkpoints = folder / "checkpoints"
        self.checkpoints = Checkpoints(
            checkpoints,
            minutes=settings.checkpoint_minutes,
            keep=settings.keep,
            export=self._export,
            say=log.say,
            max_steps=settings.max_steps,
        )
        self.history = History(
            folder, every=settings.log_every, scores=self.module.scores, after_epoch=self._redraw
        )
        self.guard = FiniteGuard(checkpoints)
        self._drawn_at = time.monotonic()
        self.trainer: L.Trainer | None = None

    def go(self, resume: bool, callbacks: Sequence[Callback]) -> RunResult:
        """Train and report."""
        # In this order: stop before anything is written, write the row, then what the caller has, then save.
        parts = [self.guard, self.history, ProgressBar(self.log), *callbacks, self.checkpoints]
        self.trainer = build_trainer(
            self.config,
            self.folder,
            parts,
            epochs=self.config.schedule.whole_epochs(self.data.steps_per_epoch),
            validate=self.data.val_set is not None,
        )
        if self.config.trainer.compile:
            self.module.compile_model()
        start = time.monotonic()
        try:
            self.trainer.fit(
                self.module,
                datamodule=self.data,
                ckpt_path=self.folder / "checkpoints" / "last.ckpt" if resume else None,
                weights_only=True,
            )
        except TrainingInterrupted as stop:
            self._draw()
            self.log.say(
                f"stopped by {stop.signal_name} and saved; go on with: swinkit train --resume {self.folder}"
            )
            raise KeyboardInterrupt from None
        self._draw()
        return self._report(time.monotonic() - start)

    def _report(self, seconds: float) -> RunResult:
        assert self.trainer is not None
        best, device = self.checkpoints, pick_device(self.config.trainer)
        percent = {name: 100 * best.scores[name] for name in self.module.told if name in best.scores}
        result = RunResult(
            folder=self.folder,
            model=self.folder / "model.safetensors",
            epochs=self.trainer.current_epoch,
            steps=self.trainer.global_step,
            best_epoch=best.best_epoch + 1,
            scores=percent,
            labels=self.module.told,
            val_loss=best.scores.get("loss"),
            seconds=seconds,
            device=device,
            precision=pick_precision(self.config.trainer, device),
        )
        if self.main:
            write_text(self.folder / "report.json", json.dumps(result.to_dict(), indent=2) + "\n")
            self.log.say(f"done in {duration(seconds)}: {result.model}")
        return result

    def _export(self) -> None:
        """Write model.safetensors; every process must call, because shards are gathered."""
        assert self.trainer is not None
        if self.config.trainer.strategy != "fsdp":
            if self.main:
                weights.save(self.model, self.folder / "model.safetensors")
            return
        state = self.trainer.strategy.lightning_module_state_dict()
        if self.main:
            whole = spec_model(self.model.spec)
            own = {
                key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")
            }
            whole.load_state_dict(own)
            weights.save(whole, self.folder / "model.safetensors")

    def _redraw(self) -> None:
        if time.monotonic() - self._drawn_at > REDRAW_SECONDS:
            self._draw()

    def _draw(self) -> None:
        if self.main and self.history.path.exists():
            name, label = next(iter(self.module.scores.items()))
            rows = read_metrics(self.history.path)
            draw_curves(self.folder / "curve.png", rows, score=f"val_{name}", label=label)
            self._drawn_at = time.monotonic()


def _announce(log: RunLog, config: JobConfig, parts: Prepared) -> None:
    """Say what is going to happen before it takes time."""
    model, data = parts.model, parts.data
    settings, epochs = config.trainer, config.schedule.whole_epochs(data.steps_per_epoch)
    device = pick_device(settings)
    val = len(data.val_set) if data.val_set is not None else 0
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    frozen = "" if trained == parameters else f" ({trained / 1e6:.2f} M trained)"
    height, width = model.spec.preprocess.size
    pictures = config.data.batch_size * settings.world_size * settings.accumulate
    log.say(
        f"data: {len(data.train_set)} training and {val} validation pictures, "
        f"{len(model.spec.class_names)} classes"
    )
    log.say(
        f"model: {model.spec.name or type(model).__name__}, {parameters / 1e6:.2f} M parameters{frozen}, "
        f"input {height} x {width} pixels"
    )
    log.say(
        f"run: {epochs} epochs of {data.steps_per_epoch} steps of {pictures} pictures on "
        f"{settings.world_size} {device} device(s) in {pick_precision(settings, device)}, "
        f"into {config.out or DEFAULT_FOLDER}"
    )
    for remark in parts.remarks:
        log.say(remark)
