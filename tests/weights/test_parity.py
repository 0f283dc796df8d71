"""timm, torchvision and Hugging Face: their random weights in our model give their logits and gradients.

Small models here; benchmarks/parity.py does the same at full size.
"""

import dataclasses
import re
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from golden_cases import assert_close
from swinkit.classification import build_classifier
from swinkit.spec import ModelSpec
from swinkit.weights import detect_format, from_swinkit, infer_spec, load_weights, to_swinkit

timm_swin = pytest.importorskip("timm.models.swin_transformer", reason="timm is an optional dependency")
hf = pytest.importorskip("transformers.models.swin", reason="transformers is an optional dependency")

DEPTHS, HEADS = (2, 2, 2), (1, 2, 4)


def _timm(**options: object) -> nn.Module:
    return timm_swin.SwinTransformer(embed_dim=8, depths=DEPTHS, num_heads=HEADS, num_classes=5, **options)


def _torchvision(window: list[int]) -> nn.Module:
    return torchvision.models.SwinTransformer(
        patch_size=[4, 4],
        embed_dim=8,
        depths=list(DEPTHS),
        num_heads=list(HEADS),
        window_size=window,
        stochastic_depth_prob=0.0,
        num_classes=5,
    )


def _hugging_face(**options: object) -> nn.Module:
    config = hf.SwinConfig(
        embed_dim=8, depths=list(DEPTHS), num_heads=list(HEADS), num_labels=5, drop_path_rate=0.0, **options
    )
    return hf.SwinForImageClassification(config)


CASES: dict[str, tuple[str, Callable[[], nn.Module], tuple[int, int]]] = {
    "timm": ("timm", lambda: _timm(img_size=112, window_size=7), (112, 112)),
    "timm-small-maps": ("timm", lambda: _timm(img_size=56, window_size=7), (56, 56)),
    "timm-wide": ("timm", lambda: _timm(img_size=(64, 128), window_size=4), (64, 128)),
    "timm-window-per-stage": ("timm", lambda: _timm(img_size=112, window_size=(7, 14, 7)), (112, 112)),
    "torchvision": ("torchvision", lambda: _torchvision([7, 7]), (112, 112)),
    "torchvision-padded": ("torchvision", lambda: _torchvision([7, 7]), (88, 120)),
    "torchvision-wide-window": ("torchvision", lambda: _torchvision([4, 6]), (96, 96)),
    "hf": ("huggingface", lambda: _hugging_face(image_size=112, window_size=7), (112, 112)),
    "hf-positions": (
        "huggingface",
        lambda: _hugging_face(image_size=64, window_size=4, use_absolute_embeddings=True),
        (64, 64),
    ),
    "hf-no-qkv-bias": (
        "huggingface",
        lambda: _hugging_face(image_size=112, window_size=7, qkv_bias=False),
        (112, 112),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_logits_and_every_gradient(name: str) -> None:
    fmt, make, size = CASES[name]
    theirs = _randomised(make())
    state = {key: value.clone() for key, value in theirs.state_dict().items()}
    assert detect_format(state) == fmt
    spec = _with_size(infer_spec(state), size)
    ours = build_classifier(spec).eval()
    report = load_weights(ours, state)
    assert (report.fresh, report.unused, report.resized) == ([], [], [])
    image = torch.randn(2, 3, *size)
    expected, logits = _logits(theirs, image), ours(image)
    assert_close(logits, expected, "logits")
    weight = torch.randn_like(expected)
    (expected * weight).mean().backward()
    (logits * weight).mean().backward()
    gradients = {key: value.grad for key, value in ours.named_parameters() if value.grad is not None}
    wanted = {key: value.grad for key, value in theirs.named_parameters() if value.grad is not None}
    assert len(wanted) == len(list(theirs.parameters()))
    published = to_swinkit(state | wanted, fmt, spec)
    assert published.keys() == gradients.keys()
    for key, gradient in gradients.items():
        error = (gradient - published[key]).abs().max() / published[key].abs().max()
        assert error < 5e-5, f"{key}: {error:.1e}"


@pytest.mark.parametrize("name", CASES)
def test_there_and_back_is_identical(name: str) -> None:
    fmt, make, size = CASES[name]
    state = make().state_dict()
    spec = _with_size(infer_spec(state), size)
    back = from_swinkit(to_swinkit(state, fmt, spec), fmt, spec)
    if fmt == "huggingface":
        back = {_since_5(key): value for key, value in back.items()}
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], value) for key, value in state.items())


def test_published_hugging_face_layout_equals_the_one_of_version_5() -> None:
    state = _hugging_face(image_size=112, window_size=7).state_dict()
    spec = infer_spec(state)
    ours = to_swinkit(state, "huggingface", spec)
    published = from_swinkit(ours, "huggingface", spec)
    assert "swin.encoder.layers.0.blocks.0.attention.self.query.weight" in published
    again = to_swinkit(published, "huggingface", spec)
    assert again.keys() == ours.keys()
    assert all(torch.equal(again[key], value) for key, value in ours.items())


def test_files_of_older_timm_are_the_official_format() -> None:
    """There, merging closes a stage, the head is `head`, and index and mask are saved."""
    model = _timm(img_size=112, window_size=7)
    state = model.state_dict()
    spec = infer_spec(state)
    ours = to_swinkit(state, "timm", spec)
    old = from_swinkit(ours, "official", spec)
    assert "layers.0.downsample.reduction.weight" in old
    assert "head.weight" in old
    assert detect_format(old) == "official"
    assert all(torch.equal(to_swinkit(old, "official", spec)[key], value) for key, value in ours.items())


def test_timm_loads_what_we_write() -> None:
    spec = infer_spec(_timm(img_size=112, window_size=7).state_dict())
    ours = build_classifier(spec).eval()
    theirs = _timm(img_size=112, window_size=7).eval()
    theirs.load_state_dict(from_swinkit(ours.state_dict(), "timm", spec), strict=True)
    image = torch.randn(1, 3, 112, 112)
    with torch.no_grad():
        assert_close(ours(image), theirs(image), "logits")


def _randomised(model: nn.Module) -> nn.Module:
    """Away from zero biases and tables, so that every parameter matters."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.5 if parameter.ndim == 1 else 0.0, std=0.1)
    return model.eval()


def _logits(model: nn.Module, image: Tensor) -> Tensor:
    output = model(image)
    return output if isinstance(output, Tensor) else output.logits


def _with_size(spec: ModelSpec, size: tuple[int, int]) -> ModelSpec:
    """As a user would say img_size=..., where the file does not tell."""
    backbone = dataclasses.replace(spec.config.backbone, img_size=size)
    return dataclasses.replace(spec, config=dataclasses.replace(spec.config, backbone=backbone))


def _since_5(key: str) -> str:
    """Published Hugging Face name -> the one its library uses since version 5."""
    table = {
        r"attention\.self\.(q)uery": r"attention.\1_proj",
        r"attention\.self\.(k)ey": r"attention.\1_proj",
        r"attention\.self\.(v)alue": r"attention.\1_proj",
        r"attention\.self\.relative": "attention.relative_position_bias.relative",
        r"attention\.output\.dense": "attention.o_proj",
        r"intermediate\.dense": "mlp.fc1",
        r"(?<!attention\.)output\.dense": "mlp.fc2",
    }
    for old, new in table.items():
        key = re.sub(old, new, key)
    return key
