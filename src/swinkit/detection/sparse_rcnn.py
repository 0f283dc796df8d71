"""Sparse R-CNN (Sun et al., 2021): learnt proposals, refined stage by stage, and nothing to suppress.

Legend: B pictures, P proposals, K classes, C channels.
"""

from dataclasses import replace

import torch
import torchvision
from torch import Tensor, nn

from swinkit.backbones import Trunk
from swinkit.detection.coders import DeltaCoder
from swinkit.detection.config import DetectorConfig, SelectConfig
from swinkit.detection.detector import Detector
from swinkit.detection.dynamic_head import DynamicHead
from swinkit.detection.extractor import RegionExtractor, to_regions
from swinkit.detection.losses import delta_loss, giou_loss
from swinkit.detection.matching import ALPHA, GAMMA, SetMatcher
from swinkit.detection.processes import mean_over_processes
from swinkit.detection.select import select_detections
from swinkit.detection.sparse_config import SparseConfig
from swinkit.detection.structures import Detections, Sizes, Targets
from swinkit.errors import InputError
from swinkit.ops.boxes import centred_to_corners
from swinkit.spec import ModelSpec


class LearntProposals(nn.Module):
    """Boxes, in shares of the picture, and features that every picture starts from.

    Args:
        count: P.
        channels: C.
    """

    def __init__(self, count: int, channels: int) -> None:
        super().__init__()
        # All begin as the whole picture: centre x, centre y, width, height.
        self.boxes = nn.Parameter(torch.tensor([0.5, 0.5, 1.0, 1.0]).repeat(count, 1))
        self.features = nn.Parameter(torch.empty(count, channels).normal_())

    def forward(self, sizes: Sizes) -> tuple[Tensor, Tensor]:
        """Return the boxes (B, P, 4) in pixels of pictures of these (height, width), and the features
        (B, P, C)."""
        whole_B4 = self.boxes.new_tensor([[width, height, width, height] for height, width in sizes])
        boxes = centred_to_corners(self.boxes) * whole_B4[:, None]
        return boxes, self.features.expand(len(sizes), -1, -1)


class SparseRcnn(Detector):
    """Sparse R-CNN on any backbone.

    Arguments and attributes are those of `Detector`; the head is a `SparseConfig`.
    """

    def __init__(self, backbone: Trunk, config: DetectorConfig, *, spec: ModelSpec | None = None) -> None:
        super().__init__(backbone, config, spec=spec)
        head, width = config.head, config.neck.channels
        assert isinstance(head, SparseConfig)
        if width % head.heads:
            raise InputError(f"{width} channels do not divide into {head.heads} attention heads.")
        self.head_config = head
        self.proposals = LearntProposals(head.proposals, width)
        self.extractor = RegionExtractor(head.pool, self.strides[: self.read_levels], samples=head.samples)
        self.roi = nn.ModuleList(DynamicHead(width, config.num_classes, head) for _ in range(head.stages))
        self.coder = DeltaCoder(head.deviations)
        self.matcher = SetMatcher(
            class_weight=head.class_weight, box_weight=head.box_weight, giou_weight=head.giou_weight
        )

    def stages(self, levels: list[Tensor], sizes: Sizes) -> list[tuple[Tensor, Tensor]]:
        """Return what every stage says: class logits (B, P, K) and boxes (B, P, 4) in pixels, which may reach
        out of the picture."""
        boxes, features = self.proposals(sizes)
        said = []
        for head in self.roi:
            regions = self.extractor(levels, to_regions(list(boxes.detach())))
            logits, deltas, features = head(features, regions)
            boxes = self.coder.decode(boxes, deltas)
            said.append((logits, boxes))
            boxes = boxes.detach()
        return said

    def candidates(
        self, levels: list[Tensor], sizes: Sizes, select: SelectConfig
    ) -> list[tuple[Tensor, Tensor]]:
        """Return each picture's boxes (P, K, 4), the same for all classes, and probabilities (P, K).

        `select` chooses nothing yet.
        """
        logits, boxes = self.stages(levels, sizes)[-1]
        boxes_BPK4 = boxes[:, :, None].expand(*logits.shape, 4)
        return list(zip(boxes_BPK4, logits.sigmoid(), strict=True))

    def choose(self, boxes_RK4: Tensor, scores_RK: Tensor, select: SelectConfig) -> Detections:
        """Choose the detections among the candidates of one picture; "auto" suppresses nothing, unless the
        candidates of several views are here together, which all find the same objects."""
        if select.nms == "auto" and len(boxes_RK4) <= self.head_config.proposals:
            select = replace(select, nms="none")
        return select_detections(boxes_RK4, scores_RK, select)

    def losses(self, images_BCHW: Tensor, sizes: Sizes, targets: list[Targets]) -> dict[str, Tensor]:
        """Return the training losses: "stageN_classes", "_boxes" and "_giou" of each stage. Their sum is what
        is minimised.

        Args:
            images_BCHW: pictures, normalised, padded with zeros at the bottom and right.
            sizes: true (height, width) of each.
            targets: the objects of each.
        """
        self.check_batch(images_BCHW, targets)
        losses = {}
        for number, (logits, boxes) in enumerate(self.stages(self.features(images_BCHW), sizes)):
            found = self._stage_losses(logits, boxes, sizes, targets)
            losses |= {f"stage{number}_{name}": value for name, value in found.items()}
        return losses

    def _stage_losses(
        self, logits_BPK: Tensor, boxes_BP4: Tensor, sizes: Sizes, targets: list[Targets]
    ) -> dict[str, Tensor]:
        """Focal loss of all proposals; L1, in shares of the picture, and GIoU of those with an object. All
        are divided by the matched objects of a process, on average, as published."""
        class_sum = box_sum = giou_sum = logits_BPK.sum() * 0 + boxes_BP4.sum() * 0
        count = 0
        for logits, boxes, size, target in zip(logits_BPK, boxes_BP4, sizes, targets, strict=True):
            assigned = self.matcher(logits, boxes, target.boxes, target.labels, size)
            positive = torch.nonzero(assigned >= 0).flatten()
            objects = assigned[positive]
            is_class = torch.zeros_like(logits)
            is_class[positive, target.labels[objects]] = 1
            class_sum = class_sum + torchvision.ops.sigmoid_focal_loss(
                logits, is_class, alpha=ALPHA, gamma=GAMMA, reduction="sum"
            )
            own, wanted = boxes[positive], target.boxes[objects]
            whole = boxes.new_tensor([size[1], size[0], size[1], size[0]])
            box_sum = box_sum + delta_loss(own / whole, wanted / whole).sum()
            giou_sum = giou_sum + giou_loss(own, wanted).sum()
            count += len(positive)
        head, total = self.head_config, mean_over_processes(count, class_sum).clamp(min=1)
        return {
            "classes": head.class_weight * class_sum / total,
            "boxes": head.box_weight * box_sum / total,
            "giou": head.giou_weight * giou_sum / total,
        }
