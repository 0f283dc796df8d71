"""RepPoints v2: a detector whose boxes are sets of points (Chen et al., 2020), as published with Swin.

Legend: B pictures, C channels, H W rows and columns of a level, L levels, K classes, N points of all levels,
R points that are chosen, P points with an object, M objects.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from swinkit.backbones import Trunk
from swinkit.detection.anchors import flatten_levels, trainable_anchors
from swinkit.detection.atss_assigner import AtssAssigner
from swinkit.detection.config import DetectorConfig, SelectConfig
from swinkit.detection.config_dense import RepPointsV2Config
from swinkit.detection.corners import corner_radius, corner_targets, verify_corners
from swinkit.detection.dense_losses import gaussian_focal_loss, giou_loss_of_pixels, quality_focal_loss
from swinkit.detection.detector import Detector
from swinkit.detection.foreground import foreground_loss
from swinkit.detection.points import PointAssigner, box_of_points, point_grid
from swinkit.detection.reppoints_head import Outputs, RepPointsV2Head
from swinkit.detection.structures import Sizes, Targets
from swinkit.ops.boxes import clip_boxes, paired_iou
from swinkit.ops.windows import Pair
from swinkit.spec import ModelSpec

VERIFIED_ON = (None, 0, 0, 1, 1)
"""Level -> the finer level whose corner maps move its boxes' corners; None: none does. Coarser: the last."""
OFFSET_BETA = 1 / 9
"""Where the smooth L1 loss of corner offsets turns linear."""


@dataclass
class _Flat:
    """The outputs of a batch with all levels joined, and where their points are.

    Attributes:
        points: (N_i, 2) of each level, in pixels.
        level: (N,) number of each point's level.
        stride: (N,) of each point's level.
        scores: (B, N, K).
        first: boxes (B, N, 4) of the first points, in pixels.
        refined: boxes (B, N, 4) of the refined points, in pixels.
        heat: (B, N, 2).
        offsets: (B, N, 4).
    """

    points: list[Tensor]
    level: Tensor
    stride: Tensor
    scores: Tensor
    first: Tensor
    refined: Tensor
    heat: Tensor
    offsets: Tensor


