import math

import pytest
import torch

from swinkit.train.config import OptimizerConfig, ScheduleConfig
from swinkit.train.schedule import LearningRate, build_scheduler, lr_scale


def test_exact_values_of_warmup_and_cosine() -> None:
    schedule = ScheduleConfig(epochs=10, warmup_epochs=2, warmup_lr=1e-6, min_lr=1e-5, kind="cosine")
    rate = LearningRate(schedule, 1e-3, steps_per_epoch=5)
    assert 1e-3 * rate.factor(0) == pytest.approx(1e-6, rel=1e-12)
    assert 1e-3 * rate.factor(5) == pytest.approx((1e-6 + 1e-3) / 2, rel=1e-12)
    assert rate.factor(10) == 1.0
    quarter = 1e-5 + (1e-3 - 1e-5) * 0.5 * (1 + math.cos(math.pi / 4))
    assert 1e-3 * rate.factor(20) == pytest.approx(quarter, rel=1e-12)
    assert 1e-3 * rate.factor(30) == pytest.approx((1e-3 + 1e-5) / 2, rel=1e-12)
    assert 1e-3 * rate.factor(50) == pytest.approx(1e-5, rel=1e-12)
    assert rate.factor(60) == rate.factor(50)  # never beyond the end


def test_linear_and_constant() -> None:
    linear = LearningRate(ScheduleConfig(epochs=4, warmup_epochs=0, min_lr=2e-4, kind="linear"), 1e-3, 10)
    assert linear.factor(0) == 1.0
    assert 1e-3 * linear.factor(10) == pytest.approx(1e-3 - 0.25 * 8e-4, rel=1e-12)
    assert 1e-3 * linear.factor(40) == pytest.approx(2e-4, rel=1e-12)
    constant = LearningRate(ScheduleConfig(epochs=4, warmup_epochs=1, warmup_lr=0, kind="constant"), 1e-3, 10)
    assert [constant.factor(step) for step in (0, 5, 10, 39)] == [0.0, 0.5, 1.0, 1.0]


def test_groups_keep_their_proportion() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(
        [{"params": [parameters[0]], "lr": 1.0}, {"params": [parameters[1]], "lr": 0.1}]
    )
    rate = LearningRate(ScheduleConfig(epochs=2, warmup_epochs=1, warmup_lr=0.5, min_lr=0.1), 1.0, 4)
    scheduler = build_scheduler(optimizer, rate)
    seen = []
    for _ in range(8):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert [first for first, _ in seen] == pytest.approx([rate.factor(step) for step in range(8)])
    assert all(second == pytest.approx(0.1 * first) for first, second in seen)


def test_learning_rate_scales_with_the_batch() -> None:
    assert lr_scale(OptimizerConfig(lr_base_batch=512), 1024) == 2.0
    assert lr_scale(OptimizerConfig(lr_base_batch=None), 1024) == 1.0
