"""`swinkit.optimize`: right answers, an honest report, and a choice that is remembered."""

import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import nn

import swinkit
from swinkit.backbones import SwinConfig, TimmConfig, build_backbone, build_trunk
from swinkit.deploy import ENGINES, Optimized, optimize
from swinkit.deploy import optimized as module
from swinkit.deploy.engines import can_run
from swinkit.deploy.packages import missing

FLOAT32 = torch.float32
CPU = torch.device("cpu")
QUICK = ["plain", "eager"]


def here(name: str, model: nn.Module) -> str:
    reason = can_run(name, model, CPU, FLOAT32)
    if reason is not None:
        pytest.skip(reason)
    return name


@pytest.mark.parametrize("name", ["plain", "eager", "onnxruntime", "openvino"])
def test_every_engine_computes_the_same(name, classifier, images):
    fast = optimize(classifier, images, engines=[here(name, classifier)], dtype=FLOAT32)
    assert fast.engine == name
    with torch.no_grad():
        for batch in (images, torch.randn(3, 3, 32, 32), torch.randn(1, 3, 27, 40), images[..., ::2]):
            torch.testing.assert_close(fast(batch), classifier(batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["eager", "onnxruntime", "openvino"])
def test_pyramids(name, backbone, images):
    fast = optimize(backbone, images, engines=[here(name, backbone)], dtype=FLOAT32)
    assert fast.channels == backbone.channels
    assert fast.strides == backbone.strides
    with torch.no_grad():
        expected = backbone(images)
    for a, b in zip(expected, fast(images), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)


def test_inductor():
    config = SwinConfig(
        img_size=(16, 16), embed_dim=8, depths=(1,), num_heads=(1,), window_size=2, out_indices=(0,)
    )
    model = build_backbone(config).eval()
    images = torch.randn(1, 3, 16, 16)
    fast = optimize(model, images, engines=[here("inductor", model)], dtype=FLOAT32)
    with torch.no_grad():
        torch.testing.assert_close(fast(images), model(images), rtol=1e-4, atol=1e-5)


def test_the_report_says_what_was_tried_and_why_not(classifier, images, monkeypatch):
    monkeypatch.setattr("swinkit.deploy.engines.missing", lambda name: f"{name} is not installed: pip x")
    monkeypatch.setitem(ENGINES, "inductor", replace(ENGINES["inductor"], quick=False))
    report = optimize(classifier, images, dtype=FLOAT32).report
    assert {item.engine for item in report.candidates} == {*QUICK, "native", "onnxruntime", "openvino"}
    by_name = {item.engine: item for item in report.candidates}
    assert by_name["onnxruntime"].reason == "onnxruntime is not installed: pip x"
    assert by_name["onnxruntime"].milliseconds is None
    assert by_name["plain"].error == 0
    assert 0 < by_name["eager"].error < 1e-5
    assert report.milliseconds == min(item.milliseconds for item in report.candidates if item.milliseconds)
    assert "not installed: pip x" in str(report)
    assert f"{report.engine} in float32 for 2x3x32x32" in str(report)


def test_the_choice_is_remembered_for_this_model_and_shape(classifier, images, monkeypatch):
    first = optimize(classifier, images, engines=QUICK)
    assert not first.report.remembered
    attempts = []
    for name in QUICK:
        own = ENGINES[name]
        spy = lambda *args, own=own, name=name: attempts.append(name) or own.build(*args)  # noqa: E731
        monkeypatch.setitem(ENGINES, name, replace(own, build=spy))
    again = optimize(classifier, images, engines=QUICK)
    assert again.report.remembered
    assert again.engine == first.engine
    assert attempts == ["plain", again.engine]  # the first one is the comparison
    assert {item.engine for item in again.report.candidates} == set(QUICK)
    assert not optimize(classifier, images, engines=QUICK, remember=False).report.remembered
    assert not optimize(classifier, images[:1], engines=QUICK).report.remembered


def test_a_broken_memory_costs_a_measurement_only(classifier, images, tmp_path, monkeypatch):
    monkeypatch.setenv("SWINKIT_CACHE", str(tmp_path))
    optimize(classifier, images, engines=QUICK)
    (kept,) = (tmp_path / "optimize").iterdir()
    kept.write_text("{")
    assert not optimize(classifier, images, engines=QUICK).report.remembered
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWINKIT_CACHE", str(tmp_path / "file"))
    assert optimize(classifier, images, engines=QUICK).engine in QUICK


@pytest.mark.parametrize("change", [{"engine": "abacus"}, {"candidates": [{}]}, {"shape": 3}, "text", []])
def test_a_memory_that_says_something_else_costs_a_measurement_only(
    change, classifier, images, tmp_path, monkeypatch
):
    monkeypatch.setenv("SWINKIT_CACHE", str(tmp_path))
    optimize(classifier, images, engines=QUICK)
    (kept,) = (tmp_path / "optimize").iterdir()
    kept.write_text(json.dumps(json.loads(kept.read_text()) | change if isinstance(change, dict) else change))
    report = optimize(classifier, images, engines=QUICK).report
    assert not report.remembered
    assert report.engine in QUICK
    assert "ms" in str(report)
    assert optimize(classifier, images, engines=QUICK).report.remembered  # it was written anew


def test_a_remembered_engine_that_fails_now_is_replaced(classifier, images, monkeypatch):
    first = optimize(classifier, images, engines=QUICK)
    (other,) = {*QUICK} - {first.engine}

    def fail(*_):
        raise OSError("a library is\n missing")

    if first.engine == "plain":  # what is right comes from it
        monkeypatch.setattr(module, "relative_error", lambda found, _: 0.0 if calls.pop() else 1.0)
        calls = [True, False, False]
    else:
        monkeypatch.setitem(ENGINES, "eager", replace(ENGINES["eager"], build=fail))
    again = optimize(classifier, images, engines=QUICK)
    assert again.engine == other
    assert not again.report.remembered


def test_an_engine_that_fails_is_named_with_its_error(classifier, images, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such\n operator")

    monkeypatch.setitem(ENGINES, "eager", replace(ENGINES["eager"], build=fail))
    report = optimize(classifier, images, engines=QUICK, remember=False).report
    assert report.engine == "plain"
    assert "RuntimeError: no such operator" in str(report)
    with pytest.raises(swinkit.InputError, match=r"no engine ran .* RuntimeError: no such operator"):
        optimize(classifier, images, engines=["eager"], remember=False)


def test_what_is_installed_later_is_measured(classifier, images, monkeypatch):
    """Not only what has a version in the key: a compiler, or the onnx package."""
    monkeypatch.setitem(ENGINES, "inductor", replace(ENGINES["inductor"], quick=False))
    absent = lambda name: f"{name} is not installed"  # noqa: E731
    monkeypatch.setattr("swinkit.deploy.engines.missing", absent)
    assert not optimize(classifier, images).report.remembered
    assert optimize(classifier, images).report.remembered
    monkeypatch.setattr(
        "swinkit.deploy.engines.missing", lambda name: absent(name) if name == "openvino" else None
    )
    assert not optimize(classifier, images).report.remembered


def test_two_threads_share_it(classifier, images):
    fast = optimize(classifier, images, engines=["eager"])
    batches = [torch.randn(1, 3, side, 20) for side in range(20, 32, 2)] * 3
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(fast, batches))
    for a, b in zip(found, batches, strict=True):
        torch.testing.assert_close(a, classifier(b), rtol=1e-4, atol=1e-5)


def test_a_batch_of_none(classifier, images):
    assert optimize(classifier, images, engines=["eager"])(images[:0]).shape == (0, 5)


@pytest.mark.parametrize("name", QUICK)
def test_a_head_trains_on_what_comes_out(name, backbone, images):
    maps = optimize(backbone, images, engines=[name])(images)
    head = nn.Conv2d(maps[0].shape[1], 2, 1)
    head(maps[0]).sum().backward()
    assert head.weight.grad is not None


def test_hooks_are_called_or_the_engine_says_that_it_would_not(classifier, images):
    calls = []
    classifier.head.register_forward_hook(lambda *_: calls.append(1))
    report = optimize(classifier, images, engines=["plain"]).report
    assert calls
    assert report.engine == "plain"
    with pytest.raises(swinkit.InputError, match="forward hooks, which a folded form would not call"):
        optimize(classifier, images, engines=["eager"])


def test_an_engine_that_computes_wrongly_is_not_chosen(classifier, images, monkeypatch):
    wrong = replace(ENGINES["eager"], build=lambda *args: lambda x: torch.full((len(x), 5), float("nan")))
    monkeypatch.setitem(ENGINES, "eager", wrong)
    report = optimize(classifier, images, engines=QUICK, remember=False).report
    assert report.engine == "plain"
    assert "above" in next(item.reason for item in report.candidates if item.engine == "eager")
    with pytest.raises(
        swinkit.InputError, match=r"no engine ran within max_error 0.03: eager in float32: err"
    ):
        optimize(classifier, images, engines=["eager"], dtype=FLOAT32, remember=False)


def test_bfloat16_on_request(classifier, images):
    fast = optimize(classifier, images, engines=["eager"], dtype=torch.bfloat16, max_error=0.2)
    assert fast(images).dtype == torch.float32
    assert fast.report.dtype == "torch.bfloat16"
    assert 1e-4 < fast.report.error < 0.2
    assert next(classifier.parameters()).dtype == torch.float32
    with pytest.raises(swinkit.InputError, match="above"):
        optimize(classifier, images, engines=["eager"], dtype=torch.bfloat16, max_error=1e-6)


def test_bfloat16_is_computed_in_float32_where_the_chip_only_emulates_it(classifier, images, monkeypatch):
    monkeypatch.setattr(module, "has_bfloat16", lambda: False)
    monkeypatch.setattr(module, "ENGINES", {name: module.ENGINES[name] for name in ("plain", "eager")})
    fast = optimize(classifier, images.bfloat16(), dtype=torch.bfloat16, remember=False)
    assert {item.dtype for item in fast.report.candidates} == {"torch.float32"}
    assert fast(images.bfloat16()).dtype == torch.bfloat16
    monkeypatch.setattr(module, "has_bfloat16", lambda: True)
    report = optimize(classifier, images, dtype=torch.bfloat16, max_error=0.5, remember=False).report
    assert {item.dtype for item in report.candidates} == {"torch.bfloat16"}


def test_bfloat16_is_tried_where_the_chip_has_it(classifier, images, monkeypatch):
    monkeypatch.setattr(module, "has_bfloat16", lambda: True)
    report = optimize(classifier, images, engines=QUICK, max_error=0.5).report
    assert len({(item.engine, item.dtype) for item in report.candidates}) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engines": ["abacus"]}, "unknown engine 'abacus': choose from plain, eager"),
        ({"engines": ["inductor-graphs"]}, "'inductor-graphs' cannot run here: it is for cuda, not for cpu"),
        ({"engines": "eager"}, "engines takes a list of names, or None; got 'eager'"),
        ({"engines": []}, r"engines takes a list of names, or None; got \[\]"),
        ({"max_error": float("nan")}, "max_error is a share of the largest output, such as 0.03; got nan"),
        ({"max_error": "3%"}, "max_error is a share"),
        ({"dtype": torch.float16}, "dtype on cpu must be one of"),
        ({"engines": ["onnxruntime"], "dtype": torch.bfloat16}, "does not compute in bfloat16"),
        ({"example": torch.zeros(3, 32, 32)}, r"pictures \(B, in_chans, H, W\), at least one; got \(3, 32"),
        ({"example": torch.zeros(0, 3, 32, 32)}, "at least one"),
        ({"example": torch.zeros(1, 4, 32, 32)}, r"expected pictures \(B, 3, H, W\)"),
        ({"example": torch.zeros(1, 3, 32, 32, dtype=torch.uint8)}, "floating point"),
        ({"example": torch.zeros(1, 3, 32, 32, device="meta")}, "on cpu, where the model is"),
        ({"model": "swin"}, "optimize takes a model, as swinkit.load returns; got str"),
        ({"model": nn.Linear(3, 3)}, "a Linear has no convolution that reads pictures"),
    ],
)
def test_rejects(classifier, images, changes, message):
    arguments = {"model": classifier, "example": images, **changes}
    with pytest.raises(swinkit.InputError, match=message):
        optimize(**arguments)


