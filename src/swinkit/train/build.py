"""From a `TrainConfig` to its parts: data, model, trainer."""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import lightning as L
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, Strategy

from swinkit.backbones import VARIANTS, BackboneConfig, SwinConfig
from swinkit.classification import Classifier, build_classifier
from swinkit.data import TransformedDataset, eval_transform, open_dataset, train_transform
from swinkit.data.open import has_validation, resolve_kind
from swinkit.data.sampling import TransformedShards
from swinkit.errors import InputError
from swinkit.layers import SwinBlock, SwinMixerBlock, initialise
from swinkit.models import create_model
from swinkit.spec import ModelSpec, Preprocess
from swinkit.train.checkpoint_io import AtomicCheckpointIO
from swinkit.train.config import JobConfig, ModelOptions, TrainConfig, TrainerConfig
from swinkit.train.data import JobData
from swinkit.weights.download import DownloadError

_PRECISION = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}


def build_model(options: ModelOptions, classes: Sequence[str]) -> Classifier:
    """Return the model with one output a class and the class names and preprocessing in its spec.

    Raises:
        InputError: no such variant, settings that do not fit it, or weights that do not.
    """
    try:
        model = create_model(
            backbone_of(options),
            pretrained=options.pretrained,
            num_classes=len(classes),
            class_names=tuple(classes),
            img_size=options.img_size,
            window_size=options.window_size,
            in_chans=options.in_chans,
            drop_rate=options.drop_rate,
            drop_path_rate=options.drop_path_rate,
            shift=options.shift,
            position=options.position,
            attention_impl=options.attention_impl,
        )
    except DownloadError as error:
        raise InputError(
            f"{str(error).removesuffix('.')}, or train from scratch with --pretrained False."
        ) from error
    given: dict[str, Any] = {"mean": options.mean, "std": options.std}
    given = {name: value for name, value in given.items() if value is not None}
    if options.crop_ratio != "auto":
        given["crop_ratio"] = None if options.crop_ratio == "whole" else options.crop_ratio
    model.spec = replace(model.spec, preprocess=replace(model.spec.preprocess, **given))
    if options.init != "paper" and not options.pretrained:
        initialise(model, options.init)
    return _made_ready(model, options)


def rebuild_model(spec: ModelSpec, options: ModelOptions) -> Classifier:
    """Return the model of a run that goes on, whose weights are in its checkpoint.

    Only how to train it is taken from `options`: what it is was settled, by a pretrained file too, when the
    run began.
    """
    return _made_ready(build_classifier(spec, attention_impl=options.attention_impl), options)


def build_data(config: TrainConfig, preprocess: Preprocess, train: Any, val: Any | None) -> JobData:
    """Give the opened data sets their transforms and their loaders."""
    seed = config.trainer.seed
    shards = resolve_kind(config.data) == "webdataset"
    wrap = TransformedShards if shards else TransformedDataset
    return JobData(
        wrap(train, train_transform(config.augment, preprocess), seed=seed),
        wrap(val, eval_transform(preprocess), seed=seed) if val is not None else None,
        config,
    )


def open_data(config: TrainConfig) -> tuple[Any, Any | None]:
    """Open the training and the validation pictures; None where there are none.

    Raises:
        InputError: the data is missing or malformed, has too few classes, or its parts disagree on them.
    """
    train = open_dataset(config.data, "train")
    if len(train.classes) < 2:
        raise InputError(
            f"training needs pictures of at least two classes; {config.data.path} has only "
            f"{', '.join(train.classes)}."
        )
    if not len(train):
        raise InputError("there is no training picture: lower --data.val-fraction.")
    val = open_dataset(config.data, "val") if has_validation(config.data) else None
    if val is not None and not len(val):
        val = None
    if val is not None and tuple(val.classes) != tuple(train.classes):
        raise InputError(
            f"training and validation have different classes: {_difference(train.classes, val.classes)}; "
            "give both the same class folders."
        )
    return train, val


