"""From a model to its inference form: what is constant for a picture size is computed once.

- Norm scale and shift go into the linear layer behind them, the softmax scale into q.
- Position bias and region mask become one constant a block, without a copy per window where none is masked.
- Rolling, cutting, merging and rolling back become one gather a block (`swinkit.deploy.orders`).

Everything is computed in float64 and rounded once.

Legend: as in `folded.py`.
"""

import torch
from torch import Tensor, nn

from swinkit.backbones import SwinMixer, SwinTransformer
from swinkit.backbones.pyramid import Stage, map_sizes
from swinkit.classification import Classifier
from swinkit.deploy.copies import copy_linear, copy_norm, plain_norm, pooled_output
from swinkit.deploy.folded import (
    FoldedAttention,
    FoldedBlock,
    FoldedMerging,
    FoldedMixing,
    FoldedModel,
    FoldedStage,
    FoldedStem,
    MapOutput,
)
from swinkit.deploy.forms import SwinModel, backbone_of, computed_stages, why_no_form
from swinkit.deploy.orders import (
    EMPTY,
    gather,
    merging_order,
    mixer_order,
    raster_order,
    window_masks,
    window_order,
)
from swinkit.errors import InputError
from swinkit.layers import (
    Mlp,
    PatchEmbed,
    PatchMerging,
    SpatialMlp,
    SwinBlock,
    SwinMixerBlock,
    WindowAttention,
)
from swinkit.ops.windows import MASKED, Pair, expand_bias, fit_shift, padded_size

Block = SwinBlock | SwinMixerBlock


def fold(model: nn.Module, img_size: Pair) -> FoldedModel:
    """Return the inference form of a classifier or backbone for pictures of `img_size` (height, width).

    It computes what the model computes in evaluation mode and shares no weights with it: fold again after
    training on.

    Raises:
        InputError: the model is neither, or a size is not positive.
    """
    reason = why_no_form(model)
    if reason is not None or min(img_size) < 1:
        raise InputError(f"cannot fold: {reason or f'a picture needs pixels; got {img_size}'}.")
    assert isinstance(model, SwinModel)
    with torch.no_grad():
        folded = _fold(model, img_size)
    like = next(model.parameters())
    return folded.to(like.device, like.dtype).requires_grad_(False).eval()


def _fold(model: SwinModel, img_size: Pair) -> FoldedModel:
    backbone = backbone_of(model)
    assert isinstance(backbone, SwinTransformer | SwinMixer)
    stages = computed_stages(backbone)
    sizes = map_sizes(img_size, backbone.patch_embed.patch_size, len(stages))
    before, order = sizes[0], raster_order(sizes[0])
    folded, ends = [], []
    for stage, size in zip(stages, sizes, strict=True):
        part, order = _stage(stage, before, size, order)
        before = size
        folded.append(part)
        ends.append(order)
    outputs: dict[str, nn.Module] = {}
    for index in backbone.out_indices:
        norm = copy_norm(backbone.norms[str(index)])
        to_raster = gather(ends[index], raster_order(sizes[index]))
        outputs[str(index)] = MapOutput(to_raster, norm, sizes[index])
    if isinstance(model, Classifier):
        last = backbone.out_indices[-1]
        outputs = {str(last): pooled_output(backbone.norms[str(last)], model.head)}
    return FoldedModel(
        img_size,
        _stem(backbone, img_size, sizes[0]),
        folded,
        outputs,
        single=isinstance(model, Classifier),
    )


def _stem(backbone: SwinTransformer | SwinMixer, img_size: Pair, map_size: Pair) -> FoldedStem:
    embed: PatchEmbed = backbone.patch_embed
    size = padded_size(img_size, embed.patch_size)
    channels, in_chans = embed.proj.weight.shape[:2]
    proj = nn.Conv2d(in_chans, channels, embed.patch_size, embed.patch_size, dtype=torch.float64)
    proj.load_state_dict(embed.proj.state_dict())
    grid = backbone.positions(map_size)
    positions = None if grid is None else grid.flatten(1, 2).double().cpu()
    norm = copy_norm(embed.norm) if isinstance(embed.norm, nn.LayerNorm) else nn.Identity()
    return FoldedStem((size[0] - img_size[0], size[1] - img_size[1]), proj, norm, positions)