def test_an_optimised_model_only_infers(classifier, images):
    fast = optimize(classifier.train(), images, engines=["eager"])
    assert classifier.training
    assert isinstance(fast, Optimized)
    assert not list(fast.parameters())
    assert fast.spec == classifier.spec
    assert not fast.eval()(images).requires_grad
    with pytest.raises(swinkit.InputError, match="expected a tensor of pictures; got NoneType"):
        fast(None)
    with pytest.raises(swinkit.InputError, match="only infers"):
        fast.train()


@pytest.mark.parametrize("name", ["plain", "eager", "onnxruntime", "openvino"])
@pytest.mark.parametrize("again", ["copied", "saved"])
def test_one_that_was_copied_or_saved_gives_the_same(name, again, classifier, images, tmp_path):
    fast = optimize(classifier, images, engines=[here(name, classifier)])
    expected = fast(images)
    if again == "saved":
        torch.save(fast, tmp_path / "fast.pt")
        other = torch.load(tmp_path / "fast.pt", weights_only=False)
    else:
        other = copy.deepcopy(fast)
    assert (other.engine, other.dtype, other.report) == (fast.engine, fast.dtype, fast.report)
    assert other.spec == classifier.spec
    for parameter in classifier.parameters():
        parameter.data.zero_()  # not the other's
    torch.testing.assert_close(other(images), expected, rtol=1e-4, atol=1e-5)
    assert len(other._forms) == 1


