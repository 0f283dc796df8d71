"""The form of a model for fused kernels, here on plain PyTorch; tests/ops/fused_cases.py runs its kernels."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from swinkit.backbones import SwinMixerConfig, TimmConfig, build_backbone, build_trunk
from swinkit.classification import Classifier
from swinkit.deploy import FusedModel, engines, fuse
from swinkit.deploy.packages import missing
from swinkit.errors import InputError
from swinkit.ops import triton_support

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"position": "both"},
        {"position": "none", "qkv_bias": False},
        {"position": "relative_without_appearance"},
        {"window_policy": "pad", "out_indices": (0,)},
        {"patch_norm": False, "mlp_ratio": 2.5, "shift": False},
    ],
)
def test_a_backbone_computes_the_same(changes, backbone):
    """Also where windows are padded, and merging: a padded token's q, k, v are without the norm's shift."""
    model = build_backbone(replace(backbone.config, **changes)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    fused = fuse(model)
    with torch.no_grad():
        for images in (torch.randn(2, 3, 32, 32), torch.randn(1, 3, 27, 41)):
            expected, got = model(images), fused(images)
            assert len(got) == len(expected)
            for a, b in zip(expected, got, strict=True):
                torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)


def test_a_classifier_computes_the_same(classifier, images):
    with torch.no_grad():
        torch.testing.assert_close(fuse(classifier)(images), classifier(images), rtol=1e-4, atol=1e-5)
        classifier.reset_head(0)
        torch.testing.assert_close(fuse(classifier)(images), classifier(images), rtol=1e-4, atol=1e-5)
        assert fuse(classifier)(images[:0]).shape == (0, 16)


def test_it_shares_nothing_and_keeps_the_dtype(classifier, images):
    fused = fuse(classifier.double())
    assert isinstance(fused, FusedModel)
    before = fused(images.double())
    for parameter in classifier.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(fused(images.double()), before)
    assert before.dtype == torch.float64
    assert not any(parameter.requires_grad for parameter in fused.parameters())


def test_rejects(classifier):
    mixer = build_backbone(
        SwinMixerConfig(
            img_size=(32, 32), embed_dim=8, depths=(1,), num_heads=(1,), window_size=4, out_indices=(0,)
        )
    )
    for model in (mixer, Classifier(mixer, 3)):
        with pytest.raises(InputError, match="cannot fuse: a SwinMixer mixes tokens without attention"):
            fuse(model)
    with pytest.raises(InputError, match="cannot fuse: a Linear is not a Swin classifier or backbone"):
        fuse(nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"expected pictures \(B, 3, H, W\); got shape \(1, 4, 8, 8\)"):
        fuse(classifier)(torch.zeros(1, 4, 8, 8))


def test_engines_are_for_a_gpu_and_say_why_not(classifier, monkeypatch):
    for name in ("fused", "fused-graphs"):
        reason = engines.can_run(name, classifier, torch.device("cpu"), torch.float32)
        assert reason == "it is for cuda, not for cpu"
        monkeypatch.setattr(triton_support, "missing", lambda device: f"no {device}")
        assert engines.can_run(name, classifier, CUDA, torch.float16) == "no cuda"
        monkeypatch.setattr(triton_support, "missing", lambda device: None)
        assert engines.can_run(name, classifier, CUDA, torch.float16) is None
        assert "not a Swin" in str(engines.can_run(name, nn.Linear(2, 2), CUDA, torch.float16))
    classifier.head.register_forward_hook(lambda *_: None)
    assert "forward hooks" in str(engines.can_run("fused", classifier, CUDA, torch.float16))


def test_an_engine_compiles_the_fused_form(classifier, images, monkeypatch):
    """The builder of the two engines, with torch's compiler left out: form, dtypes and outputs."""
    seen = []

    def compiler(module, **options):
        seen.append((type(module), next(module.parameters()).dtype, options["options"]))
        return module

    monkeypatch.setattr(torch, "compile", compiler)
    for name in ("fused", "fused-graphs"):
        out = engines.ENGINES[name].build(classifier, images, torch.bfloat16)(images)
        assert isinstance(out, torch.Tensor)
        assert out.dtype == torch.float32
        with torch.no_grad():
            assert (out - classifier(images)).abs().max() < 0.1 * out.abs().max()
    assert [item[:2] for item in seen] == [(FusedModel, torch.bfloat16)] * 2
    assert "triton.cudagraphs" not in seen[0][2]
    assert seen[1][2]["triton.cudagraphs"]


def test_models_of_others_have_no_fused_form():
    if missing("timm"):
        pytest.skip("timm is not installed")
    model = build_trunk(TimmConfig(name="resnet10t", out_indices=(1, 2)))
    with pytest.raises(InputError, match="a TimmBackbone is not a Swin"):
        fuse(model)
