"""A training job as plain data: what a recipe returns, what a run folder's config.json holds, what the
command line overrides.
"""

import dataclasses
import json
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from swinkit.backbones.config import Position
from swinkit.data import AugmentConfig, DataConfig, LoadingConfig
from swinkit.errors import InputError
from swinkit.layers import Init
from swinkit.ops.window_attention import Implementation


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and what differs from its published form. None means: as the variant has it.

    Attributes:
        name: variant, see `swinkit models`; custom for a Swin Transformer described by the numbers below.
        pretrained: True for the published weights of `name`, the path or published name of a checkpoint, or
            False to start from scratch.
        img_size: (height, width) in pixels of the network's input.
        crop_ratio: evaluation resizes the short side to img_size / crop_ratio and crops the centre; whole:
            the whole picture is resized to img_size; auto: 0.875, from 384 pixels on whole (A2.1).
        mean: per channel, of RGB in 0..1, subtracted from the input.
        std: per channel, of RGB in 0..1, the input is divided by.
        window_size: tokens a side of a window.
        drop_path_rate: stochastic depth of the last block.
        drop_rate: dropout on tokens and projections.
        position: relative, absolute, both, none or relative_without_appearance (Table 4).
        shift: shift the windows in every second block (Table 4).
        in_chans: channels of the input picture.
        patch_size: pixels a side of a patch.
        embed_dim: channels of the first stage, for a model of your own size.
        depths: blocks of each stage, for a model of your own size.
        num_heads: attention heads of each stage, for a model of your own size.
        init: how the weights of a model from scratch start: paper, or xavier for models far narrower than
            the paper's.
        grad_checkpointing: recompute blocks in the backward pass: less memory, more time.
        freeze_stages: 1 fixes the patch embedding, n the first n - 1 stages as well; 0 nothing.
        attention_impl: implementation of window attention: auto, chunked, native, reference, sdpa or triton.
    """

    name: str = "swin_tiny_patch4_window7_224"
    pretrained: bool | str = False
    img_size: tuple[int, int] | None = None
    crop_ratio: float | Literal["auto", "whole"] = "auto"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    window_size: int | None = None
    drop_path_rate: float | None = None
    drop_rate: float | None = None
    position: Position | None = None
    shift: bool | None = None
    in_chans: int | None = None
    patch_size: int | None = None
    embed_dim: int | None = None
    depths: tuple[int, ...] | None = None
    num_heads: tuple[int, ...] | None = None
    init: Init = "paper"
    grad_checkpointing: bool = False
    freeze_stages: int = 0
    attention_impl: Implementation = "auto"

    def __post_init__(self) -> None:
        _require_choices(self, "model")
        ratio = self.crop_ratio
        _require(isinstance(ratio, str) or 0 < ratio <= 1, "model.crop_ratio", "above 0, at most 1", ratio)
        _require(self.freeze_stages >= 0, "model.freeze_stages", "0 or more", self.freeze_stages)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimiser (section 4.1, A2.1).

    Attributes:
        name: adamw or sgd.
        lr: peak learning rate.
        lr_base_batch: if set, lr, schedule.warmup_lr and schedule.min_lr are multiplied by (pictures a step)
            / this.
        betas: AdamW's decay rates of the running moments.
        eps: AdamW's epsilon.
        weight_decay: pull towards zero, apart from the gradient with adamw (decoupled) and added to it with
            sgd; never on position tables.
        no_decay: what else is spared: vectors (norms, biases and every other 1-d parameter, as the published
            classification code) or layer_norms (these alone, as the published detection and segmentation
            code, which pulls biases and batch norms).
        layer_decay: learning rate of a block over that of the block after it; 1 for none.
        momentum: SGD's momentum.
        clip_norm: gradients are scaled down to this total norm; None for no clipping.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-3
    lr_base_batch: int | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.05
    no_decay: Literal["vectors", "layer_norms"] = "vectors"
    layer_decay: float = 1.0
    momentum: float = 0.9
    clip_norm: float | None = 5.0

    def __post_init__(self) -> None:
        _require_choices(self, "optimizer")
        _require(self.lr > 0, "optimizer.lr", "above 0", self.lr)
        _require(
            self.lr_base_batch is None or self.lr_base_batch >= 1,
            "optimizer.lr_base_batch",
            "1 or more",
            self.lr_base_batch,
        )
        _require(
            0 < self.layer_decay <= 1, "optimizer.layer_decay", "above 0 and at most 1", self.layer_decay
        )
        for beta in self.betas:
            _require(0 <= beta < 1, "optimizer.betas", "at least 0 and less than 1", self.betas)
        _require(self.eps >= 0, "optimizer.eps", "0 or more", self.eps)
        _require(self.momentum >= 0, "optimizer.momentum", "0 or more", self.momentum)
        _require(self.weight_decay >= 0, "optimizer.weight_decay", "0 or more", self.weight_decay)
        _require(
            self.clip_norm is None or self.clip_norm > 0, "optimizer.clip_norm", "above 0", self.clip_norm
        )


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate over the run, set anew every optimiser step.

    Attributes:
        epochs: passes over the training data.
        warmup_epochs: epochs of linear warm-up from warmup_lr to the peak.
        warmup_lr: learning rate of the first step.
        min_lr: learning rate after the last step.
        kind: from the peak to min_lr after the warm-up: cosine, linear, constant or drops (min_lr unused).
        drops: with kind drops, epochs after which the learning rate falls to a tenth.
        steps: optimiser steps instead of epochs; the run ends with the epoch in which they are reached, and
            the learning rate reaches min_lr at this step.
        warmup_steps: steps of warm-up instead of epochs.
    """

    epochs: int = 300
    warmup_epochs: float = 20.0
    warmup_lr: float = 5e-7
    min_lr: float = 5e-6
    kind: Literal["cosine", "linear", "constant", "drops"] = "cosine"
    drops: tuple[int, ...] = ()
    steps: int | None = None
    warmup_steps: int | None = None

    def __post_init__(self) -> None:
        _require_choices(self, "schedule")
        _require(self.steps is None or self.steps >= 1, "schedule.steps", "1 or more", self.steps)
        _require(
            self.warmup_steps is None or self.warmup_steps >= 0,
            "schedule.warmup_steps",
            "0 or more",
            self.warmup_steps,
        )
        _require(self.epochs >= 1, "schedule.epochs", "1 or more", self.epochs)
        _require(self.warmup_lr >= 0, "schedule.warmup_lr", "0 or more", self.warmup_lr)
        _require(self.min_lr >= 0, "schedule.min_lr", "0 or more", self.min_lr)
        _require(self.warmup_epochs >= 0, "schedule.warmup_epochs", "0 or more", self.warmup_epochs)
        if self.kind != "constant" and not self.counts_steps and self.warmup_epochs >= self.epochs:
            raise InputError(
                f"schedule.warmup_epochs must be fewer than the {self.epochs} epochs; got "
                f"{self.warmup_epochs:g}: add --schedule.warmup-epochs {self.epochs / 4:g}."
            )

    @property
    def counts_steps(self) -> bool:
        """Whether steps are counted rather than epochs, for the whole or for the warm-up."""
        return self.steps is not None or self.warmup_steps is not None

    def whole_epochs(self, steps_per_epoch: int) -> int:
        """Epochs of the run, for data that make this many steps an epoch."""
        return self.epochs if self.steps is None else math.ceil(self.steps / steps_per_epoch)


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Where and how the job runs.

    Attributes:
        device: auto (a GPU if there is one), cpu or cuda.
        devices: GPUs, or with device cpu processes, on each machine.
        num_nodes: machines. Start one process group a machine with torchrun or SLURM.
        strategy: auto (one process, or ddp for several), ddp, or fsdp (parameters sharded over the GPUs; not
            yet run on GPUs by its authors).
        precision: auto (bf16 on a GPU that has it, else fp32), bf16, fp16 (on a GPU; loss scaling; Swin is
            known to reach NaN) or fp32.
        accumulate: batches whose gradients are added up to one optimiser step. Batches of an epoch that do
            not fill a step are left out.
        seed: every random choice of the run follows from this number.
        log_every: optimiser steps between rows of metrics.csv.
        checkpoint_minutes: minutes between checkpoints inside an epoch; every epoch ends with one anyway.
        keep: also keep the checkpoints of this many last epochs.
        compile: compile the model with torch.compile: slow to start, faster afterwards.
        max_steps: stop after this many optimiser steps; None for the whole schedule.
        validate_every: epochs between validations; the last epoch has one anyway.
        sync_batchnorm: share batch-norm statistics between devices (Swin has none, heads of dense tasks do;
            GPUs only).
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    accumulate: int = 1
    seed: int = 0
    log_every: int = 10
    checkpoint_minutes: float = 15.0
    keep: int = 0
    compile: bool = False
    max_steps: int | None = None
    validate_every: int = 1
    sync_batchnorm: bool = False

    def __post_init__(self) -> None:
        _require_choices(self, "trainer")
        for name in ("devices", "num_nodes", "accumulate", "log_every", "validate_every"):
            _require(getattr(self, name) >= 1, f"trainer.{name}", "1 or more", getattr(self, name))
        for name in ("seed", "checkpoint_minutes", "keep"):
            _require(getattr(self, name) >= 0, f"trainer.{name}", "0 or more", getattr(self, name))
        _require(
            self.max_steps is None or self.max_steps >= 1, "trainer.max_steps", "1 or more", self.max_steps
        )

    @property
    def world_size(self) -> int:
        """Processes of the whole job."""
        return self.devices * self.num_nodes


