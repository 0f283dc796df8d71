"""The same model in every library, with the same weights: ours, timm's, torchvision's, Hugging Face's."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from swinkit.backbones import SwinConfig
from swinkit.bench.outcome import Unavailable
from swinkit.bench.workload import Workload
from swinkit.classification import Classifier
from swinkit.errors import InputError
from swinkit.ops.windows import to_pair
from swinkit.spec import swin_config
from swinkit.weights import from_swinkit

NAMES_SINCE_5 = (
    (r"attention\.self\.(query|key|value)\.", lambda found: f"attention.{found[1][0]}_proj."),
    (r"attention\.self\.relative", lambda _: "attention.relative_position_bias.relative"),
    (r"attention\.output\.dense", lambda _: "attention.o_proj"),
    (r"(?<!attention\.)intermediate\.dense", lambda _: "mlp.fc1"),
    (r"(?<!attention\.)output\.dense", lambda _: "mlp.fc2"),
)
"""Hugging Face's published names -> those its library has since version 5."""


class OursMaps(nn.Module):
    """The trunk's maps before any norm, (B, H_i, W_i, C_i)."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.model.backbone.forward_maps(images)


class TimmMaps(nn.Module):
    """The same of a timm model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.model.forward_intermediates(images, output_fmt="NCHW", intermediates_only=True)
        return [x.permute(0, 2, 3, 1) for x in maps]


class TorchvisionMaps(nn.Module):
    """The same of a torchvision model, whose features are patch embedding, stage, merging, stage, ..."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.features = model.features

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for number, part in enumerate(self.features):
            images = part(images)
            if number % 2:
                maps.append(images)
        return maps


class Logits(nn.Module):
    """A Hugging Face classifier that gives a tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).logits


def build(library: str, workload: Workload, ours: Classifier) -> nn.Module:
    """The library's model with the weights of `ours`, in evaluation mode on the CPU.

    Its `forward` gives logits (B, K), or for `workload.step` "maps" a list of (B, H_i, W_i, C_i).

    Raises:
        Unavailable: the library is not installed, or has no such model.
    """
    model = LIBRARIES[library](workload, ours)
    return model.eval()


def weights_of(library: str, ours: Classifier) -> dict[str, Tensor]:
    """The state of `ours` under the library's names.

    Raises:
        Unavailable: the library computes something else at this size, or has no place for a weight.
    """
    try:
        return from_swinkit(ours.state_dict(), library, ours.spec)
    except InputError as error:
        raise Unavailable(str(error)) from error


def _swinkit(workload: Workload, ours: Classifier) -> nn.Module:
    model = workload.build()
    model.load_state_dict(ours.state_dict())
    return OursMaps(model) if workload.step == "maps" else model


def _timm(workload: Workload, ours: Classifier) -> nn.Module:
    try:
        from timm.models.swin_transformer import SwinTransformer  # noqa: PLC0415  # an optional package
    except ImportError as error:
        raise Unavailable("timm is not installed") from error
    config = swin_config(ours.spec)
    assert isinstance(config, SwinConfig)
    model = SwinTransformer(
        img_size=config.img_size,
        patch_size=_patch(config),
        in_chans=config.in_chans,
        num_classes=ours.spec.config.num_classes,
        embed_dim=config.embed_dim,
        depths=config.depths,
        num_heads=config.num_heads,
        window_size=_window(config),
        drop_path_rate=0.0,
    )
    model.load_state_dict(weights_of("timm", ours))
    return TimmMaps(model) if workload.step == "maps" else model


def _torchvision(workload: Workload, ours: Classifier) -> nn.Module:
    from torchvision.models import SwinTransformer  # noqa: PLC0415  # its models take a second to import

    config = swin_config(ours.spec)
    assert isinstance(config, SwinConfig)
    model = SwinTransformer(
        patch_size=[_patch(config)] * 2,
        embed_dim=config.embed_dim,
        depths=list(config.depths),
        num_heads=list(config.num_heads),
        window_size=[_window(config)] * 2,
        stochastic_depth_prob=0.0,
        num_classes=ours.spec.config.num_classes,
    )
    model.load_state_dict(weights_of("torchvision", ours))
    return TorchvisionMaps(model) if workload.step == "maps" else model


def _hugging_face(workload: Workload, ours: Classifier) -> nn.Module:
    if workload.step == "maps":
        raise Unavailable("not compared as a pyramid: its hidden states lie behind each merging")
    try:
        from transformers.models import swin  # noqa: PLC0415  # an optional package
    except ImportError as error:
        raise Unavailable("transformers is not installed") from error
    config = swin_config(ours.spec)
    assert isinstance(config, SwinConfig)
    if config.img_size[0] != config.img_size[1]:
        raise Unavailable("it is laid out for square pictures only")
    settings = swin.SwinConfig(
        image_size=config.img_size[0],
        patch_size=_patch(config),
        num_channels=config.in_chans,
        embed_dim=config.embed_dim,
        depths=list(config.depths),
        num_heads=list(config.num_heads),
        window_size=_window(config),
        drop_path_rate=0.0,
    )
    settings.num_labels = ours.spec.config.num_classes
    model = swin.SwinForImageClassification(settings)
    weights = weights_of("huggingface", ours)
    expected = model.state_dict()
    if not weights.keys() <= expected.keys():
        weights = {_since_5(key): value for key, value in weights.items()}
    model.load_state_dict(weights)
    return Logits(model)


LIBRARIES: dict[str, Callable[[Workload, Classifier], nn.Module]] = {
    "swinkit": _swinkit,
    "timm": _timm,
    "torchvision": _torchvision,
    "huggingface": _hugging_face,
}
"""Library, as `swinkit.weights` names its format -> its model."""


def named_gradients(library: str, model: nn.Module) -> dict[str, Tensor]:
    """Gradients of a library's model under its names, without the prefixes of our wrappers."""
    inner = model.model if isinstance(model, (Logits, OursMaps, TimmMaps)) else model
    assert isinstance(inner, nn.Module)
    return {key: value.grad for key, value in inner.named_parameters() if value.grad is not None}


def _since_5(key: str) -> str:
    for old, new in NAMES_SINCE_5:
        key = re.sub(old, new, key)
    return key


def _patch(config: SwinConfig) -> int:
    rows, columns = to_pair(config.patch_size)
    if rows != columns:
        raise Unavailable("its patches are square")
    return rows


def _window(config: SwinConfig) -> int:
    if not isinstance(config.window_size, int):
        raise Unavailable("compared with one square window for all stages only")
    return config.window_size


def to_device(model: nn.Module, workload: Workload) -> nn.Module:
    """On the workload's device; in its precision, but for training, which autocasts over float32."""
    dtype = torch.float32 if workload.step == "training" else workload.torch_dtype
    return model.to(torch.device(workload.device), dtype)
