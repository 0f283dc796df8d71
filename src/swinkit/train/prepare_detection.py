"""What a detection job needs before it runs."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from swinkit.backbones import fix_parts
from swinkit.data.object_layout import has_part, open_objects, trained_on
from swinkit.data.object_transforms import ObjectEvalTransform, ObjectTrainTransform, TransformedObjects
from swinkit.data.objects import ObjectDataset, Problems
from swinkit.data.stuff import only_with_stuff
from swinkit.detection.build import build_detector
from swinkit.detection.config import DetectorConfig, HeadConfig, TwoStageConfig
from swinkit.detection.config_dense import AtssConfig, RepPointsV2Config
from swinkit.detection.detector import Detector
from swinkit.detection.htc_config import HtcConfig
from swinkit.detection.published import published_select
from swinkit.detection.sparse_config import SparseConfig
from swinkit.errors import InputError
from swinkit.layers import initialise
from swinkit.models_detection import HEADS, create_detector
from swinkit.spec import ModelSpec
from swinkit.train.build import backbone_of
from swinkit.train.data import JobData
from swinkit.train.detection_config import DetectConfig, DetectorOptions, SelectOptions
from swinkit.train.detection_module import DetectionModule
from swinkit.train.prepare_semantic import reads_stuff, stuff_classes, with_semantic, with_stuff_branch
from swinkit.train.prepared import Prepared, spec_of_run


def prepare_detection(config: DetectConfig, resume_in: Path | None) -> Prepared:
    """Object detection: the annotations are looked over first.

    Raises:
        InputError: data, model and settings do not fit together.
    """
    train_set, val_set = open_object_data(config)
    options = config.model
    if reads_stuff(options):
        train_set = only_with_stuff(train_set, Problems(config.data.bad))
    masks = _with_masks(options, train_set)
    semantic = with_semantic(options, train_set)
    torch.manual_seed(config.trainer.seed)
    if resume_in is None:
        model = build_detector_of(config, train_set, masks=masks, semantic=semantic)
    else:
        spec = _selecting(spec_of_run(resume_in, options, train_set.classes), config.select)
        model = build_detector(spec, attention_impl=options.attention_impl)
    model.backbone.set_grad_checkpointing(options.grad_checkpointing)
    fix_parts(model.backbone, frozen_stages=options.freeze_stages, norm_eval=options.norm_eval)
    preprocess, seed, skip = model.spec.preprocess, config.trainer.seed, config.data.bad == "skip"
    if config.augment.instaboost and not train_set.has_masks:
        raise InputError("instaboost moves objects by their outlines, and some have none: set it to 0.")
    train_transform = ObjectTrainTransform(
        config.augment, preprocess, masks=masks, stuff_classes=stuff_classes(model.config, train_set)
    )
    val_transform = ObjectEvalTransform(
        preprocess,
        short_side=options.short_side,
        long_side=options.long_side,
        scale=options.scale,
    )
    group = config.data.batch_size if config.data.group_by_shape and config.augment.ratio is None else None
    data = JobData(
        TransformedObjects(train_set, train_transform, seed, skip_bad=skip, group=group),
        TransformedObjects(val_set, val_transform, seed, skip_bad=skip) if val_set is not None else None,
        config,
        val_batch_size=1,  # a picture then gives the same whatever comes beside it
    )
    module = DetectionModule(model, config, val_set, steps_per_epoch=data.steps_per_epoch)
    facts = {"train": summary(train_set), "val": summary(val_set) if val_set is not None else None}
    most = model.config.select.most
    lines = [*warnings_of(train_set, val_set, most=most), *_random_parts(options)]
    remarks = [f"warning: {line}" for line in lines]
    return Prepared(model=model, data=data, module=module, remarks=remarks, facts={"data.json": facts})


def open_object_data(config: DetectConfig) -> tuple[ObjectDataset, ObjectDataset | None]:
    """Open the training and the validation pictures; None where there are none.

    Raises:
        InputError: the data is missing or malformed, has no object, or the parts disagree on the classes.
    """
    train = trained_on(config.data, open_objects(config.data, "train"))
    if not any(len(record) for record in train.records):
        raise InputError(f"the training pictures of {config.data.path} have no object: nothing to learn.")
    val = open_objects(config.data, "val") if has_part(config.data, "val") else None
    if val is not None and not len(val):
        val = None
    if val is not None and val.classes != train.classes:
        only = sorted(set(train.classes) ^ set(val.classes))
        what = f"{', '.join(map(repr, only[:5]))} in one of them only" if only else "another order"
        raise InputError(
            f"training and validation have different categories ({what}): give both the same list."
        )
    return train, val


def build_detector_of(
    config: DetectConfig, data: ObjectDataset, *, masks: bool, semantic: bool = False
) -> Detector:
    """Build the model with the data's classes in its spec."""
    options = config.model
    head = _head(options, semantic=semantic)
    model = create_detector(
        backbone_of(options),
        head=head,
        masks=None if masks else False,
        num_classes=len(data.classes),
        class_names=data.classes,
        pretrained=options.pretrained,
        window_size=options.window_size,
        drop_path_rate=options.drop_path_rate,
        neck_channels=options.channels,
        select=config.select.over(published_select(head)),
        short_side=options.short_side,
        long_side=options.long_side,
        scale=options.scale,
        attention_impl=options.attention_impl,
    )
    if options.init != "paper" and not options.pretrained:
        initialise(model.backbone, options.init)
    return model


