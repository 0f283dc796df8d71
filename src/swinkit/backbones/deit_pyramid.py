"""A plain vision transformer with a pyramid by deconvolution: the paper's DeiT-S comparison (Tables 2, 3)."""

from typing import Any

from torch import Tensor, nn

from swinkit.backbones.config import DeitPyramidConfig
from swinkit.backbones.timm_adapter import import_timm
from swinkit.errors import InputError
from swinkit.ops.windows import Pair, padded_size


class DeitPyramid(nn.Module):
    """A transformer with one map of stride 16, taken to strides 4, 8, 16 and 32 as dense heads need them.

    Two deconvolutions of kernel and stride 2 (with batch norm and GELU between) give stride 4, one gives 8,
    the map itself is 16, max-pooling gives 32. The paper names the method ("deconvolution") and not its
    layers; these are the usual ones.

    Args:
        name: timm's name of a vision transformer with patches of 16 pixels.
        img_size: (height, width) in pixels of the position embedding; other sizes interpolate it.
        drop_path_rate: stochastic depth of the last block.
        pretrained: start from timm's weights, downloaded once.

    Attributes:
        channels: of each map.
        strides: 4, 8, 16, 32.
    """

    strides = (4, 8, 16, 32)

    def __init__(
        self,
        name: str = "deit_small_patch16_224",
        *,
        img_size: Pair = (224, 224),
        drop_path_rate: float = 0.1,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.config = DeitPyramidConfig(name=name, img_size=img_size, drop_path_rate=drop_path_rate)
        try:
            self.trunk: Any = import_timm().create_model(
                name,
                img_size=img_size,
                num_classes=0,
                dynamic_img_size=True,
                drop_path_rate=drop_path_rate,
                pretrained=pretrained,
            )
        except (RuntimeError, TypeError) as error:
            raise InputError(
                f"timm has no vision transformer {name!r} for this ({error}): try deit_small_patch16_224."
            ) from error
        self.patch: Pair = self.trunk.patch_embed.patch_size
        if self.patch != (16, 16):
            raise InputError(f"the pyramid starts at patches of 16 x 16 pixels; {name!r} has {self.patch}.")
        dim = self.trunk.embed_dim
        self.channels = (dim,) * 4
        self.to_stride_4 = nn.Sequential(
            nn.ConvTranspose2d(dim, dim, 2, stride=2),
            nn.BatchNorm2d(dim),
            nn.GELU(),
            nn.ConvTranspose2d(dim, dim, 2, stride=2),
        )
        self.to_stride_8 = nn.ConvTranspose2d(dim, dim, 2, stride=2)
        self.to_stride_32 = nn.MaxPool2d(2, ceil_mode=True)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Map pictures (B, 3, H, W) of any size to four maps (B, C, ceil(H / s), ceil(W / s))."""
        height, width = images_BCHW.shape[2:]
        size = padded_size((height, width), self.patch)
        images_BCHW = nn.functional.pad(images_BCHW, (0, size[1] - width, 0, size[0] - height))
        last = len(self.trunk.blocks) - 1
        x_BCHW = self.trunk.forward_intermediates(
            images_BCHW, indices=[last], norm=True, intermediates_only=True
        )[0]
        maps = [self.to_stride_4(x_BCHW), self.to_stride_8(x_BCHW), x_BCHW, self.to_stride_32(x_BCHW)]
        # The picture was padded to whole patches: the finer maps lose what lies wholly in the padding.
        return [
            x[:, :, : -(-height // stride), : -(-width // stride)]
            for x, stride in zip(maps, self.strides, strict=True)
        ]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        self.trunk.set_grad_checkpointing(enable)

    def freeze_stages(self, count: int) -> None:
        """Freeze nothing, which is all that can be done to this model here.

        Raises:
            InputError: `count` is not 0.
        """
        if count:
            raise InputError(f"freeze_stages is for Swin backbones; this model takes 0, got {count}.")
