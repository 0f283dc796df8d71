"""Region proposals (Ren et al., 2015): objects or not, and where, at every point of every level.

Legend: B pictures, A anchors a point, C channels, H W rows and columns of a level, N anchors of all levels, P
proposals.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swinkit.detection.anchors import anchor_grid, anchor_shapes, flatten_levels, trainable_anchors
from swinkit.detection.assigners import IouAssigner
from swinkit.detection.coders import DeltaCoder
from swinkit.detection.config import RpnConfig
from swinkit.detection.losses import delta_loss
from swinkit.detection.samplers import sample_boxes
from swinkit.detection.structures import Sizes, Targets
from swinkit.ops.boxes import nms
from swinkit.ops.windows import Pair

Outputs = tuple[list[Tensor], list[Tensor]]
"""Logits (B, A, H, W) and deltas (B, 4 A, H, W) of each level."""


class RegionProposals(nn.Module):
    """The proposal network with its training targets.

    Args:
        in_channels: of the pyramid's levels.
        strides: pixels between two points of each level.
        config: the rest.
    """

    def __init__(self, in_channels: int, strides: list[int], config: RpnConfig) -> None:
        super().__init__()
        self.config = config
        self.strides = strides
        count = len(config.ratios)
        self.conv = nn.Conv2d(in_channels, config.channels, 3, padding=1)
        self.scores = nn.Conv2d(config.channels, count, 1)
        self.deltas = nn.Conv2d(config.channels, 4 * count, 1)
        for layer in (self.conv, self.scores, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.coder = DeltaCoder()
        self.assigner = IouAssigner(
            positive=config.positive_iou,
            negative=config.negative_iou,
            least=config.negative_iou,
            match_low_quality=True,
        )

    def forward(self, levels: list[Tensor]) -> Outputs:
        """Map the pyramid's levels (B, C, H, W) to logits (B, A, H, W) and deltas (B, 4 A, H, W)."""
        hidden = [F.relu(self.conv(level)) for level in levels]
        return [self.scores(x).float() for x in hidden], [self.deltas(x).float() for x in hidden]

    def anchors(self, sizes: Sizes, device: torch.device) -> list[Tensor]:
        """Return each level's anchors (H * W * A, 4) for maps of these (rows, columns)."""
        shapes = [anchor_shapes(stride, self.config.scale, self.config.ratios) for stride in self.strides]
        return [
            anchor_grid(shape.to(device), size, stride)
            for shape, size, stride in zip(shapes, sizes, self.strides, strict=True)
        ]

    def losses(self, outputs: Outputs, sizes: Sizes, targets: list[Targets]) -> dict[str, Tensor]:
        """Return the losses "rpn_scores" and "rpn_boxes", each one number a level (L,).

        Args:
            outputs: of `forward`.
            sizes: true (height, width) of each picture.
            targets: its objects.
        """
        map_sizes: list[Pair] = [(x.shape[2], x.shape[3]) for x in outputs[0]]
        logits_BN, deltas_BN4 = flatten_levels(outputs[0], 1).squeeze(-1), flatten_levels(outputs[1], 4)
        levels = self.anchors(map_sizes, logits_BN.device)
        anchors_N4 = torch.cat(levels)
        level_N = torch.cat([torch.full((len(x),), i, device=x.device) for i, x in enumerate(levels)])
        score_loss, box_loss = logits_BN.new_zeros(len(levels)), logits_BN.new_zeros(len(levels))
        total = 0
        for logits_N, deltas_N4, size, target in zip(logits_BN, deltas_BN4, sizes, targets, strict=True):
            usable = trainable_anchors(levels, map_sizes, self.strides, size, self.config.border)
            usable = torch.nonzero(usable).flatten()
            assigned = self.assigner(anchors_N4[usable], target.boxes)
            positive, negative = sample_boxes(assigned, self.config.samples, self.config.positive_fraction)
            objects, positive = assigned[positive], usable[positive]
            chosen = torch.cat([positive, usable[negative]])
            is_object = torch.zeros(len(chosen), device=chosen.device)
            is_object[: len(positive)] = 1
            losses = F.binary_cross_entropy_with_logits(logits_N[chosen], is_object, reduction="none")
            score_loss = score_loss.index_add(0, level_N[chosen], losses)
            wanted = self.coder.encode(anchors_N4[positive], target.boxes[objects])
            losses = delta_loss(deltas_N4[positive], wanted, self.config.smooth_beta)
            box_loss = box_loss.index_add(0, level_N[positive], losses)
            total += max(len(positive), 1) + max(len(negative), 1)
        return {"rpn_scores": score_loss / total, "rpn_boxes": box_loss / total}

    @torch.no_grad()
    def proposals(
        self, outputs: Outputs, sizes: Sizes, *, before_nms: int, count: int, iou: float
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the best boxes (P, 4) of each picture and their scores (P,), best first.

        Args:
            outputs: of `forward`.
            sizes: true (height, width) of each picture, which clips the boxes.
            before_nms: boxes of a level that enter suppression.
            count: boxes of a picture that leave it, at most.
            iou: overlap from which a worse box of the same level goes.
        """
        map_sizes: list[Pair] = [(x.shape[2], x.shape[3]) for x in outputs[0]]
        anchors = self.anchors(map_sizes, outputs[0][0].device)
        found = []
        for picture, size in enumerate(sizes):
            boxes, scores, groups = [], [], []
            for level, level_anchors in enumerate(anchors):
                logits = flatten_levels([outputs[0][level][picture : picture + 1]], 1)[0, :, 0]
                deltas = flatten_levels([outputs[1][level][picture : picture + 1]], 4)[0]
                best, index = logits.sigmoid().topk(min(before_nms, len(logits)))
                boxes.append(self.coder.decode(level_anchors[index], deltas[index], size))
                scores.append(best)
                groups.append(torch.full_like(index, level))
            boxes_P4, scores_P, groups_P = torch.cat(boxes), torch.cat(scores), torch.cat(groups)
            sides = boxes_P4[:, 2:] - boxes_P4[:, :2]
            real = torch.nonzero((sides > 0).all(dim=1)).flatten()
            keep = real[nms(boxes_P4[real], scores_P[real], groups_P[real], iou)[:count]]
            found.append((boxes_P4[keep], scores_P[keep]))
        return found
