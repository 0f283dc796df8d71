"""One stage of a two-stage detector: its samples, heads, losses and refined boxes.

Legend: R regions of a batch, S samples of a picture, K classes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swinkit.detection.assigners import IouAssigner
from swinkit.detection.coders import DeltaCoder
from swinkit.detection.config import StageConfig, TwoStageConfig
from swinkit.detection.losses import delta_loss, giou_loss
from swinkit.detection.roi_heads import BoxHead, MaskHead
from swinkit.detection.samplers import sample_boxes
from swinkit.detection.structures import Targets
from swinkit.ops.masks import crop_masks
from swinkit.ops.windows import Pair


@dataclass
class Samples:
    """The regions of one picture that a stage is trained on; those with objects come first.

    Attributes:
        boxes: (S, 4).
        labels: (S,) class numbers; K for background.
        objects: (P,) index of the object of each of the first P.
        given: (S,) whether the region is an object's own box.
    """

    boxes: Tensor
    labels: Tensor
    objects: Tensor
    given: Tensor


class RegionStage(nn.Module):
    """Box head, mask head, and what they are trained for.

    Args:
        in_channels: of the pyramid.
        num_classes: K.
        config: of all stages.
        stage: of this one.
        relay: whether the mask head takes in the features of the stage before.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        config: TwoStageConfig,
        stage: StageConfig,
        *,
        relay: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.config = config
        self.loss_weight = stage.loss_weight
        self.box = BoxHead(in_channels, num_classes, config.box)
        self.mask = None
        if config.mask is not None:
            self.mask = MaskHead(in_channels, num_classes, config.mask, relay=relay)
        self.coder = DeltaCoder(stage.deviations)
        self.assigner = IouAssigner(
            positive=stage.iou,
            negative=stage.iou,
            least=stage.iou,
            match_low_quality=config.match_low_quality,
        )

    @torch.no_grad()
    def sample(self, proposals_P4: Tensor, target: Targets) -> Samples:
        """Choose the regions to train on, among the proposals and the objects' own boxes."""
        assigned = self.assigner(proposals_P4, target.boxes)
        own = torch.arange(len(target.boxes), device=assigned.device)
        assigned = torch.cat([own, assigned])
        boxes = torch.cat([target.boxes, proposals_P4])
        positive, negative = sample_boxes(assigned, self.config.samples, self.config.positive_fraction)
        chosen = torch.cat([positive, negative])
        objects = assigned[positive]
        labels = torch.full_like(chosen, self.num_classes)
        labels[: len(positive)] = target.labels[objects]
        return Samples(boxes[chosen], labels, objects, chosen < len(own))

    def box_losses(
        self, logits_RK: Tensor, deltas_RK4: Tensor, samples: list[Samples], targets: list[Targets]
    ) -> dict[str, Tensor]:
        """Return the losses "classes" and "boxes", with the stage's weight."""
        labels_R = torch.cat([item.labels for item in samples])
        count = max(len(labels_R), 1)
        classes = F.cross_entropy(logits_RK, labels_R, reduction="sum") / count
        positive = torch.nonzero(labels_R < self.num_classes).flatten()
        boxes = torch.cat([item.boxes for item in samples])[positive]
        wanted = torch.cat(
            [target.boxes[item.objects] for item, target in zip(samples, targets, strict=True)]
        )
        deltas = deltas_RK4[positive, labels_R[positive]]
        if self.config.box.loss == "giou":
            losses = giou_loss(self.coder.decode(boxes, deltas), wanted)
        else:
            losses = delta_loss(deltas, self.coder.encode(boxes, wanted), self.config.box.smooth_beta)
        weight = self.loss_weight * self.config.box.loss_weight
        return {"classes": self.loss_weight * classes, "boxes": weight * losses.sum() / count}

    def mask_loss(self, logits_PKMM: Tensor, samples: list[Samples], targets: list[Targets]) -> Tensor:
        """Return the binary cross entropy of the masks of regions with objects, of their own class only.

        Args:
            logits_PKMM: of the first P regions of every picture's samples.
            samples: the regions.
            targets: the pictures' objects, with masks.
        """
        if len(logits_PKMM) == 0:
            return logits_PKMM.sum() * 0
        size = logits_PKMM.shape[-1]
        wanted, labels = [], []
        for item, target in zip(samples, targets, strict=True):
            assert target.masks is not None
            count = len(item.objects)
            labels.append(item.labels[:count])
            if count:
                wanted.append(crop_masks(target.masks, item.boxes[:count], item.objects, size))
        index = torch.arange(len(logits_PKMM), device=logits_PKMM.device)
        chosen = logits_PKMM[index, torch.cat(labels)]
        return self.loss_weight * F.binary_cross_entropy_with_logits(chosen, torch.cat(wanted))

    @torch.no_grad()
    def refine(self, boxes_S4: Tensor, labels_S: Tensor, deltas_SK4: Tensor, size: Pair) -> Tensor:
        """Return where a picture's regions move for their classes `labels_S`, clipped to `size`."""
        index = torch.arange(len(boxes_S4), device=boxes_S4.device)
        return self.coder.decode(boxes_S4, deltas_SK4[index, labels_S], size)
