"""Semantic segmentation as a Lightning module."""

import math
from dataclasses import replace

from torch import Tensor
from torchmetrics import MeanMetric

from swinkit.evaluate.segmentation import ConfusionCounts, scores_of
from swinkit.segmentation.config import IGNORE
from swinkit.segmentation.inference import (
    mask_by_tiles,
    mask_of_scores,
    needs_tiles,
    resize_mask,
    scores_of_image,
)
from swinkit.segmentation.losses import SegmentationLoss
from swinkit.segmentation.segmenter import Segmenter
from swinkit.train.segmentation_config import SegmentConfig
from swinkit.train.task_module import TaskModule


class SegmentationModule(TaskModule):
    """Losses of both heads; validation by mean IoU over whole pictures at their own size.

    Args:
        model: the segmenter.
        config: the job.
        loss: over the logits of both heads.
        steps_per_epoch: optimiser steps of an epoch.
    """

    scores = {"miou": "mIoU", "macc": "mAcc", "aacc": "aAcc"}  # noqa: RUF012 (never changed)

    def __init__(
        self, model: Segmenter, config: SegmentConfig, loss: SegmentationLoss, *, steps_per_epoch: int
    ) -> None:
        super().__init__(model, config, steps_per_epoch=steps_per_epoch)
        self.criterion = loss
        # Scales and mirrors would multiply the time of every validation; `swinkit eval` has them.
        self.inference = replace(model.config.inference, scales=(1.0,), flip=False)
        self.val_loss = MeanMetric()
        self.confusion = ConfusionCounts(model.config.num_classes)

    @property
    def segmenter(self) -> Segmenter:
        """The model, as what it is."""
        assert isinstance(self.model, Segmenter)
        return self.model

    def compile_model(self) -> None:
        """Compile the parts that both training and inference run."""
        for part in (self.segmenter.backbone, self.segmenter.decode_head, self.segmenter.auxiliary_head):
            if part is not None:
                part.compile()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of pictures (B, C, H, W) and masks (B, H, W)."""
        images, masks = batch
        self.seed_dropout(batch_idx)
        return self.keep_loss(self.criterion(self.segmenter.forward_heads(images), masks))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count the pixels of one picture (1, C, h, w) with its mask (1, H, W)."""
        images, masks = batch
        height, width = masks.shape[1:]
        if needs_tiles(images.shape[2], images.shape[3], self.inference):
            found = mask_by_tiles(
                self.segmenter,
                lambda rows, columns: images[:, :, rows, columns],
                (images.shape[2], images.shape[3]),
                self.inference,
            ).to(masks)
            self.confusion.update(resize_mask(found, (height, width)), masks[0])
            return
        scores = scores_of_image(self.segmenter, images, (height, width), self.inference)
        counts = (masks != IGNORE).any()  # pictures that only fill up a process's share have no label
        self.val_loss.update(self.criterion.of_head(scores[None], masks), weight=counts.float())
        self.confusion.update(mask_of_scores(scores, (height, width)), masks[0])

    def on_validation_epoch_end(self) -> None:
        """Add the counts of all processes, exactly, and score them."""
        found = scores_of(self.confusion.compute())
        scores = {"miou": found.miou, "macc": found.macc, "aacc": found.aacc}
        loss = float(self.val_loss.compute()) if self.val_loss.update_called else math.nan  # all were tiles
        self.finish_validation({"loss": loss, **scores})
        self.confusion.reset()
        self.val_loss.reset()
