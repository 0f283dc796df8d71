"""A Swin in bfloat16 on a processor's matrix unit (AMX), by the compiled kernels of `swinkit.ops.native`.

Tokens stay in raster order and a block is one call: norm and qkv, attention, projection and residual sum,
some pictures at a time; then norm, first layer and GELU, second layer and residual sum, some rows at a time,
so that what lies between stays in the cache. Norm scale and shift are in the weights behind them.

Legend: B pictures, H W rows and columns of a map, C channels; h, R, K as in native_op.py.
"""

import copy
import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn

from swinkit.backbones import SwinTransformer
from swinkit.backbones.pyramid import Stage, fit_positions
from swinkit.classification import Classifier
from swinkit.deploy.copies import copy_linear
from swinkit.deploy.forms import backbone_of, computed_stages, why_no_kernels
from swinkit.errors import InputError
from swinkit.layers import PatchEmbed, PatchMerging, SwinBlock, WindowAttention
from swinkit.ops.native import structs
from swinkit.ops.native.library import library, why_not
from swinkit.ops.native.structs import BFLOAT16
from swinkit.ops.window_attention.native_op import CPU, score_masks, scores_bias
from swinkit.ops.windows import WindowPolicy, fit_shift

BLOCK = 32
"""Rows, inputs and outputs that a linear layer takes at a time, as in linear.h."""

HELD = 2 << 20
"""Bytes of a hidden layer, or of q, k and v, that are computed at a time."""

BF16 = torch.bfloat16

Room = Callable[[str, int, int], Tensor]
"""Name, numbers, and numbers a row, to memory that is used again and again."""


def why_not_native(model: nn.Module) -> str | None:
    """Return why a model cannot run on the matrix unit here, or None when it can."""
    reason = why_no_kernels(model) or why_not()
    if reason is not None:
        return reason
    if not library().has_matrix_unit():
        return "this processor has no matrix unit for bfloat16 (AMX)"
    backbone = backbone_of(model)
    attentions = [item for item in backbone.modules() if isinstance(item, WindowAttention)]
    if not all(item.appearance for item in attentions):
        return "attention without q k^T has no kernel"
    layers = [item for item in backbone.modules() if isinstance(item, nn.Linear)]
    sides = {side for layer in layers for side in (layer.in_features, layer.out_features)}
    if any(side % BLOCK for side in sides):
        return f"channels must be multiples of {BLOCK}"
    return None


