"""Mixup and CutMix over a batch, with label smoothing (A2.1).

H. Zhang et al., "mixup", 2017; S. Yun et al., "CutMix", 2019. As in the published recipe one draw serves the
whole batch: picture i is mixed with picture B - 1 - i, and a coin chooses between the two methods.
"""

import math

import numpy as np
import torch
from torch import Tensor

from swinkit.data.config import AugmentConfig
from swinkit.errors import InputError


class MixBatch:
    """Mixes a batch and turns its labels into soft targets."""

    def __init__(self, augment: AugmentConfig, num_classes: int) -> None:
        self.augment = augment
        self.num_classes = num_classes

    def __call__(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mix one batch; the result depends on the arguments alone.

        Args:
            images: (B, C, H, W).
            targets: (B,) class indices.
            generator: where the randomness comes from; a CPU generator.

        Returns:
            images (B, C, H, W), a new tensor if mixed, and targets (B, num_classes) that sum to 1.
        """
        # One number seeds NumPy's generator, which has the beta distribution; torch's takes no generator.
        draw = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        soft_BK = self._smooth(targets.to(images.device))
        method = self._choose(draw)
        if method is None:
            return images, soft_BK
        alpha = self.augment.mixup if method == "mixup" else self.augment.cutmix
        share = float(draw.beta(alpha, alpha))
        if method == "mixup":
            images = torch.lerp(images.flip(0), images, share)
        else:
            images, share = _cutmix(images, share, draw)
        return images, torch.lerp(soft_BK.flip(0), soft_BK, share)

    def _choose(self, draw: np.random.Generator) -> str | None:
        applied, switched = draw.random() < self.augment.mix_probability, draw.random()
        mixup, cutmix = self.augment.mixup > 0, self.augment.cutmix > 0
        if not applied or not (mixup or cutmix):
            return None
        if mixup and cutmix:
            return "cutmix" if switched < self.augment.switch_probability else "mixup"
        return "mixup" if mixup else "cutmix"

    def _smooth(self, targets: Tensor) -> Tensor:
        # Looked at on the CPU only: on a GPU it would make every step wait.
        if (
            targets.device.type == "cpu"
            and len(targets)
            and not 0 <= int(targets.min()) <= int(targets.max()) < self.num_classes
        ):
            raise InputError(
                f"labels from {int(targets.min())} to {int(targets.max())} for a model of {self.num_classes} "
                "classes: the data has other classes than the model."
            )
        off = self.augment.label_smoothing / self.num_classes
        soft_BK = torch.full((len(targets), self.num_classes), off, device=targets.device)
        return soft_BK.scatter_(1, targets.long()[:, None], 1 - self.augment.label_smoothing + off)


def _cutmix(images: Tensor, share: float, draw: np.random.Generator) -> tuple[Tensor, float]:
    """Paste a rectangle of about 1 - share of the area; return the images and the share really left."""
    height, width = images.shape[-2:]
    side = math.sqrt(1 - share)
    centre_y, centre_x = int(draw.integers(height)), int(draw.integers(width))
    half_y, half_x = int(height * side) // 2, int(width * side) // 2
    top, bottom = max(centre_y - half_y, 0), min(centre_y + half_y, height)
    left, right = max(centre_x - half_x, 0), min(centre_x + half_x, width)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images.flip(0)[..., top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
