"""Faster, Mask, Cascade and Cascade Mask R-CNN: one detector, with one or several stages, with or without
masks.

Legend: B pictures, R regions, K classes, N detections, M cells a side of a mask.
"""

import torch
from torch import Tensor, nn

from swinkit.backbones import Trunk
from swinkit.detection.config import DetectorConfig, SelectConfig, TwoStageConfig
from swinkit.detection.detector import Detector
from swinkit.detection.extractor import RegionExtractor, to_regions
from swinkit.detection.htc_config import HtcConfig
from swinkit.detection.rpn import Outputs, RegionProposals
from swinkit.detection.stage import RegionStage, Samples
from swinkit.detection.structures import Sizes, Targets
from swinkit.errors import InputError
from swinkit.spec import ModelSpec


class TwoStageDetector(Detector):
    """Region proposals, then stages that classify, move and segment them (Cai and Vasconcelos, 2018).

    One stage is Mask R-CNN, three are Cascade Mask R-CNN; without a mask branch Faster and Cascade R-CNN.

    Arguments and attributes are those of `Detector`.
    """

    def __init__(self, backbone: Trunk, config: DetectorConfig, *, spec: ModelSpec | None = None) -> None:
        super().__init__(backbone, config, spec=spec)
        head, width = config.head, config.neck.channels
        assert isinstance(head, TwoStageConfig)
        self.head_config = head
        strides = self.strides[: self.read_levels]
        self.rpn = RegionProposals(width, self.strides, head.rpn)
        self.box_extractor = RegionExtractor(head.box.pool, strides)
        self.mask_extractor = None if head.mask is None else RegionExtractor(head.mask.pool, strides)
        flow = isinstance(head, HtcConfig) and head.flow
        self.roi = nn.ModuleList(
            RegionStage(width, config.num_classes, head, stage, relay=flow and number > 0)
            for number, stage in enumerate(head.stages)
        )

    @property
    def stages(self) -> list[RegionStage]:
        """The cascade."""
        return [stage for stage in self.roi if isinstance(stage, RegionStage)]

    @property
    def has_masks(self) -> bool:
        """Whether detections come with masks."""
        return self.mask_extractor is not None

    def box_regions(self, levels: list[Tensor], regions_R5: Tensor) -> Tensor:
        """Return what the box heads see of each region (R, C, S, S)."""
        return self.box_extractor(levels, regions_R5)

    def mask_regions(self, levels: list[Tensor], regions_R5: Tensor) -> Tensor:
        """Return what the mask heads see of each region (R, C, S, S)."""
        assert self.mask_extractor is not None
        return self.mask_extractor(levels, regions_R5)

    def candidates(
        self, levels: list[Tensor], sizes: Sizes, select: SelectConfig
    ) -> list[tuple[Tensor, Tensor]]:
        """Return each picture's boxes (R, K, 4), one a class, and class probabilities (R, K)."""
        proposals = self.rpn.proposals(
            self.rpn(levels[: len(self.strides)]),
            sizes,
            before_nms=select.before_nms,
            count=select.proposals,
            iou=select.proposal_iou,
        )
        boxes = [found for found, _ in proposals]
        counts = [len(found) for found in boxes]
        logits_R: Tensor | float = 0.0
        per_picture = []
        for number, stage in enumerate(self.stages):
            logits, deltas = stage.box(self.box_regions(levels, to_regions(boxes)))
            logits_R = logits_R + logits
            per_picture = list(zip(boxes, logits.split(counts), deltas.split(counts), sizes, strict=True))
            if number < len(self.stages) - 1:
                boxes = [
                    stage.refine(own, scores[:, :-1].argmax(dim=1), moves, size)
                    for own, scores, moves, size in per_picture
                ]
        assert isinstance(logits_R, Tensor)
        scores = (logits_R / len(self.stages)).softmax(dim=1)[:, :-1].split(counts)
        last = self.stages[-1].coder
        decoded = [last.decode(own[:, None], moves, size) for own, _, moves, size in per_picture]
        return list(zip(decoded, scores, strict=True))

    def masks(self, levels: list[Tensor], boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Return each picture's mask probabilities (N, M, M): the stages' mean, of the box's class."""
        regions = self.mask_regions(levels, to_regions(boxes))
        labels_N = torch.cat(labels)
        index = torch.arange(len(labels_N), device=labels_N.device)
        total: Tensor | float = 0.0
        for stage in self.stages:
            assert stage.mask is not None
            total = total + stage.mask(regions)[index, labels_N].sigmoid()
        assert isinstance(total, Tensor)
        return list((total / len(self.stages)).split([len(item) for item in labels]))

    def losses(self, images_BCHW: Tensor, sizes: Sizes, targets: list[Targets]) -> dict[str, Tensor]:
        """Return the training losses: "rpn_scores" and "rpn_boxes" (L,), and "stageN_classes", "_boxes",
        "_masks" of each stage. Their sum is what is minimised.

        Args:
            images_BCHW: pictures, normalised, padded with zeros at the bottom and right.
            sizes: true (height, width) of each.
            targets: the objects of each, with masks if the detector has them; those without area are left
                out, since nothing can be moved onto them.
        """
        self.check_batch(images_BCHW, targets)
        self.check_targets(targets)
        targets = [target.with_area() for target in targets]
        levels, losses = self.training_levels(images_BCHW, targets)
        outputs = self.rpn(levels[: len(self.strides)])
        losses |= self.rpn.losses(outputs, sizes, targets)
        boxes = self.training_proposals(outputs, sizes)
        for number, stage in enumerate(self.stages):
            samples = [stage.sample(own, target) for own, target in zip(boxes, targets, strict=True)]
            regions = to_regions([item.boxes for item in samples])
            logits, deltas = stage.box(self.box_regions(levels, regions))
            found = stage.box_losses(logits, deltas, samples, targets)
            boxes = refined(stage, samples, logits.detach(), deltas.detach(), sizes)
            if stage.mask is not None:
                samples = self.mask_samples(stage, samples, boxes, targets)
                regions = to_regions([item.boxes[: len(item.objects)] for item in samples])
                said = self.mask_logits(number, self.mask_regions(levels, regions))
                found["masks"] = stage.mask_loss(said, samples, targets)
            losses |= {f"stage{number}_{name}": value for name, value in found.items()}
        return losses

    def training_levels(
        self, images_BCHW: Tensor, targets: list[Targets]
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return what all heads read, as `features` gives it, and the losses made on the way."""
        return self.features(images_BCHW), {}

    def mask_samples(
        self, stage: RegionStage, samples: list[Samples], boxes: list[Tensor], targets: list[Targets]
    ) -> list[Samples]:
        """Return the samples the mask head is trained on: those of the box head, before it moved them."""
        return samples

    def mask_logits(self, number: int, regions_RCSS: Tensor) -> Tensor:
        """Return what the mask head of this stage says of the regions (R, K, 2S, 2S)."""
        mask = self.stages[number].mask
        assert mask is not None
        return mask(regions_RCSS)

    def check_targets(self, targets: list[Targets]) -> None:
        """Raise InputError when the training data lack what a branch is trained on."""
        if self.has_masks and any(target.masks is None for target in targets):
            raise InputError(
                "the detector has a mask branch and the training data no masks: train boxes only "
                "(--model.masks False), or give data with segmentations."
            )

    def training_proposals(self, outputs: Outputs, sizes: Sizes) -> list[Tensor]:
        """Return the boxes of each picture that the first stage is trained on."""
        rpn = self.head_config.rpn
        proposals = self.rpn.proposals(
            outputs,
            sizes,
            before_nms=rpn.train_before_nms,
            count=rpn.train_proposals,
            iou=self.config.select.proposal_iou,
        )
        return [found for found, _ in proposals]


def refined(
    stage: RegionStage, samples: list[Samples], logits_R: Tensor, deltas_R: Tensor, sizes: Sizes
) -> list[Tensor]:
    """Return the proposals of the next stage: the moved samples, without the objects' own boxes."""
    counts = [len(item.boxes) for item in samples]
    moved = []
    for item, logits, deltas, size in zip(
        samples, logits_R.split(counts), deltas_R.split(counts), sizes, strict=True
    ):
        guess = logits[:, :-1].argmax(dim=1)
        labels = torch.where(item.labels == stage.num_classes, guess, item.labels)
        moved.append(stage.refine(item.boxes, labels, deltas, size)[~item.given])
    return moved
