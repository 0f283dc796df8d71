"""What the inference forms have in common: the models they are made from, and the parts of these."""

from torch import nn

from swinkit.backbones import SwinMixer, SwinTransformer
from swinkit.backbones.pyramid import Stage
from swinkit.classification import Classifier
from swinkit.deploy.float8_linear import Float8Linear

SwinModel = Classifier | SwinTransformer | SwinMixer


def why_no_form(model: nn.Module) -> str | None:
    """Return why a model has no inference form, None when it has one."""
    if not isinstance(model, SwinModel):
        return f"a {type(model).__name__} is not a Swin classifier or backbone"
    if any(isinstance(layer, Float8Linear) for layer in model.modules()):
        return "its linear layers are in float8 already: take the model that it was made from"
    return None


def why_no_kernels(model: nn.Module) -> str | None:
    """Return why a model has no form on kernels of ours for whole pieces of a block, None when it has one."""
    reason = why_no_form(model)
    if reason is None and isinstance(backbone_of(model), SwinMixer):
        return "a SwinMixer mixes tokens without attention, for which there are no kernels"
    return reason


def backbone_of(model: nn.Module) -> nn.Module:
    """The backbone of a classifier; any other model itself."""
    return model.backbone if isinstance(model, Classifier) else model


def computed_stages(backbone: SwinTransformer | SwinMixer) -> list[Stage]:
    """The stages up to the last one whose map is given out; nobody needs those behind it."""
    stages = [stage for stage in backbone.stages if isinstance(stage, Stage)]
    return stages[: max(backbone.out_indices) + 1]