class NativeModel:
    """A classifier or backbone as calls of kernels, for pictures of any size; made from a model that
    `why_not_native` has nothing against.

    It shares no weights with the model.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module) -> None:
        with CPU:  # whatever default device the caller has set
            backbone = backbone_of(model)
            assert isinstance(backbone, SwinTransformer)
            grid = backbone.absolute_pos_embed
            self._grid = None if grid is None else grid.detach().clone()
            self._embed = _Embedding(backbone.patch_embed)
            self._stages = [_Stage(stage) for stage in computed_stages(backbone)]
            self._norms = {index: _half(backbone.norms[str(index)]) for index in backbone.out_indices}
            self._head = _half(model.head) if isinstance(model, Classifier) else None
        self._held: dict[str, Tensor] = {}
        self._lock = threading.Lock()  # one call holds the room

    @torch.no_grad()
    def __call__(self, images_BCHW: Tensor) -> Tensor | list[Tensor]:
        """Map pictures (B, in_chans, H, W) to logits (B, K), or to a list of maps (B, C_i, H_i, W_i)."""
        with self._lock:
            x_BHWC = self._embed(images_BCHW, self._room)
            if self._grid is not None:
                x_BHWC += fit_positions(self._grid, (x_BHWC.shape[1], x_BHWC.shape[2]))
            found = []
            for index, stage in enumerate(self._stages):
                x_BHWC = stage(x_BHWC, self._room)
                if index in self._norms:
                    found.append(self._norms[index](x_BHWC))
        if self._head is not None:
            return self._head(found[-1].mean(dim=(1, 2))).to(images_BCHW.dtype)
        return [item.permute(0, 3, 1, 2).to(images_BCHW.dtype).contiguous() for item in found]

    def _room(self, name: str, count: int, row: int) -> Tensor:
        """Room for `count` numbers, and for the rows that a kernel may read beyond them."""
        count += BLOCK * row
        if name not in self._held or self._held[name].numel() < count:
            self._held[name] = torch.empty(count, dtype=BF16, device=CPU)
        return self._held[name]


class _Linear:
    """A linear layer packed for tiles, with the norm before it in its weights."""

    def __init__(self, layer: nn.Linear, norm: nn.LayerNorm | None = None) -> None:
        folded = copy_linear(layer, norm)
        self.outputs, self.inputs = folded.weight.shape
        weight = folded.weight.to(BF16)  # for each 16 outputs and 32 inputs (pair of inputs, output, 2)
        self.weight = weight.view(-1, 16, self.inputs // 32, 16, 2).permute(0, 2, 3, 1, 4).contiguous()
        self.bias = folded.bias.float()

    def pointers(self) -> structs.Weights:
        """Where weight and bias are."""
        return structs.Weights(self.weight.data_ptr(), self.bias.data_ptr())


class _Embedding:
    """Patch embedding."""

    def __init__(self, embed: PatchEmbed) -> None:
        self.patch_size, self.in_chans = embed.patch_size, embed.proj.in_channels
        self.channels, self.inputs = embed.proj.weight.flatten(1).shape
        self.wide = -(-self.inputs // BLOCK) * BLOCK
        flat = nn.Linear(self.wide, self.channels, dtype=torch.float64)
        flat.weight.zero_()
        flat.weight[:, : self.inputs] = embed.proj.weight.flatten(1)
        assert embed.proj.bias is not None
        flat.bias.copy_(embed.proj.bias)
        self.proj = _Linear(flat)
        norm = embed.norm if isinstance(embed.norm, nn.LayerNorm) else None
        self.eps = 0.0 if norm is None else norm.eps
        self.scale = None if norm is None else norm.weight.detach().float().clone()
        self.shift = None if norm is None else norm.bias.detach().float().clone()

    def __call__(self, images_BCHW: Tensor, room: Room) -> Tensor:
        """Map pictures (B, in_chans, H, W) to tokens (B, rows, columns, C)."""
        if images_BCHW.dim() != 4 or images_BCHW.shape[1] != self.in_chans or images_BCHW.device != CPU:
            got = f"{tuple(images_BCHW.shape)} on {images_BCHW.device}"
            raise InputError(f"expected pictures (B, {self.in_chans}, H, W) on the CPU; got {got}.")
        images_BCHW = images_BCHW.float().contiguous()
        B, in_chans, H, W = images_BCHW.shape
        assert in_chans * self.patch_size[0] * self.patch_size[1] == self.inputs
        rows, columns = (-(-side // patch) for side, patch in zip((H, W), self.patch_size, strict=True))
        out_BHWC = torch.empty(B, rows, columns, self.channels, dtype=BF16, device=CPU)
        patches = room("wide", B * rows * columns * self.wide, self.wide)
        call = structs.Embedding(
            B=B,
            in_chans=in_chans,
            H=H,
            W=W,
            down=self.patch_size[0],
            across=self.patch_size[1],
            C=self.channels,
            threads=torch.get_num_threads(),
            proj=self.proj.pointers(),
            scale=None if self.scale is None else self.scale.data_ptr(),
            shift=None if self.shift is None else self.shift.data_ptr(),
            images=images_BCHW.data_ptr(),
            patches=patches.data_ptr(),
            out=out_BHWC.data_ptr(),
        )
        library().embedding(call, self.eps)
        return out_BHWC


class _Block:
    """One Swin block."""

    def __init__(self, block: SwinBlock) -> None:
        attention: WindowAttention = block.attn
        self.window = attention.window
        self.shifted = block.shifted
        self.window_policy: WindowPolicy = block.window_policy
        self.heads = attention.num_heads
        self.scale = (attention.qkv.in_features // self.heads) ** -0.5
        self.eps = block.norm1.eps, block.norm2.eps
        table = attention.relative_position_bias_table
        self.bias_hRK = scores_bias(table, self.heads, self.window, self.scale, BFLOAT16)
        qkv = attention.qkv
        token = torch.zeros(qkv.out_features) if qkv.bias is None else qkv.bias.detach()
        self.pad = token.to(BF16)  # padding comes after the norm
        self.hidden = block.mlp.fc1.out_features
        self.qkv = _Linear(qkv, block.norm1)
        self.proj = _Linear(attention.proj)
        self.fc1 = _Linear(block.mlp.fc1, block.norm2)
        self.fc2 = _Linear(block.mlp.fc2)

    def __call__(self, x_BHWC: Tensor, room: Room) -> None:
        """Compute in place."""
        B, H, W, C = x_BHWC.shape
        shift = fit_shift((H, W), self.window, self.window_policy, shifted=self.shifted)
        pictures = max(1, min(B, HELD // (2 * 3 * C * H * W)))
        rows = max(BLOCK, min(B * H * W, HELD // (2 * self.hidden)) // BLOCK * BLOCK)
        masks = score_masks(self.window, shift, self.scale, BFLOAT16)
        wide = room("wide", max(pictures * H * W * 3 * C, rows * self.hidden), max(3 * C, self.hidden))
        narrow = room("narrow", pictures * H * W * C, C)
        d, threads = C // self.heads, torch.get_num_threads()
        call = structs.Block(
            shape=structs.Shape(B, H, W, self.heads, d, *self.window, *shift, BFLOAT16, threads),
            hidden=self.hidden,
            pictures=pictures,
            rows=rows,
            qkv=self.qkv.pointers(),
            proj=self.proj.pointers(),
            fc1=self.fc1.pointers(),
            fc2=self.fc2.pointers(),
            bias=self.bias_hRK.data_ptr(),
            masks=masks.data_ptr(),
            pad=self.pad.data_ptr(),
            x=x_BHWC.data_ptr(),
            wide=wide.data_ptr(),
            narrow=narrow.data_ptr(),
        )
        library().block(call, self.scale, *self.eps)


class _Stage:
    """Merging (but in the first stage), then blocks."""

    def __init__(self, stage: Stage) -> None:
        merging = stage.downsample
        self.merging = None if merging is None else _Merging(merging)
        self.blocks = [_Block(block) for block in stage.blocks if isinstance(block, SwinBlock)]

    def __call__(self, x_BHWC: Tensor, room: Room) -> Tensor:
        """Map (B, H, W, C) to (B, H', W', C'); computes in place where it can."""
        if self.merging is not None:
            x_BHWC = self.merging(x_BHWC, room)
        for block in self.blocks:
            block(x_BHWC, room)
        return x_BHWC


class _Merging:
    """Patch merging."""

    def __init__(self, merging: PatchMerging) -> None:
        self.eps = merging.norm.eps
        self.reduction = _Linear(merging.reduction, merging.norm)

    def __call__(self, x_BHWC: Tensor, room: Room) -> Tensor:
        """Map (B, H, W, C) to (B, ceil(H / 2), ceil(W / 2), 2 C)."""
        B, H, W, C = x_BHWC.shape
        size = (-(-H // 2), -(-W // 2))
        four = room("wide", B * size[0] * size[1] * 4 * C, 4 * C)
        out_BHWC = x_BHWC.new_empty(B, *size, 2 * C)
        call = structs.Merging(
            B=B,
            H=H,
            W=W,
            C=C,
            threads=torch.get_num_threads(),
            reduction=self.reduction.pointers(),
            x=x_BHWC.data_ptr(),
            four=four.data_ptr(),
            out=out_BHWC.data_ptr(),
        )
        library().merging(call, self.eps)
        return out_BHWC


def _half(module: nn.Module) -> nn.Module:
    """A copy in bfloat16."""
    return copy.deepcopy(module).to(BF16).eval()
