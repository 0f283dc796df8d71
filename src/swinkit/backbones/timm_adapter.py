"""timm's models as feature pyramids, for the paper's comparisons (Tables 2 and 3)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from swinkit.backbones.config import TimmConfig
from swinkit.errors import InputError


class TimmBackbone(nn.Module):
    """A timm model whose `forward` gives what our backbones give: a list of (B, C_i, H_i, W_i) maps.

    Args:
        name: timm's name.
        out_indices: which feature maps come out, as timm numbers them.
        in_chans: channels of the input picture.
        pretrained: start from timm's weights, downloaded once.

    Attributes:
        channels: of each map.
        strides: pixels of the picture a step in each map is.

    Raises:
        InputError: timm is not installed, does not know the name, or has no such maps of it.
    """

    def __init__(
        self,
        name: str,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        *,
        in_chans: int = 3,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.config = TimmConfig(name=name, out_indices=tuple(out_indices), in_chans=in_chans)
        try:
            self.model: Any = import_timm().create_model(
                name,
                features_only=True,
                out_indices=tuple(out_indices),
                in_chans=in_chans,
                pretrained=pretrained,
            )
        except (RuntimeError, AssertionError, IndexError, ValueError) as error:
            raise InputError(
                f"timm cannot build a pyramid {tuple(out_indices)} of {name!r} ({error}): choose another "
                "name or other out_indices."
            ) from error
        self.channels = tuple(self.model.feature_info.channels())
        self.strides = tuple(self.model.feature_info.reduction())
        self._channels_last = str(getattr(self.model, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Map pictures (B, in_chans, H, W) to one map (B, C_i, H_i, W_i) per entry of `out_indices`."""
        maps = self.model(images_BCHW)
        return [x.permute(0, 3, 1, 2) for x in maps] if self._channels_last else list(maps)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass, where timm's model can."""
        self.model.set_grad_checkpointing(enable)

    def freeze_stages(self, count: int) -> None:
        """Freeze nothing, which is all that can be done to a timm model here.

        Raises:
            InputError: `count` is not 0.
        """
        if count:
            raise InputError(f"freeze_stages is for Swin backbones; a timm model takes 0, got {count}.")


def import_timm() -> Any:
    """Return the timm module.

    Raises:
        InputError: it is not installed.
    """
    try:
        import timm  # noqa: PLC0415 (optional, and slow to import)
    except ImportError as error:
        raise InputError("this backbone comes from timm: install it with `pip install timm`.") from error
    return timm