class RepPointsV2Detector(Detector):
    """The detector; arguments and attributes are those of `Detector`."""

    def __init__(self, backbone: Trunk, config: DetectorConfig, *, spec: ModelSpec | None = None) -> None:
        super().__init__(backbone, config, spec=spec)
        head = config.head
        assert isinstance(head, RepPointsV2Config)
        self.head_config = head
        self.dense = RepPointsV2Head(config.neck.channels, config.num_classes, head)
        self.first_assigner = PointAssigner(head.scale)
        self.assigner = AtssAssigner(head.candidates, fill=True)

    def points(self, sizes: Sizes, device: torch.device) -> list[Tensor]:
        """Return each level's points (H * W, 2), in pixels, for maps of these (rows, columns)."""
        return [point_grid(size, stride, device) for size, stride in zip(sizes, self.strides, strict=True)]

    @torch.no_grad()
    def candidates(
        self, levels: list[Tensor], sizes: Sizes, select: SelectConfig
    ) -> list[tuple[Tensor, Tensor]]:
        """Return each picture's boxes (R, K, 4), all alike, and scores (R, K)."""
        outputs = self.dense(levels)
        points = self.points(_sizes(outputs), levels[0].device)
        found = []
        for picture, size in enumerate(sizes):
            boxes, scores = [], []
            for level, (points_N2, stride) in enumerate(zip(points, self.strides, strict=True)):
                scores_NK = outputs.scores[level][picture].flatten(1).t().sigmoid()
                _, index = scores_NK.amax(dim=1).topk(min(select.before_nms, len(scores_NK)))
                moves = box_of_points(outputs.refined[level][picture].flatten(1).t()[index]) * stride
                own = clip_boxes(moves + points_N2[index].repeat(1, 2), size)
                boxes.append(self._verified(own, outputs, picture, level, size))
                scores.append(scores_NK[index])
            scores_RK = torch.cat(scores)
            found.append((torch.cat(boxes)[:, None].expand(-1, scores_RK.shape[1], -1), scores_RK))
        return found

    def _verified(self, boxes_R4: Tensor, outputs: Outputs, picture: int, level: int, size: Pair) -> Tensor:
        """The boxes of a level with their corners moved to where a finer level sees corners."""
        finer = VERIFIED_ON[min(level, len(VERIFIED_ON) - 1)]
        if finer is None:
            return boxes_R4
        heat, offsets = outputs.heat[finer][picture], outputs.offsets[finer][picture]
        stride = self.strides[finer]
        corners = [
            verify_corners(boxes_R4[:, :2], heat[0], offsets[:2], stride),
            verify_corners(boxes_R4[:, 2:], heat[1], offsets[2:], stride),
        ]
        return clip_boxes(torch.cat(corners, dim=1), size)

    def losses(self, images_BCHW: Tensor, sizes: Sizes, targets: list[Targets]) -> dict[str, Tensor]:
        """Return the losses "classes", "first_boxes", "refined_boxes", "heat" and "offsets", each one number
        a level (L,), and "foreground"."""
        self.check_batch(images_BCHW, targets)
        outputs = self.dense(self.features(images_BCHW))
        flat = self._flat(outputs)
        parts = [
            self._parts(
                flat,
                picture,
                trainable_anchors(flat.points, _sizes(outputs), self.strides, size, None),
                target,
            )
            for picture, (size, target) in enumerate(zip(sizes, targets, strict=True))
        ]
        mean = {
            name: torch.stack([part[name][0] for part in parts]).sum(dim=0)
            / sum(part[name][1] for part in parts)
            for name in parts[0]
        }
        head = self.head_config
        return {
            "classes": mean["classes"],
            "first_boxes": head.first_weight * mean["first_boxes"],
            "refined_boxes": head.refined_weight * mean["refined_boxes"],
            "heat": head.heat_weight * (mean["heat_0"] + mean["heat_1"]) / 2,
            "offsets": head.offset_weight * (mean["offsets_0"] + mean["offsets_1"]) / 2,
            "foreground": head.foreground_weight
            * foreground_loss(outputs.foreground, targets, self.strides[0]),
        }

    def _flat(self, outputs: Outputs) -> _Flat:
        points = self.points(_sizes(outputs), outputs.scores[0].device)
        level_N = torch.cat([torch.full((len(x),), i, device=x.device) for i, x in enumerate(points)])
        stride_N = torch.tensor(self.strides, dtype=torch.float32, device=level_N.device)[level_N]
        places = torch.cat(points).repeat(1, 2)

        def boxes(kind: list[Tensor]) -> Tensor:
            return box_of_points(flatten_levels(kind, kind[0].shape[1])) * stride_N[:, None] + places

        return _Flat(
            points=points,
            level=level_N,
            stride=stride_N,
            scores=flatten_levels(outputs.scores, self.config.num_classes),
            first=boxes(outputs.first),
            refined=boxes(outputs.refined),
            heat=flatten_levels(outputs.heat, 2),
            offsets=flatten_levels(outputs.offsets, 4),
        )

    def _parts(
        self, flat: _Flat, picture: int, usable_N: Tensor, target: Targets
    ) -> dict[str, tuple[Tensor, int]]:
        """The losses of one picture: name -> sums of each level (L,) and what they are later divided by."""
        index, objects = torch.nonzero(usable_N).flatten(), target.boxes
        points = [
            x[own] for x, own in zip(flat.points, usable_N.split([len(x) for x in flat.points]), strict=True)
        ]
        unit_N1 = self.head_config.scale * flat.stride[:, None]

        def summed(losses: Tensor, at: Tensor) -> Tensor:
            return losses.new_zeros(len(points)).index_add(0, flat.level[at], losses)

        def box_part(boxes_N4: Tensor, positive: Tensor, owner: Tensor) -> tuple[Tensor, int]:
            unit = unit_N1[positive]
            losses = giou_loss_of_pixels(boxes_N4[positive] / unit, objects[owner] / unit)
            return summed(losses, positive), max(len(positive), 1)

        assigned = self.first_assigner(points, self.strides, objects)
        parts = {"first_boxes": box_part(flat.first[picture], index[assigned >= 0], assigned[assigned >= 0])}
        assigned = self.assigner(flat.first[picture, index].detach(), [len(x) for x in points], objects)
        positive, owner = index[assigned >= 0], assigned[assigned >= 0]
        parts["refined_boxes"] = box_part(flat.refined[picture], positive, owner)
        quality_NK = torch.zeros_like(flat.scores[picture])
        quality_NK[positive, target.labels[owner]] = paired_iou(
            flat.refined[picture, positive].detach(), objects[owner]
        )
        losses = quality_focal_loss(flat.scores[picture, index], quality_NK[index]).sum(dim=1)
        parts["classes"] = summed(losses, index), max(len(positive), 1)
        radius_M = corner_radius(objects, self.head_config.corner_iou)
        for corner in (0, 1):
            xy = slice(2 * corner, 2 * corner + 2)
            heat, moves = corner_targets(points, self.strides, objects[:, xy], radius_M)
            losses = gaussian_focal_loss(flat.heat[picture, index, corner], heat)
            hot = torch.nonzero(heat == 1).flatten()
            parts[f"heat_{corner}"] = summed(losses, index), max(len(hot), 1)
            said = flat.offsets[picture, index[hot], xy]
            losses = F.smooth_l1_loss(said, moves[hot], reduction="none", beta=OFFSET_BETA).sum(dim=1)
            parts[f"offsets_{corner}"] = summed(losses, index[hot]), max(len(hot), 1)
        return parts


def _sizes(outputs: Outputs) -> list[Pair]:
    return [(x.shape[2], x.shape[3]) for x in outputs.scores]
