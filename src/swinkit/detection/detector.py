"""What every detector is: a backbone, a neck, and a head that proposes boxes of every class.

Legend: B pictures, R regions, K classes, N detections, M cells a side of a mask.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from swinkit.backbones import Trunk
from swinkit.detection.config import DetectorConfig, SelectConfig
from swinkit.detection.necks import build_neck
from swinkit.detection.select import select_detections
from swinkit.detection.structures import Detections, Sizes, Targets
from swinkit.errors import InputError
from swinkit.spec import ModelSpec


class Detector(nn.Module, ABC):
    """Base of all detectors. A kind of detector says what it is trained for (`losses`) and which boxes it
    takes for objects (`candidates`), and `masks` if it has them.

    Args:
        backbone: gives a list of maps, fine to coarse.
        config: the rest.
        spec: what a checkpoint of this model will say of it; made from the configuration when None.

    Attributes:
        spec: the model as plain data.
        config: its configuration.
        backbone: the trunk.
        neck: makes the pyramid of the trunk's maps.
        strides: pixels between two points of each level of the pyramid.
    """

    def __init__(self, backbone: Trunk, config: DetectorConfig, *, spec: ModelSpec | None = None) -> None:
        super().__init__()
        if spec is not None and spec.config != config:
            raise InputError(f"the spec describes another model: expected {config}; got {spec.config}.")
        self.spec = ModelSpec(config=config) if spec is None else spec
        self.config = config
        strides = [stride for stride in backbone.strides if isinstance(stride, int)]
        if len(strides) < len(backbone.strides):
            raise InputError(f"a detector needs square patches; got strides {backbone.strides}.")
        self.backbone = backbone
        self.neck = build_neck(config.neck, backbone.channels)
        read = strides[config.neck.start :]
        more = config.neck.levels - len(read)
        self.read_levels = len(read)
        self.strides = read + [read[-1] * 2 ** (i + 1) for i in range(more)]

    @property
    def has_masks(self) -> bool:
        """Whether detections come with masks."""
        return False

    def forward(
        self, images_BCHW: Tensor, sizes: Sizes | None = None, select: SelectConfig | None = None
    ) -> list[Detections]:
        """Return the objects of each picture.

        Args:
            images_BCHW: pictures, normalised by `spec.preprocess`, padded with zeros at the bottom and right.
            sizes: true (height, width) of each; None: all as large as the batch.
            select: how detections are chosen; None: as the model's configuration says.
        """
        if not len(images_BCHW):
            return []
        sizes = sizes or [(images_BCHW.shape[2], images_BCHW.shape[3])] * len(images_BCHW)
        select = select or self.config.select
        levels = self.features(images_BCHW)
        candidates = self.candidates(levels, sizes, select)
        found = [self.choose(boxes, scores, select) for boxes, scores in candidates]
        if self.has_masks:
            masks = self.masks(levels, [item.boxes for item in found], [item.labels for item in found])
            for item, mask in zip(found, masks, strict=True):
                item.masks = mask
        return found

    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """Return the pyramid's levels (B, C, H, W), fine to coarse."""
        return self.neck(self.backbone(images_BCHW))

    @abstractmethod
    def candidates(
        self, levels: list[Tensor], sizes: Sizes, select: SelectConfig
    ) -> list[tuple[Tensor, Tensor]]:
        """Return each picture's boxes (R, K, 4), one a class, and class probabilities (R, K)."""

    def choose(self, boxes_RK4: Tensor, scores_RK: Tensor, select: SelectConfig) -> Detections:
        """Choose the detections among the candidates of one picture, whatever views they came from."""
        return select_detections(boxes_RK4, scores_RK, select)

    def masks(self, levels: list[Tensor], boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Return each picture's mask probabilities (N, M, M), of the box's class."""
        raise NotImplementedError(f"{type(self).__name__} has no masks")

    @abstractmethod
    def losses(self, images_BCHW: Tensor, sizes: Sizes, targets: list[Targets]) -> dict[str, Tensor]:
        """Return the training losses by name, numbers or vectors. Their sum is what is minimised.

        Args:
            images_BCHW: pictures, normalised, padded with zeros at the bottom and right.
            sizes: true (height, width) of each.
            targets: the objects of each, with masks if the detector has them.

        Raises:
            InputError: there is no picture, or `targets` are of more or fewer.
        """

    @staticmethod
    def check_batch(images_BCHW: Tensor, targets: list[Targets]) -> None:
        """Raise InputError unless there is a picture, and every picture has its targets."""
        if not len(images_BCHW) or len(images_BCHW) != len(targets):
            raise InputError(
                "training needs at least one picture, and the targets of each; got "
                f"{len(images_BCHW)} pictures and the targets of {len(targets)}."
            )
