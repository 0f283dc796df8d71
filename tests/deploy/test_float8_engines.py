"""Float8 among the engines of `optimize`: only when asked for, only where it runs, and within `max_error`."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import swinkit
from swinkit.backbones import SwinConfig
from swinkit.deploy import ENGINES, optimize
from swinkit.deploy import engines as module
from swinkit.deploy.engines import FLOAT8, can_run
from swinkit.models import create_model

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = SwinConfig(
        img_size=(32, 32),
        patch_size=2,
        embed_dim=16,
        depths=(1, 1),
        num_heads=(1, 2),
        window_size=4,
        out_indices=(1,),
    )
    model = create_model(config, num_classes=5)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.fixture
def here(monkeypatch):
    """Let this CPU pass for a chip that multiplies float8, with few engines, to be quick."""
    monkeypatch.setattr("swinkit.deploy.optimized.has_bfloat16", lambda: True)
    monkeypatch.setattr(module, "why_emulated", lambda _: None)
    monkeypatch.setattr(module, "_compiles", lambda *_: "no compiler")
    for name, engine in list(ENGINES.items()):
        if name in FLOAT8:
            monkeypatch.setitem(ENGINES, name, replace(engine, devices=("cpu", "cuda")))
        elif name not in ("plain", "eager"):
            monkeypatch.setitem(ENGINES, name, replace(engine, quick=False))


def test_it_is_tried_only_when_asked_for(model, images, here):
    options = {"max_error": 0.5, "remember": False}
    tried = {item.engine for item in optimize(model, images, **options).report.candidates}
    assert not tried & set(FLOAT8)
    report = optimize(model, images, float8=True, **options).report
    float8 = {item.engine: item for item in report.candidates if item.engine in FLOAT8}
    assert set(float8) == set(FLOAT8)
    assert {item.engine for item in report.candidates} == tried | set(FLOAT8)
    assert float8["float8"].dtype == "torch.bfloat16"
    assert 5e-3 < float8["float8"].error < 0.2
    assert float8["float8"].milliseconds is not None
    assert float8["float8-inductor"].reason == float8["float8-graphs"].reason == "no compiler"


def test_max_error_holds_for_it(model, images, here):
    report = optimize(model, images, float8=True, max_error=5e-3, remember=False).report
    (item,) = [item for item in report.candidates if item.engine == "float8"]
    assert item.milliseconds is None
    assert "is above 5.0e-03" in item.reason
    with pytest.raises(swinkit.InputError, match=r"no engine ran within max_error 0.005: float8.*: error"):
        optimize(model, images, engines=["float8"], max_error=5e-3, remember=False)


def test_a_choice_computes_and_is_remembered_apart(model, images, here):
    plain = optimize(model, images, engines=["plain"], max_error=0.5)
    fast = optimize(model, images, engines=["float8"], max_error=0.5)
    again = optimize(model, images, engines=["float8"], max_error=0.5)
    assert (plain.engine, fast.engine, fast.dtype) == ("plain", "float8", torch.bfloat16)
    assert again.report.remembered
    with torch.no_grad():
        for batch in (images, torch.randn(3, 3, 40, 24)):
            expected = model(batch)
            found = fast(batch)
            assert found.dtype == torch.float32
            assert 0 < float((found - expected).abs().max() / expected.abs().max()) < 0.2
    assert fast(images[:0]).shape == (0, 5)


def test_the_backbone_inside_a_segmenter(images, here):
    config = SwinConfig(
        img_size=(32, 32), embed_dim=16, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2), window_size=4
    )
    segmenter = swinkit.create_segmenter(config, num_classes=3).eval()
    fast = optimize(segmenter, images, engines=["plain"], float8=True, max_error=0.5, remember=False)
    assert {item.engine for item in fast.backbone.report.candidates} == {"plain", *FLOAT8}


def test_where_it_does_not_run_it_says_why(model, images, monkeypatch):
    with pytest.raises(
        swinkit.InputError, match="float8 cannot run here: it is for cuda, not for cpu; leave"
    ):
        optimize(model, images, float8=True)
    with pytest.raises(swinkit.InputError, match="engine 'float8' cannot run here: it is for cuda"):
        optimize(model, images, engines=["float8"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(torch.version, "hip", None)
    for name in FLOAT8:
        reason = can_run(name, model, GPU, torch.bfloat16)
        assert reason == "float8 needs a GPU of compute capability 8.9 or more; this one has 8.0"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert can_run("float8", model, GPU, torch.bfloat16) is None
    for dtype in (torch.float32, torch.float16):
        assert "computed beside bfloat16" in str(can_run("float8", model, GPU, dtype))
    assert "not a Swin" in str(can_run("float8", nn.Conv2d(3, 16, 1), GPU, torch.bfloat16))


def test_float32_and_float8_exclude_each_other(model, images, here):
    with pytest.raises(
        swinkit.InputError, match="float8 cannot run here: float8 is computed beside bfloat16"
    ):
        optimize(model, images, float8=True, dtype=torch.float32)


def test_float8_is_in_the_type_of_engines():
    from typing import get_args

    assert set(get_args(module.EngineName)) == set(ENGINES)
    assert set(FLOAT8) == {name for name in ENGINES if name.startswith("float8")}
    assert not any(ENGINES[name].quick or "cpu" in ENGINES[name].devices for name in FLOAT8)
    assert can_run("float8", nn.Identity(), CPU, torch.bfloat16) == "it is for cuda, not for cpu"
