"""ATSS: classes, boxes and centerness at every point, one anchor each (Zhang et al., 2020).

Legend: B pictures, C channels, H W rows and columns of a level, L levels, K classes, N anchors of all levels,
R anchors that are chosen, P anchors with an object.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from swinkit.backbones import Trunk
from swinkit.detection.anchors import anchor_grid, anchor_shapes, flatten_levels, trainable_anchors
from swinkit.detection.atss_assigner import AtssAssigner
from swinkit.detection.coders import DeltaCoder
from swinkit.detection.config import DetectorConfig, SelectConfig
from swinkit.detection.config_dense import AtssConfig
from swinkit.detection.dense import choose_scored, output_conv, tower
from swinkit.detection.detector import Detector
from swinkit.detection.losses import giou_loss
from swinkit.detection.processes import mean_over_processes
from swinkit.detection.structures import Detections, Sizes, Targets
from swinkit.ops.windows import Pair
from swinkit.spec import ModelSpec

ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss (Lin et al., 2017)."""


class Outputs(NamedTuple):
    """What the head says of each level.

    Attributes:
        scores: logits (B, K, H, W) of the classes.
        deltas: (B, 4, H, W) from the anchors.
        centerness: logits (B, 1, H, W) of how central the point is in its object.
    """

    scores: list[Tensor]
    deltas: list[Tensor]
    centerness: list[Tensor]


class AtssHead(nn.Module):
    """Two towers of convolutions, the same for all levels, and three outputs.

    Args:
        in_channels: of the pyramid.
        num_classes: K.
        levels: of the pyramid; each has a factor of its own for the deltas.
        config: the rest.
    """

    def __init__(self, in_channels: int, num_classes: int, levels: int, config: AtssConfig) -> None:
        super().__init__()
        self.class_convs = tower(in_channels, config.channels, config.convs, groups=config.groups)
        self.box_convs = tower(in_channels, config.channels, config.convs, groups=config.groups)
        width = config.channels if config.convs else in_channels
        self.scores = output_conv(width, num_classes, 3, rare=True)
        self.deltas = output_conv(width, 4, 3)
        self.centerness = output_conv(width, 1, 3)
        self.factors = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in range(levels))

    def forward(self, levels: list[Tensor]) -> Outputs:
        """Map the pyramid's levels (B, C, H, W) to the outputs."""
        outputs = Outputs([], [], [])
        for level, factor in zip(levels, self.factors, strict=True):
            outputs.scores.append(self.scores(self.class_convs(level)).float())
            hidden = self.box_convs(level)
            outputs.deltas.append((factor * self.deltas(hidden)).float())
            outputs.centerness.append(self.centerness(hidden).float())
        return outputs