def test_one_that_was_saved_says_what_is_missing_where_it_is_used(classifier, images, monkeypatch):
    fast = pickle.loads(pickle.dumps(optimize(classifier, images, engines=[here("onnxruntime", classifier)])))
    monkeypatch.setattr("swinkit.deploy.engines.missing", lambda name: f"{name} is not installed")
    with pytest.raises(
        swinkit.InputError, match="engine 'onnxruntime', which cannot run here: onnxruntime is"
    ):
        fast(images)


@pytest.mark.parametrize("name", QUICK)
def test_the_model_s_mode_is_its_own(name, images):
    config = SwinConfig(
        img_size=(32, 32), embed_dim=8, depths=(2,), num_heads=(1,), window_size=4, out_indices=(0,)
    )
    model = swinkit.create_model(config, num_classes=5, drop_path_rate=0.9).train()
    fast = optimize(model, images, engines=[name])
    assert fast.source is model
    assert model.training
    expected = model.eval()(images)
    model.train()
    torch.testing.assert_close(fast(images), expected, rtol=1e-4, atol=1e-5)


def test_it_stays_where_it_is(classifier, images):
    fast = optimize(classifier, images, engines=["eager"])
    assert fast.to("cpu").half() is fast  # outputs keep the caller's type
    with pytest.raises(swinkit.InputError, match="optimised for cpu and stays there: move the model"):
        fast.to("meta")
    with pytest.raises(swinkit.InputError, match="is optimised already: give the one"):
        optimize(fast, images)


