"""What the Lightning modules of all tasks share: the optimiser, its schedule, clipping, and scores."""

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from swinkit.data.sampling import derive_seed
from swinkit.train.config import JobConfig
from swinkit.train.optim import build_optimizer
from swinkit.train.schedule import LearningRate, build_scheduler, lr_scale


class TaskModule(L.LightningModule):
    """A model, its job, and a step that never writes a number that is not finite.

    Args:
        model: the network.
        config: the job.
        steps_per_epoch: optimiser steps of an epoch.

    Attributes:
        loss: of the last batch. What Lightning hands on is already divided by the accumulated batches.
        grad_norm: total gradient norm of the last optimiser step, before clipping.
        validation: scores of the last validation: loss and `scores` (fractions); empty before the first.
        validated_epoch: the epoch of that validation, -1 before the first.
        scores: name in `validation` -> how a person calls it; the first decides which model is the best.
    """

    scores: dict[str, str]

    def __init__(self, model: nn.Module, config: JobConfig, *, steps_per_epoch: int) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.loss = torch.zeros(())
        self.grad_norm = 0.0
        self.validation: dict[str, float] = {}
        self.validated_epoch = -1
        # Sharding flattens parameters to one dimension, so what decays is decided from the shapes before it.
        self.dimensions = {name: parameter.ndim for name, parameter in model.named_parameters()}

    @property
    def told(self) -> dict[str, str]:
        """The scores that tell something."""
        return self.scores

    @property
    def pictures_per_step(self) -> int:
        """Training pictures of one optimiser step, over all processes."""
        trainer = self.config.trainer
        return self.config.data.batch_size * trainer.world_size * trainer.accumulate

    def on_train_epoch_start(self) -> None:
        """See to it that the last epoch is validated, whatever the interval."""
        last = self.trainer.max_epochs is not None and self.current_epoch + 1 >= self.trainer.max_epochs
        self.trainer.check_val_every_n_epoch = 1 if last else self.config.trainer.validate_every

    def on_validation_start(self) -> None:
        """Give all processes the first one's buffers, which are those that are saved.

        Batch norm's running statistics differ between processes until the next training step.
        """
        if distributed.is_available() and distributed.is_initialized():
            for buffer in self.model.buffers():
                distributed.broadcast(buffer, src=0)

    def compile_model(self) -> None:
        """Compile what a training step runs."""
        self.model.compile()

    def where(self, batch_idx: int) -> tuple[int, int, int, int]:
        """Numbers that no other batch of the run has, to derive its random choices from.

        The batch within the epoch, not the optimiser step, so that accumulated batches differ from each
        other.
        """
        return (self.config.trainer.seed, self.current_epoch, batch_idx, self.global_rank)

    def seed_dropout(self, batch_idx: int) -> None:
        """Stochastic depth and dropout draw from torch's global generator, on any device."""
        torch.manual_seed(derive_seed("drop", *self.where(batch_idx)))

    def keep_loss(self, loss: Tensor) -> Tensor:
        """Note the loss of a batch and return it."""
        self.loss = loss.detach()
        return loss

    def finish_validation(self, scores: dict[str, float]) -> None:
        """Keep the scores of the validation that just ended."""
        self.validation, self.validated_epoch = scores, self.current_epoch

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

        An optimiser passes over parameters without a gradient: neither the weights nor its moments see the
            step.
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
