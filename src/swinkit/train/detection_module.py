"""Object detection as a Lightning module."""

import math
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from swinkit.data.object_transforms import PictureInfo
from swinkit.data.objects import ObjectDataset
from swinkit.detection.detector import Detector
from swinkit.detection.structures import Targets
from swinkit.evaluate.detection import score, to_coco, without_unseen
from swinkit.train.detection_config import DetectConfig
from swinkit.train.task_module import TaskModule

Batch = tuple[Tensor, list[Targets], list[PictureInfo]]


class DetectionModule(TaskModule):
    """The sum of a detector's losses; validation by COCO's average precision over whole pictures.

    Args:
        model: the detector.
        config: the job.
        val: the validation pictures; None for none.
        steps_per_epoch: optimiser steps of an epoch.
    """

    def __init__(
        self,
        model: Detector,
        config: DetectConfig,
        val: ObjectDataset | None,
        *,
        steps_per_epoch: int,
    ) -> None:
        super().__init__(model, config, steps_per_epoch=steps_per_epoch)
        masks = model.has_masks and (val is None or val.has_masks)
        boxes = {"box_ap": "box AP", "box_ap50": "box AP50"}
        self.scores = ({"mask_ap": "mask AP", "mask_ap50": "mask AP50"} if masks else {}) | boxes
        self.val = val
        self.max_detections = (1, 10, max(100, model.config.select.most))
        self.rows: list[dict[str, Any]] = []
        self.seen: list[int] = []

    @property
    def detector(self) -> Detector:
        """The model, as what it is."""
        assert isinstance(self.model, Detector)
        return self.model

    def compile_model(self) -> None:
        """Compile the parts whose shapes depend on nothing but the pictures'."""
        self.detector.backbone.compile()
        self.detector.neck.compile()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of pictures (B, C, H, W) with their objects."""
        images, targets, info = batch
        self.seed_dropout(batch_idx)  # the samplers of boxes draw from the same generator
        losses = self.detector.losses(images, [item.size for item in info], targets)
        return self.keep_loss(torch.stack([value.sum() for value in losses.values()]).sum())

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep what is found in some pictures."""
        assert self.val is not None
        images, _, info = batch
        results = self.detector(images, [item.size for item in info])
        for found, item in zip(results, info, strict=True):
            if item.number < 0:
                continue
            self.seen.append(item.number)
            across, down = item.original[1] / item.size[1], item.original[0] / item.size[0]
            factor = found.boxes.new_tensor([across, down, across, down])
            moved = found.moved(found.boxes * factor).in_order().cpu()
            select = self.detector.config.select
            self.rows += to_coco(moved, item.number, item.original, self.val.category_ids, select.mask)

    def on_validation_epoch_end(self) -> None:
        """Gather what all processes found, and score it."""
        assert self.val is not None
        rows, seen, self.rows, self.seen = self.rows, self.seen, [], []
        if self.trainer.world_size > 1:
            parts: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, (rows, seen))
            rows = [row for part, _ in parts for row in part]
            seen = [number for _, part in parts for number in part]
        report = score(
            *without_unseen(rows, self.val, seen),
            masks="mask_ap" in self.scores,
            max_detections=self.max_detections,
        )
        scores = {"box_ap": report.boxes.stats["AP"], "box_ap50": report.boxes.stats["AP50"]}
        if "mask_ap" in self.scores:
            found = report.masks.stats if report.masks is not None else {}
            scores = {"mask_ap": found.get("AP", 0.0), "mask_ap50": found.get("AP50", 0.0), **scores}
        # Of pictures without any object there is no average precision; some model has to be the best anyway.
        self.finish_validation({name: 0.0 if math.isnan(value) else value for name, value in scores.items()})
