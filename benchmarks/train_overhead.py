"""What our training loop costs over a bare PyTorch loop: same model, same batches, in turn, in one process.

After every step of `swinkit.train`'s loop (Lightning with all our callbacks, metrics.csv and TensorBoard) a
bare loop does the same step on a copy of the model: mix, forward, loss, backward, clip, AdamW, schedule. So
both see the same machine, and the ratio of neighbours is free of its moods. Before anything is timed both
must have the same losses.

    python benchmarks/train_overhead.py [--steps 60] [--models digits cifar10 swin_tiny]
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from common import write_results
from swinkit.data import DataConfig, MixBatch
from swinkit.data.sampling import derive_seed
from swinkit.recipes import RECIPES
from swinkit.train import ClassificationModule, TrainConfig
from swinkit.train.build import build_model, build_trainer
from swinkit.train.callbacks import Checkpoints, FiniteGuard
from swinkit.train.data import JobData
from swinkit.train.history import History, ProgressBar, RunLog
from swinkit.train.optim import build_optimizer
from swinkit.train.quiet import quiet
from swinkit.train.schedule import LearningRate, build_scheduler
from swinkit.train.task_module import clip_gradients

BAR = 1.05
WARMUP = 10


def recipe(name: str) -> TrainConfig:
    """A recipe of classification."""
    config = RECIPES[name]()
    assert isinstance(config, TrainConfig)
    return config


CASES: dict[str, Callable[[], TrainConfig]] = {
    "digits": lambda: recipe("digits"),
    "cifar10": lambda: recipe("cifar10"),
    "swin_tiny": lambda: replace(recipe("swin_tiny_imagenet1k"), data=DataConfig(batch_size=4)),
}
"""Name -> the job whose model, batch and optimiser are timed; from the shortest step, where overhead shows
most.
"""


class InMemory(JobData):
    """The same few batches over and over, already in memory."""

    def __init__(self, batches: list[Any], steps: int, config: TrainConfig) -> None:
        pictures = range(steps * config.data.batch_size)
        super().__init__(pictures, None, config)  # type: ignore[arg-type]  # only its length is asked for
        self.batches, self.steps = batches, steps

    def train_dataloader(self) -> Any:
        order = [self.batches[step % len(self.batches)] for step in range(self.steps)]
        return DataLoader(order, batch_size=None)  # type: ignore[arg-type]  # a list is a data set

    def val_dataloader(self) -> Any:
        return []


class BareLoop(Callback):
    """After each step of the other loop, does the same step by hand, and times both."""

    def __init__(self, model: torch.nn.Module, config: TrainConfig, batches: list[Any], steps: int) -> None:
        self.model, self.config, self.batches = model.train(), config, batches
        self.optimizer = build_optimizer(model, config.optimizer)
        rate = LearningRate(config.schedule, config.optimizer.lr, steps)
        self.scheduler = build_scheduler(self.optimizer, rate)
        self.mix = MixBatch(config.augment, model.spec.config.num_classes)  # type: ignore[union-attr]
        self.bare: list[float] = []
        self.ours: list[float] = []
        self.losses: list[tuple[float, float]] = []
        self._resumed = 0.0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._resumed = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        start = time.perf_counter()
        loss = self._step(batch_idx)
        end = time.perf_counter()
        self.ours.append(start - self._resumed)
        self.bare.append(end - start)
        self.losses.append((float(pl_module.loss), float(loss)))
        self._resumed = time.perf_counter()

    def _step(self, step: int) -> torch.Tensor:
        images, targets = self.batches[step % len(self.batches)]
        seed = (self.config.trainer.seed, 0, step, 0)
        images, soft = self.mix(images, targets, torch.Generator().manual_seed(derive_seed("mix", *seed)))
        torch.manual_seed(derive_seed("drop", *seed))
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(images), soft)
        loss.backward()
        clip_gradients(self.model, self.config.optimizer.clip_norm or float("inf"))
        self.optimizer.step()
        self.scheduler.step()
        return loss.detach()


def measure(config: TrainConfig, steps: int) -> dict[str, Any]:
    """Time both loops on `config`'s model and return milliseconds a step and their ratio."""
    config = replace(
        config,
        model=replace(config.model, pretrained=False),
        optimizer=replace(config.optimizer, lr_base_batch=None),
        schedule=replace(config.schedule, epochs=1, warmup_epochs=0.1),
        trainer=replace(config.trainer, device="cpu", precision="fp32"),
    )
    torch.manual_seed(0)
    model = build_model(config.model, [str(number) for number in range(10)])
    size, batch = model.spec.preprocess.size, config.data.batch_size
    batches = [(torch.randn(batch, 3, *size), torch.randint(10, (batch,))) for _ in range(4)]
    bare = BareLoop(copy.deepcopy(model), config, batches, steps)
    with tempfile.TemporaryDirectory() as name, quiet():
        folder = Path(name)
        module = ClassificationModule(model, config, num_classes=10, steps_per_epoch=steps)
        log = RunLog(folder / "log.txt")
        parts = [
            FiniteGuard(folder),
            History(folder, every=config.trainer.log_every, scores=module.scores),
            ProgressBar(log),
            Checkpoints(folder / "checkpoints", minutes=60, export=lambda: None, say=log.say),
            bare,
        ]
        trainer = build_trainer(config, folder, parts, epochs=config.schedule.epochs, validate=False)
        trainer.fit(module, datamodule=InMemory(batches, steps, config))
    worst = max(abs(ours - other) / abs(other) for ours, other in bare.losses)
    assert worst < 1e-4, f"the loops disagree: relative difference of the losses {worst:.1e}"
    ratios = [ours / other for ours, other in zip(bare.ours[WARMUP:], bare.bare[WARMUP:], strict=True)]
    quarter, middle, third = statistics.quantiles(ratios, n=4)
    return {
        "batch": batch,
        "size": list(size),
        "steps": len(ratios),
        "ours_ms": 1000 * statistics.median(bare.ours[WARMUP:]),
        "bare_ms": 1000 * statistics.median(bare.bare[WARMUP:]),
        "ratio": middle,
        "ratio_quartiles": [quarter, third],
        "largest_loss_difference": worst,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--models", nargs="+", choices=CASES, default=["digits", "cifar10"])
    args = parser.parse_args()
    results = {}
    for name in args.models:
        found = results[name] = measure(CASES[name](), args.steps)
        low, high = found["ratio_quartiles"]
        verdict = "within" if found["ratio"] < BAR else "ABOVE"
        print(
            f"{name:10} batch {found['batch']}: ours {found['ours_ms']:.1f} ms a step, "
            f"bare {found['bare_ms']:.1f}, "
            f"ratio {found['ratio']:.3f} (quartiles {low:.3f} to {high:.3f}), {verdict} {BAR}"
        )
    print(f"written: {write_results('train_overhead', results)}")


if __name__ == "__main__":
    main()
