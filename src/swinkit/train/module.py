"""Image classification as a Lightning module."""

import math
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from swinkit.data import MixBatch
from swinkit.data.sampling import derive_seed
from swinkit.train.config import TrainConfig
from swinkit.train.data import SURPLUS
from swinkit.train.optim import build_optimizer
from swinkit.train.schedule import LearningRate, build_scheduler, lr_scale


class ClassificationModule(L.LightningModule):
    """Mixed batches, soft-target cross entropy, and a step that never writes a number that is not finite.

    Args:
        model: (B, C, H, W) pictures to (B, num_classes) logits.
        config: the job.
        num_classes: classes of the data.
        steps_per_epoch: optimiser steps of an epoch.

    Attributes:
        loss: of the last batch. What Lightning hands on is already divided by the accumulated batches.
        grad_norm: total gradient norm of the last optimiser step, before clipping.
        validation: scores of the last validation: loss, top1 and top5 (fractions); empty before the first.
    """

    def __init__(
        self, model: nn.Module, config: TrainConfig, *, num_classes: int, steps_per_epoch: int
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.num_classes = num_classes
        self.steps_per_epoch = steps_per_epoch
        self.mix = MixBatch(config.augment, num_classes)
        self.loss = torch.zeros(())
        self.grad_norm = 0.0
        self.validation: dict[str, float] = {}
        self.val_loss = MeanMetric()
        self.val_top1 = MulticlassAccuracy(num_classes, average="micro", ignore_index=SURPLUS)
        self.val_top5 = MulticlassAccuracy(
            num_classes, average="micro", top_k=min(5, num_classes), ignore_index=SURPLUS
        )
        # Sharding flattens parameters to one dimension, so what decays is decided from the shapes before it.
        self.dimensions = {name: parameter.ndim for name, parameter in model.named_parameters()}

    @property
    def pictures_per_step(self) -> int:
        """Training pictures of one optimiser step, over all processes."""
        trainer = self.config.trainer
        return self.config.data.batch_size * trainer.world_size * trainer.accumulate

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of pictures (B, C, H, W) and class numbers (B,)."""
        images, targets = batch
        # The batch within the epoch, not the optimiser step: accumulated batches must differ from each other.
        where = (self.config.trainer.seed, self.current_epoch, batch_idx, self.global_rank)
        generator = torch.Generator().manual_seed(derive_seed("mix", *where))
        images, soft_targets = self.mix(images, targets, generator)
        # Stochastic depth and dropout draw from torch's global generator, on any device.
        torch.manual_seed(derive_seed("drop", *where))
        loss = F.cross_entropy(self.model(images).float(), soft_targets)
        self.loss = loss.detach()
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count the scores of one batch; pictures of class SURPLUS do not count."""
        images, targets = batch
        logits = self.model(images).float()
        counted = (targets != SURPLUS).sum()
        loss = F.cross_entropy(logits, targets, ignore_index=SURPLUS, reduction="sum")
        self.val_loss.update(loss / counted.clamp(min=1), weight=counted)
        self.val_top1.update(logits, targets)
        self.val_top5.update(logits, targets)

    def on_validation_epoch_end(self) -> None:
        """Gather the scores over all processes."""
        scores = {"loss": self.val_loss, "top1": self.val_top1, "top5": self.val_top5}
        self.validation = {name: float(score.compute()) for name, score in scores.items()}
        for score in scores.values():
            score.reset()

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule, one step of it for every optimiser step."""
        config, scale = self.config, lr_scale(self.config.optimizer, self.pictures_per_step)
        optimizer = build_optimizer(
            self.model,
            config.optimizer,
            lr=config.optimizer.lr * scale,
            fused=self.trainer.precision != "16-mixed",
            dimensions=self.dimensions,
        )
        # warmup_lr and min_lr are scaled like lr, so the factor is the same as of the unscaled numbers.
        rate = LearningRate(config.schedule, config.optimizer.lr, self.steps_per_epoch)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": build_scheduler(optimizer, rate), "interval": "step"},
        }

    def configure_gradient_clipping(self, optimizer: Optimizer, *_: Any, **__: Any) -> None:
        """Clip, note the norm, and drop the gradients of a step that is not finite.

        An optimiser passes over parameters without a gradient, so neither the weights nor its moments see
        such a step.
        """
        limit = self.config.optimizer.clip_norm or math.inf
        if isinstance(self.trainer.strategy, FSDPStrategy):
            self.grad_norm = float(self.trainer.model.clip_grad_norm_(limit))  # type: ignore[union-attr]  # FSDP's own
        else:
            self.grad_norm = float(clip_gradients(self.model, limit))
        if not math.isfinite(self.grad_norm):
            optimizer.zero_grad(set_to_none=True)


def stepped(trainer: L.Trainer) -> bool:
    """Whether the batch that just ended completed an optimiser step."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return progress.is_last_batch or progress.current.ready % trainer.accumulate_grad_batches == 0


def clip_gradients(model: nn.Module, limit: float) -> Tensor:
    """Scale the gradients down to a total norm of at most `limit` and return the norm they had."""
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if math.isfinite(limit):
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm
