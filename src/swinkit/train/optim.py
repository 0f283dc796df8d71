"""Parameter groups: who gets weight decay, and the learning rate of each depth."""

import re
from collections.abc import Mapping, Set
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from swinkit.train.config import OptimizerConfig

_NO_DECAY = ("absolute_pos_embed", "relative_position_bias_table")
_SHARDED = "_fsdp_wrapped_module."
"""What FSDP puts into the names of the modules it wraps."""
_BLOCK = re.compile(r"(?:^|\.)stages\.(\d+)\.blocks\.(\d+)\.")
_DOWNSAMPLE = re.compile(r"(?:^|\.)stages\.(\d+)\.downsample\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:patch_embed\.|absolute_pos_embed$)")


def build_optimizer(
    model: nn.Module,
    config: OptimizerConfig,
    *,
    lr: float | None = None,
    fused: bool = True,
    dimensions: Mapping[str, int] | None = None,
) -> Optimizer:
    """Return the optimiser over `model`'s trainable parameters.

    Args:
        model: the network.
        config: the optimiser's settings.
        lr: peak learning rate, if not config.lr (scaled with the batch, say).
        fused: one kernel a step; off under fp16 loss scaling, which must unscale gradients before clipping.
        dimensions: dimensions of every parameter by name, where sharding has flattened them.
    """
    groups = parameter_groups(model, config, lr=config.lr if lr is None else lr, dimensions=dimensions)
    if config.name == "sgd":
        return SGD(groups, momentum=config.momentum, nesterov=config.momentum > 0, fused=fused)
    return AdamW(groups, betas=config.betas, eps=config.eps, fused=fused)


def parameter_groups(
    model: nn.Module, config: OptimizerConfig, *, lr: float, dimensions: Mapping[str, int] | None = None
) -> list[dict[str, Any]]:
    """Split the trainable parameters by weight decay and depth.

    Weight decay is 0 for absolute_pos_embed and relative_position_bias_table, and for biases and other 1-d
    parameters (A2.1), or for layer norms alone (`config.no_decay`). With layer decay g, layer k of L (see
    `layer_id`; the head is L) has learning rate lr * g ** (L - k).

    Returns:
        Optimiser groups, first layer first, each {"params", "lr", "weight_decay", "names", "layer"}.
    """
    depths = stage_depths(model)
    last = sum(depths) + 1
    layer_norms = None if config.no_decay == "vectors" else layer_norm_parameters(model)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for full_name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        name = full_name.replace(_SHARDED, "")
        decays = has_weight_decay(name, dimensions[name] if dimensions else parameter.ndim, layer_norms)
        layer = last if config.layer_decay == 1 else layer_id(name, depths)
        if (layer, decays) not in groups:
            groups[layer, decays] = {
                "params": [],
                "names": [],
                "layer": layer,
                "lr": lr * config.layer_decay ** (last - layer),
                "weight_decay": config.weight_decay if decays else 0.0,
            }
        groups[layer, decays]["params"].append(parameter)
        groups[layer, decays]["names"].append(name)
    return [groups[key] for key in sorted(groups)]


def has_weight_decay(name: str, dimensions: int, layer_norms: Set[str] | None = None) -> bool:
    """Whether the parameter of this name and number of dimensions is pulled towards zero.

    Args:
        name: as in the state dict.
        dimensions: of its shape.
        layer_norms: names of the parameters that are spared beside position tables; None: every vector is.
    """
    if name.endswith(_NO_DECAY):
        return False
    if layer_norms is not None:
        return name not in layer_norms
    return dimensions > 1 and not name.endswith(".bias") and name != "bias"


def layer_norm_parameters(model: nn.Module) -> set[str]:
    """Return the names of all layer norms' parameters."""
    return {
        f"{path}.{name}".removeprefix(".").replace(_SHARDED, "")
        for path, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for name, _ in module.named_parameters()
    }


def layer_id(name: str, depths: tuple[int, ...]) -> int:
    """Return the depth of a parameter: patch embedding 0, then one a block, final norm and head last.

    The downsampling at the start of a stage belongs to the first block of that stage.

    Args:
        name: as in the state dict.
        depths: blocks of each stage.
    """
    if _EMBEDDING.search(name):
        return 0
    if found := _BLOCK.search(name):
        return 1 + sum(depths[: int(found[1])]) + int(found[2])
    if found := _DOWNSAMPLE.search(name):
        return 1 + sum(depths[: int(found[1])])
    return sum(depths) + 1


def stage_depths(model: nn.Module) -> tuple[int, ...]:
    """Count the blocks of each stage from the parameters' names; () for a model without stages."""
    depths: dict[int, int] = {}
    for name, _ in model.named_parameters():
        if found := _BLOCK.search(name):
            stage, block = int(found[1]), int(found[2])
            depths[stage] = max(depths.get(stage, 0), block + 1)
    return tuple(depths[stage] for stage in sorted(depths))