def test_few_sizes_are_kept(classifier, images):
    fast = optimize(classifier, images, engines=["eager"])
    for side in range(20, 32, 2):
        fast(torch.randn(1, 3, side, side))
    assert len(fast._forms) == module.MAX_SIZES


def test_a_form_for_any_size_is_built_once(classifier, images):
    fast = optimize(classifier, images, engines=["plain"])
    fast(torch.randn(3, 3, 40, 24))
    assert len(fast._forms) == 1


def test_models_without_a_folded_form_say_so(images):
    if missing("timm"):
        pytest.skip("timm is not installed")
    model = build_trunk(TimmConfig(name="resnet10t", out_indices=(1, 2))).eval()
    report = optimize(model, images, engines=["plain"]).report
    assert report.engine == "plain"
    with pytest.raises(swinkit.InputError, match="a TimmBackbone is not a Swin"):
        optimize(model, images, engines=["eager"])


def test_the_backbone_inside_a_segmenter():
    config = SwinConfig(
        img_size=(32, 32), embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2), window_size=4
    )
    model = swinkit.create_segmenter(config, num_classes=3).eval()
    images = torch.randn(1, 3, 40, 36)
    fast = optimize(model, images, engines=["eager"])
    assert type(fast) is type(model)
    assert isinstance(fast.backbone, Optimized)
    assert fast.backbone.engine == "eager"
    assert not isinstance(model.backbone, Optimized)
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(fast(images), expected, rtol=1e-4, atol=1e-5)
        again = copy.deepcopy(fast)
        torch.testing.assert_close(again(images), expected, rtol=1e-4, atol=1e-5)
        model.train()
        again = pickle.loads(pickle.dumps(optimize(model, images, engines=["eager"])))
        torch.testing.assert_close(again(images), expected, rtol=1e-4, atol=1e-5)
        assert model.training
        again.half()
        assert {item.dtype for item in model.parameters()} == {FLOAT32}
    with pytest.raises(swinkit.InputError, match="stays there"):
        fast.to("meta")


def test_the_public_name():
    assert swinkit.optimize is optimize
