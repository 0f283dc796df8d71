"""What goes into a detector's training, and what comes out of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from swinkit.ops.windows import Pair


@dataclass
class Targets:
    """The objects of one picture.

    Attributes:
        boxes: (G, 4), x1 y1 x2 y2 in pixels of the picture the network sees.
        labels: (G,) class numbers from 0.
        masks: (G, H, W) of 0 and 1, or None where there are none.
        stuff: (H, W) uint8, the class of each pixel among stuff and things, 255 for none; or None.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor | None = None
    stuff: Tensor | None = None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Targets":
        """Return the same on a device."""
        return self._each(lambda x: x.to(device, non_blocking=non_blocking))

    def with_area(self) -> "Targets":
        """Return the objects whose boxes have an area."""
        real = (self.boxes[:, 2:] > self.boxes[:, :2]).all(dim=1)
        if real.all():
            return self
        masks = None if self.masks is None else self.masks[real]
        return Targets(self.boxes[real], self.labels[real], masks, self.stuff)

    def pin_memory(self) -> "Targets":
        """Return the same in page-locked memory, as a data loader asks for."""
        return self._each(lambda x: x.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Targets":
        maps = (None if x is None else change(x) for x in (self.masks, self.stuff))
        return Targets(change(self.boxes), change(self.labels), *maps)


@dataclass
class Detections:
    """What a detector finds in one picture, best first.

    Attributes:
        boxes: (N, 4), x1 y1 x2 y2 in pixels.
        scores: (N,) from 0 to 1.
        labels: (N,) class numbers from 0.
        masks: (N, M, M) probabilities of the cells of each box, or None without a mask branch; see
            `swinkit.ops.masks.paste_masks`.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def pick(self, index: Tensor) -> "Detections":
        """Return the detections at these indices, or where this is True."""
        masks = None if self.masks is None else self.masks[index]
        return Detections(self.boxes[index], self.scores[index], self.labels[index], masks)

    def moved(self, boxes: Tensor) -> "Detections":
        """Return the same with other boxes."""
        return replace(self, boxes=boxes)

    def in_order(self) -> "Detections":
        """Return those whose second corner is not before the first; boxes made of points can be otherwise."""
        return self.pick((self.boxes[:, 2:] >= self.boxes[:, :2]).all(dim=1))

    def cpu(self) -> "Detections":
        """Return the same in main memory."""
        masks = None if self.masks is None else self.masks.cpu()
        return Detections(self.boxes.cpu(), self.scores.cpu(), self.labels.cpu(), masks)

    @staticmethod
    def cat(parts: "list[Detections]") -> "Detections":
        """Return all of several, one after the other."""
        masks = [part.masks for part in parts if part.masks is not None]
        return Detections(
            torch.cat([part.boxes for part in parts]),
            torch.cat([part.scores for part in parts]),
            torch.cat([part.labels for part in parts]),
            torch.cat(masks) if len(masks) == len(parts) else None,
        )


Sizes = list[Pair]
"""True (height, width) of each picture of a batch, before padding."""