@dataclass(frozen=True, kw_only=True)
class JobConfig:
    """What the training jobs of all tasks share.

    Attributes:
        data: which pictures.
        optimizer: how a step is made.
        schedule: how long, and the learning rate over time.
        trainer: where and how it runs.
        out: run folder; None for runs/<recipe>.
    """

    task: ClassVar[str] = ""
    """Written into config.json, so that a run folder says what kind of job it is."""

    data: LoadingConfig = field(default_factory=LoadingConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    out: Path | None = None

    def to_json(self) -> str:
        """Return the configuration as indented JSON; `from_json` is its inverse."""
        return json.dumps({"task": self.task, **_plain(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read `to_json`'s output.

        Raises:
            InputError: not JSON, an unknown key, or a value that the configuration refuses.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise InputError(f"the training configuration is not JSON: {error}.") from error
        if isinstance(data, dict):
            task = data.pop("task", "classification")  # files of the first versions do not say
            if task != cls.task:
                raise InputError(f"this is a job of {task}; {cls.task} was expected.")
        return _build(data, cls, "")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(JobConfig):
    """A whole training job of image classification.

    Attributes:
        model: which model.
        data: which pictures.
        augment: what is done to training pictures.
        optimizer: how a step is made.
        schedule: how long, and the learning rate over time.
        trainer: where and how it runs.
        out: run folder; None for runs/<recipe>.
    """

    task: ClassVar[str] = "classification"

    model: ModelOptions = field(default_factory=ModelOptions)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


def _require(holds: bool, name: str, expected: str, got: object) -> None:
    if not holds:
        raise InputError(f"{name} must be {expected}; got {got}.")


def _require_choices(config: Any, section: str) -> None:
    """Check the fields with a fixed set of words, which only the command line checks by itself."""
    for name, hint in typing.get_type_hints(type(config)).items():
        options = _options(hint)
        words = [
            word for option in options if typing.get_origin(option) is Literal for word in option.__args__
        ]
        value, others = getattr(config, name), [option for option in options if isinstance(option, type)]
        others += [int] if float in others else []
        if words and value not in words and not isinstance(value, tuple(others)):
            _require(False, f"{section}.{name}", f"one of {', '.join(words)}", repr(value))


def _options(hint: Any) -> tuple[Any, ...]:
    """The types that a hint allows."""
    united = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    return typing.get_args(hint) if united else (hint,)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _build(data: Any, cls: type, prefix: str) -> Any:
    if not isinstance(data, dict):
        raise InputError(
            f"{prefix.rstrip('.') or 'the training configuration'} must be an object of keys; got {data!r}."
        )
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(data) - {item.name for item in dataclasses.fields(cls)})
    if unknown:
        raise InputError(
            f"unknown key {prefix + unknown[0]!r} in the training configuration: was it written by another "
            "version?"
        )
    values = {key: _restore(value, hints[key], f"{prefix}{key}.") for key, value in data.items()}
    return cls(**values)


def _restore(value: Any, hint: Any, prefix: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(value, hint, prefix)
    if isinstance(value, list):
        return tuple(_restore(item, None, prefix) for item in value)
    options = _options(hint)
    if isinstance(value, str) and Path in options and str not in options:
        return Path(value)
    return value
