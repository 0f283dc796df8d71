"""The engine for processors with a matrix unit."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from swinkit.backbones import SwinConfig, SwinMixerConfig, build_backbone
from swinkit.classification import Classifier
from swinkit.deploy import native, optimize
from swinkit.deploy.engines import ENGINES, can_run
from swinkit.deploy.measure import output_list, relative_error
from swinkit.deploy.native import NativeModel, why_not_native
from swinkit.errors import InputError

CONFIG = SwinConfig(
    img_size=(56, 56),
    embed_dim=32,
    depths=(2, 3),
    num_heads=(1, 2),
    window_size=7,
    out_indices=(0, 1),
    window_policy="pad",
)


def make(config: SwinConfig = CONFIG, classes: int | None = None) -> nn.Module:
    torch.manual_seed(0)
    backbone = build_backbone(config if classes is None else replace(config, out_indices=(1,)))
    model = backbone if classes is None else Classifier(backbone, classes)
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=1.0 if "norm" in name and "weight" in name else 0.0, std=0.1)
    return model.eval()


REASON = why_not_native(make())
here = pytest.mark.skipif(REASON is not None, reason=f"native: {REASON}")


def errors(model: nn.Module, images: Tensor) -> tuple[float, float]:
    """Of the engine and of the model in bfloat16, both against float64."""
    with torch.no_grad():
        exact = output_list(copy.deepcopy(model).double()(images.double()))
        half = output_list(copy.deepcopy(model).bfloat16()(images.bfloat16()))
    found = output_list(ENGINES["native"].build(model, images, torch.bfloat16)(images))
    assert all(item.dtype == images.dtype for item in found)
    return relative_error(found, exact), relative_error(half, exact)


VARIANTS = {
    "usual": {},
    "padded windows": {"window_size": 6},
    "clamped windows": {"window_policy": "clamp"},
    "windows of two shapes": {"window_size": ((7, 5), (4, 6))},
    "patches of 5 x 3": {"patch_size": (5, 3)},
    "one channel": {"in_chans": 1},
    "no norm of patches": {"patch_norm": False},
    "absolute positions": {"position": "absolute"},
    "no position": {"position": "none"},
    "no bias": {"qkv_bias": False},
    "narrow heads": {"num_heads": (4, 8)},
    "wide heads": {"embed_dim": 64, "num_heads": (1, 2)},
    "one map": {"out_indices": (0,)},
}


@here
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_it_errs_about_as_much_as_the_model_in_bfloat16(options):
    config = replace(CONFIG, **options)
    images = torch.randn(2, config.in_chans, 56, 56)
    found, half = errors(make(config), images)
    assert found <= 1.5 * half


@here
@pytest.mark.parametrize("size", [(56, 56), (57, 83), (30, 31), (120, 64)])
@pytest.mark.parametrize("batch", [1, 3])
def test_any_size_and_batch(size, batch):
    found, half = errors(make(), torch.randn(batch, 3, *size))
    assert found <= 1.5 * half


@here
def test_a_classifier_gives_logits():
    found, half = errors(make(classes=7), torch.randn(3, 3, 56, 56))
    assert found <= 1.5 * half


@here
def test_some_pictures_and_rows_at_a_time_are_the_whole(monkeypatch):
    model, images = make(), torch.randn(5, 3, 56, 56)
    whole = NativeModel(model)(images)
    monkeypatch.setattr(native, "HELD", 1)
    for got, wanted in zip(NativeModel(model)(images), whole, strict=True):
        assert torch.equal(got, wanted)


@here
def test_two_threads_compute_what_one_computes():
    model, images, before = make(), torch.randn(2, 3, 56, 56), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = NativeModel(model)(images)
        torch.set_num_threads(2)
        both = NativeModel(model)(images)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(*pair) for pair in zip(alone, both, strict=True))


@here
def test_it_keeps_nothing_of_an_earlier_call_and_shares_no_weights():
    model, images = make(replace(CONFIG, position="both")), torch.randn(1, 3, 56, 56)
    fast = NativeModel(model)
    first = fast(images)
    fast(torch.full((4, 3, 90, 90), float("nan")))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert all(torch.equal(*pair) for pair in zip(first, fast(images), strict=True))


@here
def test_defaults_of_torch_do_not_matter():
    """Kernels read memory of their own types, on the CPU."""
    model, images = make(replace(CONFIG, position="both")), torch.randn(1, 3, 56, 56)
    wanted = NativeModel(model)(images)
    native.score_masks.cache_clear()
    try:
        torch.set_default_device("meta")
        torch.set_default_dtype(torch.float64)
        found = NativeModel(model)(images)
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


@here
@pytest.mark.parametrize("shape", [(1, 4, 56, 56), (1, 1, 56, 56), (3, 56, 56)])
def test_pictures_of_another_kind_are_refused(shape):
    """Their patches would be larger than the room for them."""
    with pytest.raises(InputError, match=r"expected pictures \(B, 3, H, W\) on the CPU; got \("):
        NativeModel(make())(torch.zeros(shape))


@here
def test_a_number_that_is_none_reaches_the_output():
    images = torch.randn(1, 3, 56, 56)
    images[0, 0, 3, 3] = float("nan")
    assert all(item.isnan().any() for item in NativeModel(make())(images))


@here
def test_optimize_takes_it_by_name():
    model, images = make(classes=3), torch.randn(1, 3, 56, 56)
    fast = optimize(model, images, engines=["native"], dtype=torch.bfloat16, remember=False)
    assert fast.engine == "native"
    assert fast(torch.randn(2, 3, 64, 40)).shape == (2, 3)
    assert len(fast._forms) == 1  # weights are packed once


def test_what_it_cannot_run_it_names(monkeypatch):
    cpu = torch.device("cpu")
    assert can_run("native", make(), cpu, torch.float32) == "its kernels are for bfloat16, not for float32"
    assert why_not_native(nn.Linear(2, 2)) == "a Linear is not a Swin classifier or backbone"
    mixer = build_backbone(SwinMixerConfig(embed_dim=8, depths=(1,), num_heads=(1,), out_indices=(0,)))
    assert str(why_not_native(Classifier(mixer, 3))).startswith("a SwinMixer mixes tokens without attention")
    monkeypatch.setattr(native, "why_not", lambda: "no C++ compiler")
    assert why_not_native(make()) == "no C++ compiler"
    with pytest.raises(InputError, match=r"engine .native. cannot run here: no C\+\+ compiler"):
        optimize(make(), torch.randn(1, 3, 56, 56), engines=["native"], dtype=torch.bfloat16)


@here
def test_models_without_kernels_are_named():
    thin = make(replace(CONFIG, embed_dim=24))
    assert why_not_native(thin) == "channels must be multiples of 32"
    plain = make(replace(CONFIG, position="relative_without_appearance"))
    assert why_not_native(plain) == "attention without q k^T has no kernel"


def test_a_processor_without_a_matrix_unit_is_named(monkeypatch):
    class Library:
        def has_matrix_unit(self) -> int:
            return 0

    monkeypatch.setattr(native, "why_not", lambda: None)
    monkeypatch.setattr(native, "library", Library)
    assert why_not_native(make()) == "this processor has no matrix unit for bfloat16 (AMX)"