class AtssDetector(Detector):
    """The detector; arguments and attributes are those of `Detector`."""

    def __init__(self, backbone: Trunk, config: DetectorConfig, *, spec: ModelSpec | None = None) -> None:
        super().__init__(backbone, config, spec=spec)
        head = config.head
        assert isinstance(head, AtssConfig)
        self.head_config = head
        self.dense = AtssHead(config.neck.channels, config.num_classes, len(self.strides), head)
        self.coder = DeltaCoder(head.deviations)
        self.assigner = AtssAssigner(head.candidates)

    def anchors(self, sizes: Sizes, device: torch.device) -> list[Tensor]:
        """Return each level's anchors (H * W, 4) for maps of these (rows, columns)."""
        return [
            anchor_grid(anchor_shapes(stride, self.head_config.scale, (1.0,)).to(device), size, stride)
            for size, stride in zip(sizes, self.strides, strict=True)
        ]

    @torch.no_grad()
    def candidates(
        self, levels: list[Tensor], sizes: Sizes, select: SelectConfig
    ) -> list[tuple[Tensor, Tensor]]:
        """Return each picture's boxes (R, K, 4) and scores (R, K): probability of the class times centerness.

        The least score is asked of the probability alone, and `select.before_nms` counts a point once for
        each of its classes; all that is not chosen has the score 0.
        """
        outputs = self.dense(levels)
        anchors = self.anchors(_sizes(outputs), levels[0].device)
        found = []
        for picture, size in enumerate(sizes):
            boxes, scores = [], []
            for level, level_anchors in enumerate(anchors):
                said = [
                    flatten_levels([x[level][picture : picture + 1]], x[level].shape[1])[0] for x in outputs
                ]
                chosen_NK = _best(said[0].sigmoid(), select) * said[2].sigmoid()
                rows = torch.nonzero((chosen_NK > 0).any(dim=1)).flatten()
                boxes.append(self.coder.decode(level_anchors[rows], said[1][rows], size))
                scores.append(chosen_NK[rows])
            boxes_R4, scores_RK = torch.cat(boxes), torch.cat(scores)
            real = (boxes_R4[:, 2:] > boxes_R4[:, :2]).all(dim=1)
            scores_RK = torch.where(real[:, None], scores_RK, 0.0)
            found.append((boxes_R4[:, None].expand(-1, scores_RK.shape[1], -1), scores_RK))
        return found

    def choose(self, boxes_RK4: Tensor, scores_RK: Tensor, select: SelectConfig) -> Detections:
        """Choose among the candidates, which passed the least score already."""
        return choose_scored(boxes_RK4, scores_RK, select)

    def losses(self, images_BCHW: Tensor, sizes: Sizes, targets: list[Targets]) -> dict[str, Tensor]:
        """Return the losses "classes", "boxes" and "centerness", each one number a level (L,)."""
        self.check_batch(images_BCHW, targets)
        outputs = self.dense(self.features(images_BCHW))
        map_sizes = _sizes(outputs)
        levels = self.anchors(map_sizes, images_BCHW.device)
        anchors_N4 = torch.cat(levels)
        level_N = torch.cat([torch.full((len(x),), i, device=x.device) for i, x in enumerate(levels)])
        scores_BNK = flatten_levels(outputs.scores, self.config.num_classes)
        deltas_BN4 = flatten_levels(outputs.deltas, 4)
        logits_BN = flatten_levels(outputs.centerness, 1).squeeze(-1)
        classes, boxes, centerness = (scores_BNK.new_zeros(len(levels)) for _ in range(3))
        count, weight = 0, scores_BNK.new_zeros(())
        for picture, (size, target) in enumerate(zip(sizes, targets, strict=True)):
            usable = trainable_anchors(levels, map_sizes, self.strides, size, None)
            index = torch.nonzero(usable).flatten()
            counts = level_N[index].bincount(minlength=len(levels)).tolist()
            assigned = self.assigner(anchors_N4[index], counts, target.boxes)
            positive, objects = index[assigned >= 0], assigned[assigned >= 0]
            wanted = torch.zeros_like(scores_BNK[picture])
            wanted[positive, target.labels[objects]] = 1
            each_N = torchvision.ops.sigmoid_focal_loss(
                scores_BNK[picture, index], wanted[index], alpha=ALPHA, gamma=GAMMA
            ).sum(dim=1)
            classes = classes.index_add(0, level_N[index], each_N)
            goal = centerness_of(anchors_N4[positive], target.boxes[objects])
            moved = self.coder.decode(anchors_N4[positive], deltas_BN4[picture, positive])
            each_P = giou_loss(moved, target.boxes[objects]) * goal
            boxes = boxes.index_add(0, level_N[positive], each_P)
            each_P = F.binary_cross_entropy_with_logits(logits_BN[picture, positive], goal, reduction="none")
            centerness = centerness.index_add(0, level_N[positive], each_P)
            count += max(len(positive), 1)
            weight = weight + goal.sum()
        total = mean_over_processes(count, scores_BNK).clamp(min=1)
        weight = mean_over_processes(weight, scores_BNK)
        weight = torch.where(weight < torch.finfo(weight.dtype).eps, 1.0, weight)
        return {
            "classes": classes / total,
            "boxes": self.head_config.box_weight * boxes / weight,
            "centerness": centerness / total,
        }


def centerness_of(boxes_P4: Tensor, objects_P4: Tensor) -> Tensor:
    """Return how central the centre of each box lies in its object (P,): 1 in the middle, 0 on an edge."""
    centres = (boxes_P4[:, :2] + boxes_P4[:, 2:]) / 2
    before, after = centres - objects_P4[:, :2], objects_P4[:, 2:] - centres
    ratios = torch.minimum(before, after) / torch.maximum(before, after)
    return ratios.prod(dim=1).sqrt()


def _sizes(outputs: Outputs) -> list[Pair]:
    return [(x.shape[2], x.shape[3]) for x in outputs.scores]


def _best(probabilities_NK: Tensor, select: SelectConfig) -> Tensor:
    """The probabilities above the least score, the `before_nms` best of them; 0 for all others."""
    flat = torch.where(probabilities_NK > select.score, probabilities_NK, 0.0).flatten()
    best, index = flat.topk(min(select.before_nms, len(flat)))
    return torch.zeros_like(flat).index_copy(0, index, best).view_as(probabilities_NK)
