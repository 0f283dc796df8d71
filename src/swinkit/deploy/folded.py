"""A Swin backbone for one picture size, rewritten for inference: the modules.

The stream is (B, L, C) tokens in the order of the block's windows; a block begins with at most one gather.
Where windows do not fill up the map, the stream of that stage stays in raster order and each block gathers in
and out of its windows, so that an empty slot takes part in attention and never leaks back.

Legend: B pictures, L tokens of a map, C channels, h heads, d channels a head, N tokens a window, T windows a
map, H W rows and columns.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from swinkit.ops.windows import Pair


class FoldedAttention(nn.Module):
    """Attention inside windows that are already cut, with its qkv projection.

    Args:
        qkv: C -> 3 C, with the norm's scale and shift and the softmax scale in its weights; C -> C (values
            only) where `constant`.
        heads: h.
        tokens: N.
        offset: position bias and mask, added to the scores: (1, h, N, N) for every window, or
            (1, T * h, N, N) where windows are masked; None for neither.
        constant: attention weights do not depend on the picture; `offset` is them.
    """

    offset: Tensor | None

    def __init__(
        self, qkv: nn.Linear, heads: int, tokens: int, offset: Tensor | None, *, constant: bool = False
    ) -> None:
        super().__init__()
        self.qkv = qkv
        self.heads = heads
        self.tokens = tokens
        self.constant = constant
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Map windows (B, T * N, C) to (B, T * N, C)."""
        B, L, C = x_BLC.shape
        h, N = self.heads, self.tokens
        # As many groups as `offset` has: all windows of a picture, or one window.
        groups = h if self.offset is None else self.offset.shape[1]
        x = self.qkv(x_BLC).view(B * L // N, N, -1, C // h).transpose(1, 2)
        parts = [part.reshape(-1, groups, N, C // h) for part in x.split(h, dim=1)]
        out = self._attend(*parts)
        return out.view(-1, h, N, C // h).transpose(1, 2).reshape(B, L, C)

    def _attend(self, *parts: Tensor) -> Tensor:
        if self.constant:
            assert self.offset is not None
            return self.offset @ parts[0]
        q, k, v = parts
        scores = q @ k.mT
        if self.offset is not None:
            scores = scores + self.offset
        return scores.softmax(dim=-1) @ v


class FoldedMixing(nn.Module):
    """Token mixing of Swin-Mixer inside windows that are already cut.

    Args:
        weight_hNN: a linear map over a window's tokens for each head.
        bias_hN1: its bias.
    """

    def __init__(self, weight_hNN: Tensor, bias_hN1: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight_hNN, persistent=False)
        self.register_buffer("bias", bias_hN1, persistent=False)

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Map windows (B, T * N, C) to (B, T * N, C)."""
        B, L, C = x_BLC.shape
        weight, bias = self.get_buffer("weight"), self.get_buffer("bias")
        h, N = weight.shape[:2]
        x = x_BLC.view(B * L // N, N, h, C // h).transpose(1, 2)
        return (weight @ x + bias).transpose(1, 2).reshape(B, L, C)


class FoldedBlock(nn.Module):
    """One block: gather, mix in windows, MLP.

    Args:
        reorder: from the order of the block before to this one's.
        norm1: before mixing, without scale and shift where `mix` has them in its weights.
        enter: into windows with empty slots; nothing where the stream is in windows already.
        mix: token mixing.
        leave: back from the windows.
        proj: after it; nothing for Swin-Mixer.
        norm2: before the MLP, without scale and shift.
        fc1: MLP in.
        fc2: MLP out.
    """

    def __init__(
        self,
        *,
        reorder: nn.Module,
        norm1: nn.LayerNorm,
        enter: nn.Module,
        mix: nn.Module,
        leave: nn.Module,
        proj: nn.Module,
        norm2: nn.LayerNorm,
        fc1: nn.Linear,
        fc2: nn.Linear,
    ) -> None:
        super().__init__()
        self.reorder = reorder
        self.norm1 = norm1
        self.enter = enter
        self.mix = mix
        self.leave = leave
        self.proj = proj
        self.norm2 = norm2
        self.fc1 = fc1
        self.fc2 = fc2

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Map (B, L, C) in the order of the block before to (B, L, C) in this block's."""
        x_BLC = self.reorder(x_BLC)
        x_BLC = x_BLC + self.proj(self.leave(self.mix(self.enter(self.norm1(x_BLC)))))
        return x_BLC + self.fc2(F.gelu(self.fc1(self.norm2(x_BLC))))


class FoldedMerging(nn.Module):
    """Patch merging: one gather that puts four neighbours side by side, norm, linear."""

    def __init__(self, neighbours: nn.Module, norm: nn.Module, reduction: nn.Linear) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.norm = norm
        self.reduction = reduction

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Map (B, L, C) to (B, about L / 4, 2 C)."""
        four = self.neighbours(x_BLC)
        return self.reduction(self.norm(four.reshape(four.shape[0], -1, 4 * x_BLC.shape[-1])))


class FoldedStem(nn.Module):
    """Pictures to tokens in raster order: patches, norm, absolute positions."""

    positions: Tensor | None

    def __init__(self, pad: Pair, proj: nn.Conv2d, norm: nn.Module, positions_1LC: Tensor | None) -> None:
        super().__init__()
        self.pad = pad
        self.proj = proj
        self.norm = norm
        self.register_buffer("positions", positions_1LC, persistent=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Map pictures (B, in_chans, H, W) to (B, L, C)."""
        if any(self.pad):
            images_BCHW = F.pad(images_BCHW, (0, self.pad[1], 0, self.pad[0]))
        x_BLC = self.norm(self.proj(images_BCHW).flatten(2).transpose(1, 2))
        return x_BLC if self.positions is None else x_BLC + self.positions


class MapOutput(nn.Module):
    """A stage's stream as a normed map (B, C, H, W)."""

    def __init__(self, to_raster: nn.Module, norm: nn.Module, map_size: Pair) -> None:
        super().__init__()
        self.to_raster = to_raster
        self.norm = norm
        self.map_size = map_size

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Map (B, L, C) to (B, C, H, W)."""
        return self.norm(self.to_raster(x_BLC)).transpose(1, 2).unflatten(2, self.map_size)


class PooledOutput(nn.Module):
    """A stage's stream as logits: norm, mean over the tokens (in any order), linear."""

    def __init__(self, norm: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.head = head

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Map (B, L, C) to (B, K)."""
        return self.head(self.norm(x_BLC).mean(dim=1))


class FoldedStage(nn.Module):
    """Merging (but in the first stage), then blocks; `tokens` of them a picture."""

    def __init__(self, merging: nn.Module, blocks: Sequence[nn.Module], tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.merging = merging
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Map (B, L, C) to (B, L', C')."""
        x_BLC = self.merging(x_BLC)
        for block in self.blocks:
            x_BLC = block(x_BLC)
        return x_BLC


class FoldedModel(nn.Module):
    """A backbone, or a classifier, for pictures of one size; any batch.

    Args:
        img_size: (height, width) in pixels.
        stem: pictures to tokens.
        stages: stage modules.
        outputs: what comes out of a stage, by its number as a string.
        single: the one output comes out by itself, not as a list.
    """

    def __init__(
        self,
        img_size: Pair,
        stem: FoldedStem,
        stages: Sequence[nn.Module],
        outputs: dict[str, nn.Module],
        *,
        single: bool,
    ) -> None:
        super().__init__()
        self.img_size = img_size
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.outputs = nn.ModuleDict(outputs)
        self.single = single

    def forward(self, images_BCHW: Tensor) -> list[Tensor] | Tensor:
        """Map pictures (B, in_chans, H, W) to logits (B, K), or to a list of maps (B, C_i, H_i, W_i)."""
        assert tuple(images_BCHW.shape[2:]) == self.img_size
        x_BLC = self.stem(images_BCHW)
        found = []
        for number, stage in enumerate(self.stages):
            x_BLC = stage(x_BLC)
            if str(number) in self.outputs:
                found.append(self.outputs[str(number)](x_BLC))
        return found[0] if self.single else found
