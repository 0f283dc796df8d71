"""Hybrid Task Cascade (Chen et al., 2019): boxes and masks in turns, masks handed on, semantic features for
both.

Legend: B pictures, R regions, C channels, S cells a side, N detections, M cells a side of a mask.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from swinkit.backbones import Trunk
from swinkit.detection.config import DetectorConfig
from swinkit.detection.extractor import RegionExtractor, to_regions
from swinkit.detection.global_attention import GlobalAttention
from swinkit.detection.htc_config import HtcConfig
from swinkit.detection.semantic_head import SemanticHead, stack_stuff
from swinkit.detection.stage import RegionStage, Samples
from swinkit.detection.structures import Targets
from swinkit.detection.two_stage import TwoStageDetector
from swinkit.errors import InputError
from swinkit.spec import ModelSpec


class HybridTaskCascade(TwoStageDetector):
    """A cascade with interleaved masks, mask information flow and a semantic branch, each of them optional.
    With global attention it is the paper's HTC++ (A2.2).

    Arguments and attributes are those of `Detector`; the head is an `HtcConfig`.
    """

    def __init__(self, backbone: Trunk, config: DetectorConfig, *, spec: ModelSpec | None = None) -> None:
        super().__init__(backbone, config, spec=spec)
        head, width = config.head, config.neck.channels
        assert isinstance(head, HtcConfig)
        self.htc_config = head
        self.global_attention = GlobalAttention(backbone.channels[-1]) if head.global_attention else None
        self.semantic = self.semantic_extractor = None
        if head.semantic is not None:
            if head.semantic.channels != width or not 0 <= head.semantic.level < len(self.strides):
                raise InputError(
                    f"the semantic branch is added to regions of {width} channels from {len(self.strides)} "
                    f"levels; got {head.semantic.channels} channels at level {head.semantic.level}."
                )
            self.semantic = SemanticHead(width, len(self.strides), head.semantic)
            stride = self.strides[head.semantic.level]
            self.semantic_extractor = RegionExtractor(head.semantic.pool, [stride])

    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """Return the pyramid's levels (B, C, H, W), fine to coarse, and after them the semantic features."""
        levels = self._pyramid(images_BCHW)
        return levels if self.semantic is None else [*levels, self.semantic(levels)[1]]

    def box_regions(self, levels: list[Tensor], regions_R5: Tensor) -> Tensor:
        """Return what the box heads see of each region (R, C, S, S)."""
        return self._with_semantic(super().box_regions(levels, regions_R5), levels, regions_R5)

    def mask_regions(self, levels: list[Tensor], regions_R5: Tensor) -> Tensor:
        """Return what the mask heads see of each region (R, C, S, S)."""
        return self._with_semantic(super().mask_regions(levels, regions_R5), levels, regions_R5)

    def masks(self, levels: list[Tensor], boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Return each picture's mask probabilities (N, M, M), of the box's class: the last stage's or the
        stages' mean."""
        x = self.mask_regions(levels, to_regions(boxes))
        labels_N = torch.cat(labels)
        index = torch.arange(len(labels_N), device=labels_N.device)
        first = 0 if self.htc_config.masks == "mean" else len(self.stages) - 1
        found = []
        for stage, hidden in list(zip(self.stages, self._hidden(len(self.stages) - 1, x), strict=True))[
            first:
        ]:
            assert stage.mask is not None
            found.append(stage.mask.decode(hidden)[index, labels_N].sigmoid())
        return list(torch.stack(found).mean(dim=0).split([len(item) for item in labels]))

    def training_levels(
        self, images_BCHW: Tensor, targets: list[Targets]
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return what all heads read and, with a semantic branch, the loss "semantic"."""
        levels = self._pyramid(images_BCHW)
        if self.semantic is None:
            return levels, {}
        size = (images_BCHW.shape[2], images_BCHW.shape[3])
        logits, embedding = self.semantic(levels)
        loss = self.semantic.loss(logits, stack_stuff([_stuff_of(target) for target in targets], size))
        return [*levels, embedding], {"semantic": loss}

    def mask_samples(
        self, stage: RegionStage, samples: list[Samples], boxes: list[Tensor], targets: list[Targets]
    ) -> list[Samples]:
        """Return new samples of the moved boxes, if the branches are interleaved."""
        if not self.htc_config.interleaved:
            return samples
        return [stage.sample(own, target) for own, target in zip(boxes, targets, strict=True)]

    def mask_logits(self, number: int, regions_RCSS: Tensor) -> Tensor:
        """Return what the mask head of this stage says, having seen the features of those before it."""
        mask = self.stages[number].mask
        assert mask is not None
        return mask.decode(self._hidden(number, regions_RCSS)[-1])

    def check_targets(self, targets: list[Targets]) -> None:
        """Raise InputError when the training data lack what a branch is trained on."""
        super().check_targets(targets)
        if self.semantic is not None and any(target.stuff is None for target in targets):
            raise InputError(
                "the detector has a semantic branch and the training data no stuff maps: train without it "
                "(--model.semantic False), or give their folder with --data.stuff."
            )

    def _pyramid(self, images_BCHW: Tensor) -> list[Tensor]:
        maps = list(self.backbone(images_BCHW))
        if self.global_attention is not None:
            maps[-1] = self.global_attention(maps[-1])
        return self.neck(maps)

    def _with_semantic(self, x_RCSS: Tensor, levels: list[Tensor], regions_R5: Tensor) -> Tensor:
        """Regions of the pyramid with those of the semantic features, which are `levels`' last, added."""
        if self.semantic_extractor is None:
            return x_RCSS
        cut = self.semantic_extractor(levels[-1:], regions_R5)
        return x_RCSS + F.adaptive_avg_pool2d(cut, x_RCSS.shape[-1])

    def _hidden(self, number: int, x_RCSS: Tensor) -> list[Tensor]:
        """Mask features of every stage up to this one; with the flow each has seen those before it."""
        found: list[Tensor] = []
        for stage in self.stages[: number + 1]:
            assert stage.mask is not None
            found.append(stage.mask.hidden(x_RCSS, found[-1] if found and self.htc_config.flow else None))
        return found


def _stuff_of(target: Targets) -> Tensor:
    assert target.stuff is not None
    return target.stuff
