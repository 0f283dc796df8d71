"""What Swin Transformer and Swin-Mixer share: patch embedding, stages, and normed maps of several of them."""

from collections.abc import Iterator, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from swinkit.backbones.config import BackboneConfig
from swinkit.errors import InputError
from swinkit.layers import PatchEmbed, PatchMerging, initialise
from swinkit.ops.windows import Pair, padded_size, to_pair


class Pyramid(nn.Module):
    """Hierarchical trunk of section 3.1: four stages by default, each half the resolution of the one before.

    Args:
        patch_embed: pictures to tokens.
        absolute_pos_embed: (rows, columns) of an absolute position embedding, or None for none.
        stages: one `Stage` each; the first has no merging.
        channels: channels of each stage's map.
        out_indices: stages (0-based) whose maps come out, each through its own LayerNorm.
        drop_rate: dropout on the embedded tokens.

    Attributes:
        channels: of each map that comes out.
        strides: pixels a token of each map that comes out; (rows, columns) where patches are not square.
    """

    absolute_pos_embed: nn.Parameter | None

    def __init__(
        self,
        *,
        patch_embed: PatchEmbed,
        absolute_pos_embed: Pair | None,
        stages: Sequence["Stage"],
        channels: Sequence[int],
        out_indices: Sequence[int],
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        grid = None
        if absolute_pos_embed is not None:
            grid = nn.Parameter(torch.empty(1, *absolute_pos_embed, channels[0]))
        self.register_parameter("absolute_pos_embed", grid)
        self.pos_drop = nn.Dropout(drop_rate)
        self.stages = nn.ModuleList(stages)
        self.out_indices = tuple(out_indices)
        self.norms = nn.ModuleDict({str(index): nn.LayerNorm(channels[index]) for index in self.out_indices})
        self.channels = tuple(channels[index] for index in self.out_indices)
        rows, columns = patch_embed.patch_size
        self.strides: tuple[int | Pair, ...] = tuple(
            rows * 2**index if rows == columns else (rows * 2**index, columns * 2**index)
            for index in self.out_indices
        )
        self.frozen_stages = 0
        initialise(self)
        if grid is not None:
            nn.init.trunc_normal_(grid, std=0.02)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Map pictures (B, in_chans, H, W) to one map (B, C_i, H_i, W_i) per stage of `out_indices`.

        H and W are free: odd sizes are padded as the published dense code pads, and H_i = ceil(H /
        stride_i) for strides that are powers of two of the patch.

        Raises:
            InputError: not four dimensions, or another number of channels.
        """
        found = {
            index: self.norms[str(index)](x_BHWC).permute(0, 3, 1, 2)
            for index, x_BHWC in enumerate(self._maps(images_BCHW))
            if index in self.out_indices
        }
        return [found[index] for index in self.out_indices]

    def forward_maps(self, images_BCHW: Tensor) -> list[Tensor]:
        """Map pictures (B, in_chans, H, W) to the un-normed maps (B, H_i, W_i, C_i) of all stages needed."""
        return list(self._maps(images_BCHW))

    def _maps(self, images_BCHW: Tensor) -> Iterator[Tensor]:
        """The un-normed map of each stage needed, one after the other, so that none is kept for nothing."""
        in_chans = self.patch_embed.proj.in_channels
        if images_BCHW.dim() != 4 or images_BCHW.shape[1] != in_chans:
            raise InputError(
                f"expected pictures (B, {in_chans}, H, W); got shape {tuple(images_BCHW.shape)}."
            )
        x_BHWC = self.pos_drop(self._add_positions(self.patch_embed(images_BCHW)))
        for stage in self.stages[: max(self.out_indices) + 1]:
            x_BHWC = stage(x_BHWC)
            yield x_BHWC

    def positions(self, map_size: Pair) -> Tensor | None:
        """Absolute position embedding of a first map of `map_size`, (1, H, W, C); None for none."""
        return None if self.absolute_pos_embed is None else fit_positions(self.absolute_pos_embed, map_size)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        for stage in self.stages:
            assert isinstance(stage, Stage)
            stage.grad_checkpointing = enable

    def freeze_stages(self, count: int) -> None:
        """Fix the patch embedding (count >= 1) and the first `count - 1` stages: no gradients, no dropout.

        Counting follows the published dense code's `frozen_stages` plus one; 0 freezes nothing.
        """
        if not 0 <= count <= len(self.stages) + 1:
            raise InputError(f"freeze_stages takes 0 to {len(self.stages) + 1}; got {count}.")
        self.frozen_stages = count
        for parameter in self._frozen_parameters():
            parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, with frozen stages left in evaluation mode."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages == 0:
            return []
        return [self.patch_embed, self.pos_drop, *list(self.stages)[: self.frozen_stages - 1]]

    def _frozen_parameters(self) -> list[nn.Parameter]:
        parameters = [parameter for module in self._frozen_modules() for parameter in module.parameters()]
        if self.frozen_stages and self.absolute_pos_embed is not None:
            parameters.append(self.absolute_pos_embed)
        return parameters

    def _add_positions(self, x_BHWC: Tensor) -> Tensor:
        grid = self.positions((x_BHWC.shape[1], x_BHWC.shape[2]))
        return x_BHWC if grid is None else x_BHWC + grid


class Stage(nn.Module):
    """Merging (but in the first stage), then blocks: (B, H, W, C) to (B, ceil(H/2), ceil(W/2), 2C)."""

    def __init__(self, downsample: PatchMerging | None, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)
        self.grad_checkpointing = False

    def forward(self, x_BHWC: Tensor) -> Tensor:
        if self.downsample is not None:
            x_BHWC = self.downsample(x_BHWC)
        for block in self.blocks:
            if self.grad_checkpointing and torch.is_grad_enabled():
                x_BHWC = checkpoint(block, x_BHWC, use_reentrant=False)
            else:
                x_BHWC = block(x_BHWC)
        return x_BHWC


def fit_positions(grid_1HWC: Tensor, map_size: Pair) -> Tensor:
    """Return an absolute position embedding as it is for a first map of `map_size`, (1, H, W, C)."""
    if grid_1HWC.shape[1:3] == map_size:
        return grid_1HWC
    resized = nn.functional.interpolate(grid_1HWC.permute(0, 3, 1, 2), size=map_size, mode="bicubic")
    return resized.permute(0, 2, 3, 1)


def map_sizes(img_size: Pair, patch_size: Pair, stages: int) -> list[Pair]:
    """Return (rows, columns) of each stage's map for pictures of `img_size` pixels."""
    rows, columns = padded_size(img_size, patch_size)
    sizes = [(rows // patch_size[0], columns // patch_size[1])]
    for _ in range(stages - 1):
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def stage_maps(config: BackboneConfig) -> list[Pair]:
    """Return (rows, columns) of each stage's map at the size the backbone is laid out for."""
    return map_sizes(config.img_size, to_pair(config.patch_size), len(config.depths))


def drop_path_rates(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Stochastic depth of every block, growing linearly from 0 to `rate` over the whole trunk (A2.1)."""
    total = sum(depths)
    rates = iter(rate * index / max(total - 1, 1) for index in range(total))
    return [[next(rates) for _ in range(depth)] for depth in depths]
