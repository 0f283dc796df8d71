"""Image classification as a Lightning module."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from swinkit.data import MixBatch
from swinkit.data.sampling import derive_seed
from swinkit.train.config import TrainConfig
from swinkit.train.data import SURPLUS
from swinkit.train.task_module import TaskModule


class ClassificationModule(TaskModule):
    """Mixed batches and soft-target cross entropy.

    Args:
        model: (B, C, H, W) pictures to (B, num_classes) logits.
        config: the job.
        num_classes: classes of the data.
        steps_per_epoch: optimiser steps of an epoch.
    """

    scores = {"top1": "top-1", "top5": "top-5"}  # noqa: RUF012 (never changed)

    def __init__(
        self, model: nn.Module, config: TrainConfig, *, num_classes: int, steps_per_epoch: int
    ) -> None:
        super().__init__(model, config, steps_per_epoch=steps_per_epoch)
        self.num_classes = num_classes
        self.mix = MixBatch(config.augment, num_classes)
        self.val_loss = MeanMetric()
        self.val_top1 = MulticlassAccuracy(num_classes, average="micro", ignore_index=SURPLUS)
        self.val_top5 = MulticlassAccuracy(
            num_classes, average="micro", top_k=min(5, num_classes), ignore_index=SURPLUS
        )

    @property
    def told(self) -> dict[str, str]:
        """Of five classes or fewer, every picture's class is in the top 5."""
        return self.scores if self.num_classes > 5 else {"top1": self.scores["top1"]}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of pictures (B, C, H, W) and class numbers (B,)."""
        images, targets = batch
        generator = torch.Generator().manual_seed(derive_seed("mix", *self.where(batch_idx)))
        images, soft_targets = self.mix(images, targets, generator)
        self.seed_dropout(batch_idx)
        return self.keep_loss(F.cross_entropy(self.model(images).float(), soft_targets))

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
        self.finish_validation({name: float(score.compute()) for name, score in scores.items()})
        for score in scores.values():
            score.reset()