def summary(data: ObjectDataset) -> dict[str, Any]:
    """Plain JSON types: pictures, objects of each class, how large they are, and what was left out."""
    counts = Counter(int(label) for record in data.records for label in record.labels[~record.crowd])
    areas = [area for record in data.records for area in record.areas[~record.crowd].tolist()]
    return {
        "pictures": len(data),
        "without_objects": sum(not len(record) for record in data.records),
        "objects": sum(counts.values()),
        "crowds": sum(int(record.crowd.sum()) for record in data.records),
        "small": sum(area < 32**2 for area in areas),
        "large": sum(area >= 96**2 for area in areas),
        "most_in_a_picture": max((len(record) for record in data.records), default=0),
        "masks": data.has_masks,
        "classes": {name: counts[label] for label, name in enumerate(data.classes)},
        "left_out": list(data.problems),
    }


def warnings_of(train: ObjectDataset, val: ObjectDataset | None, *, most: int) -> list[str]:
    """Say what will go wrong: classes that are missing, more objects than the `most` detections."""
    lines = []
    counts = summary(train)["classes"]
    missing = [name for name, count in counts.items() if not count]
    if missing:
        listed = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
        lines.append(f"{listed} never occur in the training pictures, so the model cannot learn them.")
    if val is not None and not summary(val)["objects"]:
        lines.append("the validation pictures have no object, so every score will be 0.")
    crowded = sum(len(record) > most for record in val.records) if val is not None else 0
    if crowded:
        lines.append(
            f"{crowded} validation pictures have more than {most} objects, of which only {most} can be "
            "found: raise --select.most."
        )
    return lines


def _selecting(spec: ModelSpec, select: SelectOptions) -> ModelSpec:
    """The model of a run, choosing its detections as the settings say now."""
    assert isinstance(spec.config, DetectorConfig)
    return replace(spec, config=replace(spec.config, select=select.over(spec.config.select)))


def _random_parts(options: DetectorOptions) -> list[str]:
    """Say that what is not trained has nothing to be good at."""
    if options.pretrained or not (options.freeze_stages or options.norm_eval):
        return []
    return [
        "the backbone starts from random weights, and --model.freeze-stages or --model.norm-eval keeps some "
        "as they are: do without (--model.freeze-stages 0, --model.no-norm-eval)."
    ]


def _with_masks(options: DetectorOptions, data: ObjectDataset) -> bool:
    if not isinstance(HEADS[options.head], TwoStageConfig):
        if options.masks is True:
            raise InputError(f"{options.head} finds boxes only: leave --model.masks out.")
        return False
    if options.masks == "auto":
        return data.has_masks
    if options.masks and not data.has_masks:
        lacking = sum(segment is None for record in data.records for segment in record.segments)
        raise InputError(
            f"{lacking} objects have no outline, so masks cannot be trained: train boxes only with "
            "--model.masks False."
        )
    return bool(options.masks)


def _head(options: DetectorOptions, *, semantic: bool = False) -> HeadConfig:
    """The published head with the options' widths."""
    base = HEADS[options.head]
    if isinstance(base, AtssConfig):
        return replace(base, channels=options.channels, scale=options.anchor_scale)
    if isinstance(base, RepPointsV2Config):
        return replace(base, channels=options.channels)
    if isinstance(base, SparseConfig):
        return replace(base, proposals=options.proposals)
    if isinstance(base, HtcConfig):
        base = with_stuff_branch(base, options, semantic=semantic)
    assert isinstance(base, TwoStageConfig)
    assert base.mask is not None
    return replace(
        base,
        rpn=replace(base.rpn, channels=options.channels, scale=options.anchor_scale),
        box=replace(base.box, conv_channels=options.channels, fc_channels=options.fc_channels),
        mask=replace(base.mask, channels=options.channels),
        samples=options.samples,
    )
