"""timm's models as feature pyramids, for the paper's comparisons (Tables 2 and 3)."""

import itertools
from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from swinkit.backbones.config import TimmConfig
from swinkit.errors import InputError

STRIDE = 4
"""Of the first stage's map; what is finer belongs to the stem."""


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
        frozen_stages: see `freeze_stages`.
        norm_eval: see `keep_norm_statistics`.

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
        self.frozen_stages = 0
        self.norm_eval = False

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Map pictures (B, in_chans, H, W) to one map (B, C_i, H_i, W_i) per entry of `out_indices`."""
        maps = self.model(images_BCHW)
        return [x.permute(0, 3, 1, 2) for x in maps] if self._channels_last else list(maps)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass, where timm's model can."""
        self.model.set_grad_checkpointing(enable)

    def freeze_stages(self, count: int) -> None:
        """Fix the stem (count >= 1) and the first `count - 1` stages, of which the first has stride 4: no
        gradients, no dropout, the batch norms' statistics stay.

        Counting follows the published dense code's `frozen_stages` plus one; 0 freezes nothing.

        Raises:
            InputError: timm's model does not come apart into stages, or has fewer.
        """
        parts = self._stages() if count else []
        if not 0 <= count <= len(parts):
            can = f"0 to {len(parts)} of {self.config.name}" if parts else f"0 only of {self.config.name}"
            raise InputError(f"freeze_stages takes {can}; got {count}.")
        self.frozen_stages = count
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.train(self.training)

    def keep_norm_statistics(self) -> None:
        """Let all batch norms use the statistics they have, in training too: those of a few pictures are
        worse than those of ImageNet. Their weights and biases are trained all the same.

        Raises:
            InputError: there is no batch norm.
        """
        if not any(isinstance(module, _BatchNorm) for module in self.modules()):
            raise InputError(
                f"norm_eval is for batch norms, and {self.config.name} has none: leave it at False."
            )
        self.norm_eval = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, with what is fixed left in evaluation mode."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _stages(self) -> list[list[str]]:
        """Names of the model's parts: those of the stem, then of each stage; empty where it has no such
        order."""
        names = [name for name, _ in self.model.named_children()]
        maps = [item for item in self.model.feature_info.info if item["reduction"] >= STRIDE]
        ends = [item["module"].replace(".", "_") for item in maps]
        ends = [names.index(name) for name in ends if name in names]
        if not ends:
            return []
        starts = [ends[0], *(end + 1 for end in ends)]
        return [names[: starts[0]], *(names[start:end] for start, end in itertools.pairwise(starts))]

    def _frozen_modules(self) -> list[nn.Module]:
        if not self.frozen_stages:
            return []
        children = dict(self.model.named_children())  # anew: synchronised batch norms take others' places
        return [children[name] for part in self._stages()[: self.frozen_stages] for name in part]


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
