"""Your own detector on Swin: the backbone as a plain feature pyramid in somebody else's head.

    python examples/own_detector.py

torchvision's FCOS on a Swin Transformer. Replace the made-up pictures by yours and the head by any other that
reads feature maps.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

import swinkit


class SwinPyramid(nn.Module):
    """Pictures (B, 3, H, W) to maps of strides 8 to 128, all of `out_channels`."""

    out_channels = 64

    def __init__(self, backbone: nn.Module, channels: list[int]) -> None:
        super().__init__()
        self.backbone = backbone
        top = LastLevelP6P7(self.out_channels, self.out_channels)
        self.pyramid = FeaturePyramidNetwork(channels, self.out_channels, top)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.backbone(images)[1:]  # without the finest, as FCOS is published
        return self.pyramid(OrderedDict((str(level), one) for level, one in enumerate(maps)))


def main() -> None:
    swin = swinkit.create_backbone(
        "swin_tiny_patch4_window7_224", window_policy="pad"
    )  # pretrained=True downloads
    detector = FCOS(SwinPyramid(swin, list(swin.channels[1:])), num_classes=3, min_size=160, max_size=224)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=1e-4, weight_decay=0.05)
    images = [torch.rand(3, 150, 200), torch.rand(3, 180, 160)]
    targets = [
        {"boxes": torch.tensor([[20.0, 30.0, 90.0, 120.0]]), "labels": torch.tensor([1])},
        {"boxes": torch.tensor([[10.0, 10.0, 60.0, 50.0]]), "labels": torch.tensor([2])},
    ]
    for step in range(2):
        losses = detector(images, targets)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        print(step, {name: round(float(value.detach()), 3) for name, value in losses.items()})
    found = detector.eval()(images)
    print([one["boxes"].shape for one in found])


if __name__ == "__main__":
    main()
