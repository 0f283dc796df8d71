"""The learning rate of every step, as a pure function of the step."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from swinkit.train.config import OptimizerConfig, ScheduleConfig


class LearningRate:
    """step -> learning rate relative to the peak, so that groups with their own peak keep their proportion.

    Linear warm-up from warmup_lr to the peak; then cosine or linear from the peak to min_lr over the
    remaining steps, or constant, or down to a tenth after each of the schedule's drops. Step k (from 0) is
    the k-th optimiser step; with cosine and linear `factor(total_steps)` is exactly min_lr / peak.

    Args:
        schedule: the schedule.
        peak: lr at the top, on the scale of schedule.warmup_lr and schedule.min_lr.
        steps_per_epoch: optimiser steps of an epoch.
    """

    def __init__(self, schedule: ScheduleConfig, peak: float, steps_per_epoch: int) -> None:
        self.kind = schedule.kind
        self.total = schedule.steps or schedule.epochs * steps_per_epoch
        warmup = schedule.warmup_steps
        self.warmup = round(schedule.warmup_epochs * steps_per_epoch) if warmup is None else warmup
        self.drops = tuple(epoch * steps_per_epoch for epoch in schedule.drops)
        self.start = schedule.warmup_lr / peak
        self.end = schedule.min_lr / peak

    def factor(self, step: int) -> float:
        """Return the learning rate of optimiser step `step` over the peak."""
        if step < self.warmup:
            return self.start + (1 - self.start) * step / self.warmup
        if self.kind == "drops":
            return 0.1 ** sum(step >= drop for drop in self.drops)
        if self.kind == "constant":
            return 1.0
        progress = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
        if self.kind == "linear":
            return 1 - (1 - self.end) * progress
        return self.end + (1 - self.end) * 0.5 * (1 + math.cos(math.pi * progress))


def build_scheduler(optimizer: Optimizer, rate: LearningRate) -> LambdaLR:
    """Return a scheduler, to be stepped after every optimiser step, that follows `rate`."""

    # A bound method of an object of ours would be stored in the checkpoint by state_dict; a function is not.
    def factor(step: int) -> float:
        return rate.factor(step)

    return LambdaLR(optimizer, factor)


def lr_scale(optimizer: OptimizerConfig, pictures_per_step: int) -> float:
    """Return what all learning rates are multiplied by: linear scaling with the global batch, or 1."""
    return 1.0 if optimizer.lr_base_batch is None else pictures_per_step / optimizer.lr_base_batch