def pick_precision(settings: TrainerConfig, device: str) -> str:
    """Return bf16, fp16 or fp32: as asked, or bf16 where the device computes in it natively.

    Raises:
        InputError: fp16 on a CPU.
    """
    if settings.precision == "fp16" and device == "cpu":
        raise InputError(
            "--trainer.precision fp16 needs a GPU, and this job runs on the CPU: use fp32 (or auto) or bf16."
        )
    if settings.precision != "auto":
        return settings.precision
    # Compute capability 8.0 and up; is_bf16_supported() alone also counts emulation.
    return "bf16" if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def pick_device(settings: TrainerConfig) -> str:
    """Return cpu or cuda.

    Raises:
        InputError: more GPUs are asked for than there are. Several CPU processes are slower than one, for
            tests and trials, so they have to be asked for by --trainer.device cpu.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if settings.device == "cpu" or (settings.device == "auto" and not found and settings.devices == 1):
        return "cpu"
    if found < settings.devices:
        raise InputError(
            f"--trainer.devices {settings.devices} asks for as many GPUs, and torch sees {found}: ask for "
            "fewer, or add --trainer.device cpu to start that many processes on the CPU."
        )
    return "cuda"


def build_trainer(
    config: JobConfig, folder: Path, callbacks: list[Callback], *, epochs: int, validate: bool
) -> L.Trainer:
    """Return Lightning's trainer for the job; without `validate` it asks for no validation pictures."""
    settings = config.trainer
    device = pick_device(settings)
    plugins: list[Any] = [AtomicCheckpointIO()]
    if SLURMEnvironment.detect():
        # We save on the signal, and the job script says --resume.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return L.Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=_strategy(settings, device),
        precision=_PRECISION[pick_precision(settings, device)],  # type: ignore[arg-type]  # a literal type
        max_epochs=epochs,
        check_val_every_n_epoch=settings.validate_every,
        accumulate_grad_batches=settings.accumulate,
        callbacks=callbacks,
        plugins=plugins,
        sync_batchnorm=settings.sync_batchnorm and device == "cuda",
        default_root_dir=folder,
        num_sanity_val_steps=0,
        limit_val_batches=None if validate else 0,
        use_distributed_sampler=False,  # ours shares out the pictures, and can resume
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


class _Numbers(Protocol):
    """The options of every task that say which backbone."""

    @property
    def name(self) -> str: ...
    @property
    def patch_size(self) -> int | None: ...
    @property
    def embed_dim(self) -> int | None: ...
    @property
    def depths(self) -> tuple[int, ...] | None: ...
    @property
    def num_heads(self) -> tuple[int, ...] | None: ...


def backbone_of(options: _Numbers) -> str | BackboneConfig:
    """The name of a backbone or, with numbers of the user's own, its configuration; it gives the last map.

    Raises:
        InputError: own numbers for something that is no Swin variant.
    """
    names = ("patch_size", "embed_dim", "depths", "num_heads")
    own = {name: value for name in names if (value := getattr(options, name)) is not None}
    if not own and options.name != "custom":
        return options.name
    base = SwinConfig() if options.name == "custom" else VARIANTS.get(options.name)
    if base is None:
        near = difflib.get_close_matches(options.name, VARIANTS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(
            f"unknown model {options.name!r}: {hint}Numbers of your own ({', '.join(own)}) "
            "fit a Swin variant or custom."
        )
    return replace(base, **own, out_indices=(len(options.depths or base.depths) - 1,))


def _made_ready(model: Classifier, options: ModelOptions) -> Classifier:
    model.backbone.set_grad_checkpointing(options.grad_checkpointing)
    model.backbone.freeze_stages(options.freeze_stages)
    return model


def _strategy(settings: TrainerConfig, device: str) -> Strategy | str:
    if settings.strategy == "fsdp":
        if device != "cuda":
            raise InputError(
                "--trainer.strategy fsdp shards over GPUs, and this job runs on the CPU: use ddp."
            )
        return FSDPStrategy(auto_wrap_policy={SwinBlock, SwinMixerBlock}, state_dict_type="full")
    if settings.strategy == "auto" and settings.world_size == 1:
        return "auto"
    # Batch-norm statistics are shared by sync_batchnorm, and one process may have more batches of shards.
    return DDPStrategy(gradient_as_bucket_view=True, broadcast_buffers=False)


def _difference(train: Sequence[str], val: Sequence[str]) -> str:
    only_train, only_val = sorted(set(train) - set(val)), sorted(set(val) - set(train))
    parts = [f"{', '.join(only_train[:5])} only in training"] if only_train else []
    parts += [f"{', '.join(only_val[:5])} only in validation"] if only_val else []
    return " and ".join(parts) or "another order"
