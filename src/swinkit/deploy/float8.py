"""A classifier or backbone whose linear layers multiply in float8, see `float8_linear.py`.

Norms, attention, GELU, residuals, patch embedding and head stay in the model's own dtype.
"""

import copy
from collections.abc import Sequence
from typing import TypeVar

from torch import nn

from swinkit.backbones import SwinMixer, SwinTransformer
from swinkit.deploy.float8_linear import MULTIPLE, Float8Linear, fits
from swinkit.deploy.forms import backbone_of, why_no_form
from swinkit.errors import InputError
from swinkit.layers.bands import has_hooks

Model = TypeVar("Model", bound=nn.Module)


def to_float8(model: Model, *, stages: Sequence[int] | None = None) -> Model:
    """Return a copy of a classifier or backbone, for inference, with linear layers in float8.

    These are qkv, proj, fc1 and fc2 of every block and the reduction of patch merging, as far as their
    channels are multiples of 16. It shares no weights with the model: convert again after training on.

    Args:
        model: in any mode; best in float32, so that weights are rounded once. `to(torch.bfloat16)` of what
            comes out changes everything else.
        stages: whose layers, 0-based as `out_indices`; None for the last two, which have most of the FLOPs in
            the published models.

    Raises:
        InputError: the model is neither, has no such stage or layer, or a hook on a layer would be lost.
    """
    reason = why_no_form(model)
    if reason is not None:
        raise InputError(f"no float8 form: {reason}.")
    fast = copy.deepcopy(model)
    backbone = backbone_of(fast)
    assert isinstance(backbone, SwinTransformer | SwinMixer)
    count = max(backbone.out_indices) + 1
    chosen = range(count)[-2:] if stages is None else stages
    if not set(chosen) <= set(range(count)):
        raise InputError(f"stages for float8 are among 0 to {count - 1} here; got {tuple(chosen)}.")
    places = [
        (parent, name, child)
        for index in chosen
        for parent in list(backbone.stages[index].modules())
        for name, child in parent.named_children()
        if fits(child)
    ]
    if not places:
        raise InputError(
            f"stages {tuple(chosen)} have no linear layer whose channels are multiples of {MULTIPLE}, which "
            "float8 needs: choose others."
        )
    for parent, name, child in places:
        if has_hooks(child):
            raise InputError(f"layer {name!r} has a forward hook, which its float8 form would not call.")
        assert isinstance(child, nn.Linear)
        setattr(parent, name, Float8Linear(child))
    return fast.requires_grad_(False).eval()
