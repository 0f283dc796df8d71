"""Losses over masks. Legend: B pictures, K classes, H W rows and columns of the mask."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swinkit.errors import InputError
from swinkit.segmentation.config import IGNORE, LossConfig, MeanOver
from swinkit.segmentation.heads import resize
from swinkit.segmentation.segmenter import HeadLogits


class SegmentationLoss(nn.Module):
    """The losses of both heads, each at the size of the mask.

    Args:
        config: which, and how they are weighed.
        num_classes: K.
        pixels: training pixels of each class, needed for `class_weights` "counted".
    """

    class_weights: Tensor | None

    def __init__(self, config: LossConfig, num_classes: int, pixels: Sequence[int] | None = None) -> None:
        super().__init__()
        self.config = config
        weights = _weights(config, num_classes, pixels)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: HeadLogits, target_BHW: Tensor) -> Tensor:
        """Return the loss of a batch. `target_BHW`: integer class of each pixel, `IGNORE` for none."""
        loss = self.of_head(logits.decode, target_BHW)
        if logits.auxiliary is not None and self.config.auxiliary:
            loss = loss + self.config.auxiliary * self.of_head(logits.auxiliary, target_BHW)
        return loss

    def of_head(self, logits_BKhw: Tensor, target_BHW: Tensor) -> Tensor:
        """Return one head's loss, the logits resized to the mask first."""
        logits_BKHW = resize(logits_BKhw.float(), target_BHW.shape[1:])
        target_BHW = target_BHW.long()
        config, loss = self.config, logits_BKHW.new_zeros(())
        if config.cross_entropy:
            loss = loss + config.cross_entropy * cross_entropy(
                logits_BKHW, target_BHW, self.class_weights, mean_over=config.mean_over
            )
        if config.dice:
            loss = loss + config.dice * dice(logits_BKHW, target_BHW)
        return loss


def cross_entropy(
    logits_BKHW: Tensor,
    target_BHW: Tensor,
    weights_K: Tensor | None = None,
    *,
    mean_over: MeanOver = "labelled",
) -> Tensor:
    """Return the mean cross-entropy; a batch without a labelled pixel gives 0.

    Args:
        logits_BKHW: at the mask's size.
        target_BHW: classes (int64), `IGNORE` for none.
        weights_K: of the classes; the mean over labelled pixels is then the weighted mean.
        mean_over: "all" divides by every pixel of the batch, ignored ones included.
    """
    total = F.cross_entropy(logits_BKHW, target_BHW, weights_K, ignore_index=IGNORE, reduction="sum")
    if mean_over == "all":
        return total / target_BHW.numel()
    labelled = target_BHW[target_BHW != IGNORE]
    count = weights_K[labelled].sum() if weights_K is not None else labelled.numel()
    return total / max(count, 1e-6) if isinstance(count, int) else total / count.clamp(min=1e-6)


def dice(logits_BKHW: Tensor, target_BHW: Tensor) -> Tensor:
    """Return 1 minus the mean Dice overlap of the classes that the batch's masks have.

    Overlap of a class: 2 sum(p t) / (sum(p) + sum(t)) over all labelled pixels of the batch, with p the
    softmax and t the mask.
    """
    labelled_BHW = target_BHW != IGNORE
    classes = logits_BKHW.shape[1]
    p_PK = logits_BKHW.softmax(dim=1).permute(0, 2, 3, 1)[labelled_BHW]
    target_P = target_BHW[labelled_BHW]
    counts_K = torch.zeros(classes, device=p_PK.device).index_add_(
        0, target_P, torch.ones_like(target_P, dtype=torch.float32)
    )
    hits_P = p_PK.gather(1, target_P[:, None]).squeeze(1)
    hits_K = torch.zeros(classes, device=p_PK.device).index_add(0, target_P, hits_P)
    present_K = counts_K > 0
    overlap_K = 2 * hits_K / (p_PK.sum(dim=0) + counts_K).clamp(min=1e-6)
    return 1 - overlap_K[present_K].mean() if bool(present_K.any()) else logits_BKHW.sum() * 0


def counted_weights(pixels: Sequence[int], power: float = 1.0) -> Tensor:
    """Return ln(1.02 + share)^-power of each class's share of the pixels, with a mean of 1 over the pixels.

    With power 1 the rarest class gets at most 35 times the weight of one that fills the pictures; a class
    without pixels gets the weight of a rare one.

    Raises:
        InputError: there is no pixel at all.
    """
    counts_K = torch.tensor(pixels, dtype=torch.float64)
    if counts_K.sum() <= 0:
        raise InputError("class weights cannot be counted: no pixel of the training masks has a class.")
    shares_K = counts_K / counts_K.sum()
    weights_K = torch.log(1.02 + shares_K) ** -power
    return (weights_K / (weights_K * shares_K).sum()).float()


def _weights(config: LossConfig, num_classes: int, pixels: Sequence[int] | None) -> Tensor | None:
    if config.class_weights == "none":
        return None
    if config.class_weights == "counted":
        assert pixels is not None, "counted class weights need the pixels of each class"
        return counted_weights(pixels, config.counted_power)
    weights = torch.tensor(config.class_weights, dtype=torch.float32)
    if len(weights) != num_classes:
        raise InputError(f"{len(weights)} class weights for {num_classes} classes: give one each.")
    return weights
