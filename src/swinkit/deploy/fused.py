"""From a model to the inference form for a GPU: each piece of a block is one kernel of `swinkit.ops.fused`.

A block is four launches: norm and qkv; window attention; projection and residual; MLP with norm and residual,
which is two where a stage is wide. Merging is one. Maps stay as the model has them, (B, H, W, C), so that
pictures of any size may come. A norm's scale and shift are in the weights of the linear layer behind it.

Legend: B pictures, H W rows and columns of a map, C channels, h heads, d channels a head.
"""

import copy

import torch
from torch import Tensor, nn

from swinkit.backbones import SwinTransformer
from swinkit.backbones.pyramid import Stage, fit_positions
from swinkit.classification import Classifier
from swinkit.deploy.copies import copy_linear, copy_norm, pooled_output
from swinkit.deploy.forms import backbone_of, computed_stages, why_no_kernels
from swinkit.errors import InputError
from swinkit.layers import PatchEmbed, PatchMerging, SwinBlock
from swinkit.ops.fused import Implementation, linear_add, merge_norm_linear, mlp, norm_linear
from swinkit.ops.window_attention import window_attention
from swinkit.ops.windows import WindowPolicy, fit_shift


def fuse(model: nn.Module, *, impl: Implementation = "auto") -> "FusedModel":
    """Return the form of a Swin classifier or backbone that runs on fused kernels, for any picture size.

    It computes what the model computes in evaluation mode and shares no weights with it: fuse again after
    training on.

    Args:
        model: a `Classifier` or a `SwinTransformer`.
        impl: "triton" for the kernels or an error; "reference" for plain PyTorch; "auto" for the kernels
            where they can run.

    Raises:
        InputError: the model is neither, or has float8 layers.
    """
    reason = why_no_kernels(model)
    if reason is not None:
        raise InputError(f"cannot fuse: {reason}.")
    assert isinstance(model, (Classifier, SwinTransformer))
    like = next(model.parameters())
    with torch.no_grad():
        fused = FusedModel(model, impl)
    return fused.to(like.device, like.dtype).requires_grad_(False).eval()


class FusedBlock(nn.Module):
    """One block: (B, H, W, C) to (B, H, W, C)."""

    table: Tensor | None
    pad_qkv: Tensor | None

    def __init__(self, block: SwinBlock, impl: Implementation) -> None:
        super().__init__()
        attention = block.attn
        self.parts = (3, attention.num_heads, attention.qkv.in_features // attention.num_heads)
        self.window = attention.window
        self.shifted = block.shifted
        self.window_policy: WindowPolicy = block.window_policy
        self.appearance = attention.appearance
        self.eps = (block.norm1.eps, block.norm2.eps)
        self.impl: Implementation = impl
        self.qkv = copy_linear(attention.qkv, block.norm1)
        self.proj = copy_linear(attention.proj)
        self.fc1 = copy_linear(block.mlp.fc1, block.norm2)
        self.fc2 = copy_linear(block.mlp.fc2)
        # A padded token comes behind the norm: its q, k, v are the bias without the norm's shift.
        bias = attention.qkv.bias
        table = attention.relative_position_bias_table
        self.register_buffer("pad_qkv", None if bias is None else bias.detach().clone().view(self.parts))
        self.register_buffer("table", None if table is None else table.detach().clone())

    def forward(self, x_BHWC: Tensor) -> Tensor:
        map_size = (x_BHWC.shape[1], x_BHWC.shape[2])
        qkv = norm_linear(x_BHWC, self.qkv.weight, self.qkv.bias, eps=self.eps[0], impl=self.impl)
        attended_BHWC = window_attention(
            qkv.unflatten(-1, self.parts),
            self.table,
            window=self.window,
            shift=fit_shift(map_size, self.window, self.window_policy, shifted=self.shifted),
            pad_qkv=self.pad_qkv,
            appearance=self.appearance,
            impl=self.impl,
        )
        x_BHWC = linear_add(attended_BHWC, self.proj.weight, self.proj.bias, x_BHWC, impl=self.impl)
        return mlp(
            x_BHWC,
            self.fc1.weight,
            self.fc1.bias,
            self.fc2.weight,
            self.fc2.bias,
            eps=self.eps[1],
            impl=self.impl,
        )


class FusedMerging(nn.Module):
    """Patch merging: (B, H, W, C) to (B, ceil(H / 2), ceil(W / 2), 2 C)."""

    def __init__(self, merging: PatchMerging, impl: Implementation) -> None:
        super().__init__()
        self.eps = merging.norm.eps
        self.impl: Implementation = impl
        self.reduction = copy_linear(merging.reduction, merging.norm)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        return merge_norm_linear(
            x_BHWC, self.reduction.weight, self.reduction.bias, eps=self.eps, impl=self.impl
        )


class FusedModel(nn.Module):
    """A Swin backbone or classifier; made by `fuse`. Patch embedding and outputs are PyTorch's own.

    Args:
        model: what it is made from.
        impl: see `fuse`.
    """

    positions: Tensor | None

    def __init__(self, model: Classifier | SwinTransformer, impl: Implementation) -> None:
        super().__init__()
        backbone = backbone_of(model)
        assert isinstance(backbone, SwinTransformer)
        self.patch_embed: PatchEmbed = copy.deepcopy(backbone.patch_embed)
        grid = backbone.absolute_pos_embed
        self.register_buffer("positions", None if grid is None else grid.detach().clone())
        self.out_indices = backbone.out_indices
        self.stages = nn.ModuleList(_stage(stage, impl) for stage in computed_stages(backbone))
        if isinstance(model, Classifier):
            last = self.out_indices[-1]
            self.out_indices = (last,)
            outputs: dict[str, nn.Module] = {str(last): pooled_output(backbone.norms[str(last)], model.head)}
        else:
            outputs = {key: copy_norm(norm) for key, norm in backbone.norms.items()}
        self.outputs = nn.ModuleDict(outputs)
        self.single = isinstance(model, Classifier)

    def forward(self, images_BCHW: Tensor) -> list[Tensor] | Tensor:
        """Map pictures (B, in_chans, H, W) to logits (B, K), or to a list of maps (B, C_i, H_i, W_i).

        Raises:
            InputError: not four dimensions, or another number of channels.
        """
        in_chans = self.patch_embed.proj.in_channels
        if images_BCHW.dim() != 4 or images_BCHW.shape[1] != in_chans:
            raise InputError(
                f"expected pictures (B, {in_chans}, H, W); got shape {tuple(images_BCHW.shape)}."
            )
        x_BHWC = self.patch_embed(images_BCHW)
        if self.positions is not None:
            x_BHWC = x_BHWC + fit_positions(self.positions, (x_BHWC.shape[1], x_BHWC.shape[2]))
        found: dict[int, Tensor] = {}
        for index, stage in enumerate(self.stages):
            x_BHWC = stage(x_BHWC)
            if index in self.out_indices:
                output = self.outputs[str(index)]
                found[index] = (
                    output(x_BHWC.flatten(1, 2)) if self.single else output(x_BHWC).permute(0, 3, 1, 2)
                )
        if self.single:
            return found[self.out_indices[0]]
        return [found[index] for index in self.out_indices]


def _stage(stage: Stage, impl: Implementation) -> nn.Sequential:
    parts: list[nn.Module] = []
    if stage.downsample is not None:
        parts.append(FusedMerging(stage.downsample, impl))
    parts += [FusedBlock(block, impl) for block in stage.blocks if isinstance(block, SwinBlock)]
    return nn.Sequential(*parts)
