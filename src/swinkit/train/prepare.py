"""What a job needs before it runs, one function a task."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from swinkit.data.look_over import look_over, warnings_of
from swinkit.data.mask_transforms import MaskEvalTransform, MaskTrainTransform, TransformedMasks
from swinkit.data.masks import MaskDataset, find_folders, open_masks
from swinkit.errors import InputError
from swinkit.layers import initialise
from swinkit.models_segmentation import create_segmenter
from swinkit.segmentation.config import IGNORE
from swinkit.segmentation.losses import SegmentationLoss
from swinkit.segmentation.segmenter import Segmenter, build_segmenter
from swinkit.train.build import backbone_of, build_data, build_model, open_data, pick_device, rebuild_model
from swinkit.train.config import JobConfig, TrainConfig
from swinkit.train.data import JobData
from swinkit.train.detection_config import DetectConfig
from swinkit.train.module import ClassificationModule
from swinkit.train.prepare_detection import prepare_detection
from swinkit.train.prepared import Prepared, spec_of_run
from swinkit.train.segmentation_config import SegmentConfig
from swinkit.train.segmentation_module import SegmentationModule


def prepare(config: JobConfig, *, resume_in: Path | None) -> Prepared:
    """Open the data, build the model, and put both together.

    Args:
        config: the job.
        resume_in: run folder of a run that goes on, which knows what model it was started with; None for a
            new run.

    Raises:
        InputError: data, model and settings do not fit together.
    """
    return PREPARE[type(config)](config, resume_in)


def prepare_classification(config: TrainConfig, resume_in: Path | None) -> Prepared:
    """Image classification."""
    train_set, val_set = open_data(config)
    torch.manual_seed(config.trainer.seed)
    if resume_in is None:
        model = build_model(config.model, train_set.classes)
    else:
        model = rebuild_model(spec_of_run(resume_in, config.model, train_set.classes), config.model)
    data = build_data(config, model.spec.preprocess, train_set, val_set)
    module = ClassificationModule(
        model, config, num_classes=len(model.spec.class_names), steps_per_epoch=data.steps_per_epoch
    )
    return Prepared(model=model, data=data, module=module)


def prepare_segmentation(config: SegmentConfig, resume_in: Path | None) -> Prepared:
    """Semantic segmentation: the masks are looked over first."""
    train_set, val_set = open_mask_data(config)
    seen = look_over(train_set, limit=config.data.look_over)
    seen_val = look_over(val_set, limit=config.data.look_over) if val_set is not None else None
    balanced = config.loss.class_weights != "none" or config.loss.dice > 0
    torch.manual_seed(config.trainer.seed)
    if resume_in is None:
        model = build_segmenter_of(config, train_set)
    else:
        spec = spec_of_run(resume_in, config.model, train_set.classes)
        model = build_segmenter(spec, attention_impl=config.model.attention_impl)
    model.backbone.set_grad_checkpointing(config.model.grad_checkpointing)
    if config.model.freeze_stages:
        model.backbone.freeze_stages(config.model.freeze_stages)
    preprocess, inference = model.spec.preprocess, model.config.inference
    seed = config.trainer.seed
    _check_batches(config, len(train_set))
    data = JobData(
        TransformedMasks(train_set, MaskTrainTransform(config.augment, preprocess), seed),
        TransformedMasks(val_set, MaskEvalTransform(preprocess, inference), seed) if val_set else None,
        config,
        val_batch_size=1,  # pictures keep their own sizes
        surplus=IGNORE,
    )
    loss = SegmentationLoss(config.loss, len(train_set.classes), seen.pixels)
    module = SegmentationModule(model, config, loss, steps_per_epoch=data.steps_per_epoch)
    facts = {"train": seen.to_dict(), "val": seen_val.to_dict() if seen_val is not None else None}
    remarks = [f"warning: {line}" for line in warnings_of(seen, seen_val, balanced=balanced)]
    return Prepared(model=model, data=data, module=module, remarks=remarks, facts={"data.json": facts})


def _check_batches(config: SegmentConfig, pictures: int) -> None:
    """One picture alone leaves batch norm one number where the pyramid pools the whole map: no statistics."""
    size = min(config.data.batch_size, pictures // config.trainer.world_size)
    shared = config.trainer.sync_batchnorm and config.trainer.world_size > 1
    if size < 2 and not (shared and pick_device(config.trainer) == "cuda"):
        raise InputError(
            f"UperNet's batch norm needs two pictures a batch or more, and this job's have {size}: raise "
            "--data.batch-size, or share the statistics of several GPUs with --trainer.sync-batchnorm."
        )


def open_mask_data(config: SegmentConfig) -> tuple[MaskDataset, MaskDataset | None]:
    """Open the training and the validation masks; None where there are none.

    Raises:
        InputError: the data is missing or malformed, or the parts disagree on the classes.
    """
    train = open_masks(config.data, "train")
    root = config.data.path
    assert root is not None
    has_val = find_folders(root, "val") is not None or config.data.val_fraction > 0
    val = open_masks(config.data, "val") if has_val else None
    if val is not None and not len(val):
        val = None
    if val is not None and val.classes != train.classes:
        raise InputError(
            f"training masks have {len(train.classes)} classes and validation masks {len(val.classes)}: put "
            "a classes.txt with one name a line beside the data."
        )
    return train, val


def build_segmenter_of(config: SegmentConfig, data: MaskDataset) -> Segmenter:
    """Build the model with the data's classes, colours and crop in its spec."""
    options = config.model
    model = create_segmenter(
        backbone_of(options),
        num_classes=len(data.classes),
        class_names=data.classes,
        pretrained=options.pretrained,
        crop=config.augment.crop,
        window_size=options.window_size,
        drop_path_rate=options.drop_path_rate,
        channels=options.channels,
        auxiliary_channels=options.auxiliary_channels,
        palette=data.legend.palette,
        inference=config.inference,
        attention_impl=options.attention_impl,
    )
    if options.init != "paper" and not options.pretrained:
        initialise(model.backbone, options.init)
    return model


PREPARE: dict[type[JobConfig], Callable[[Any, Path | None], Prepared]] = {
    TrainConfig: prepare_classification,
    SegmentConfig: prepare_segmentation,
    DetectConfig: prepare_detection,
}
"""Job -> function (config, run folder of a run that goes on) that prepares it."""