def _stage(stage: Stage, before: Pair, size: Pair, order: Tensor) -> tuple[FoldedStage, Tensor]:
    """The folded stage, and the order its stream ends in."""
    blocks = [block for block in stage.blocks if isinstance(block, Block)]
    windows = [_windows(block, size) for block in blocks]
    raster = any(bool((slots == EMPTY).any()) for slots in windows)
    orders = [raster_order(size) if raster else slots for slots in windows]
    merging: nn.Module = nn.Identity()
    if stage.downsample is not None:
        merging = _merging(stage.downsample, before, order, orders[0])
        order = orders[0]
    folded = []
    for block, own, slots in zip(blocks, orders, windows, strict=True):
        folded.append(_block(block, size, order, own, slots))
        order = own
    return FoldedStage(merging, folded, len(order)), order


def _windows(block: Block, size: Pair) -> Tensor:
    if isinstance(block, SwinBlock):
        return window_order(size, block.attn.window, block.shift_for(size))
    window = block.spatial_mlp.window
    shift = fit_shift(size, window, block.window_policy, shifted=block.shifted)
    return mixer_order(size, window, shift)


def _block(block: Block, size: Pair, before: Tensor, own: Tensor, slots: Tensor) -> FoldedBlock:
    in_windows = torch.equal(own, slots)
    mlp: Mlp = block.mlp
    folds = in_windows and isinstance(block, SwinBlock)  # an empty slot is zero after the norm's shift
    norm1 = plain_norm(block.norm1) if folds else copy_norm(block.norm1)
    if isinstance(block, SwinBlock):
        mix: nn.Module = _attention(block, size, block.norm1 if folds else None)
        proj: nn.Module = copy_linear(block.attn.proj)
    else:
        mix, proj = _mixing(block.spatial_mlp), nn.Identity()
    return FoldedBlock(
        reorder=gather(before, own),
        norm1=norm1,
        enter=gather(own, slots),
        mix=mix,
        leave=gather(slots, own),
        proj=proj,
        norm2=plain_norm(block.norm2),
        fc1=copy_linear(mlp.fc1, block.norm2),
        fc2=copy_linear(mlp.fc2),
    )


def _attention(block: SwinBlock, size: Pair, norm: nn.LayerNorm | None) -> FoldedAttention:
    attention: WindowAttention = block.attn
    h = attention.num_heads
    dim = attention.qkv.in_features
    qkv = copy_linear(attention.qkv, norm)
    offset = _offset(block, size)
    if not attention.appearance:
        tokens = attention.window[0] * attention.window[1]
        scores = torch.zeros(1, h, tokens, tokens, dtype=torch.float64) if offset is None else offset
        values = _rows(qkv, 2 * dim, 3 * dim)
        return FoldedAttention(values, h, tokens, scores.softmax(dim=-1), constant=True)
    scale = (dim // h) ** -0.5
    qkv.weight[:dim] *= scale
    qkv.bias[:dim] *= scale
    return FoldedAttention(qkv, h, attention.window[0] * attention.window[1], offset)


def _offset(block: SwinBlock, size: Pair) -> Tensor | None:
    """Bias plus mask, (1, h, N, N) or (1, T * h, N, N) in float64; None for neither."""
    attention: WindowAttention = block.attn
    table = attention.relative_position_bias_table
    bias = None if table is None else expand_bias(table.double().cpu(), attention.window)[None]
    shift = block.shift_for(size)
    if not any(shift):
        return bias
    mask_TNN = window_masks(size, attention.window, shift).double() * MASKED
    if bias is None:
        bias = mask_TNN.new_zeros(1, attention.num_heads, 1, 1)
    return (mask_TNN[:, None] + bias).flatten(0, 1)[None]


def _mixing(spatial: SpatialMlp) -> FoldedMixing:
    h = spatial.num_heads
    assert spatial.bias is not None
    weight_hNN = spatial.weight.double().cpu().squeeze(-1).unflatten(0, (h, -1))
    return FoldedMixing(weight_hNN, spatial.bias.double().cpu().view(h, -1, 1))


def _merging(merging: PatchMerging, size: Pair, before: Tensor, after: Tensor) -> FoldedMerging:
    neighbours = gather(before, merging_order(size, after))
    return FoldedMerging(neighbours, plain_norm(merging.norm), copy_linear(merging.reduction, merging.norm))


def _rows(layer: nn.Linear, start: int, stop: int) -> nn.Linear:
    part = nn.Linear(layer.in_features, stop - start, dtype=layer.weight.dtype)
    part.weight.copy_(layer.weight[start:stop])
    part.bias.copy_(layer.bias[start:stop])
    return part
