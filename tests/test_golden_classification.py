"""Classifiers give the published code's outputs and gradients from its own weights."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import swinkit
from golden_cases import IMPLS, Case, assert_close, assert_gradients, cases, meta_state
from swinkit.backbones.config import SwinMixerConfig
from swinkit.backbones.cost import count_flops
from swinkit.backbones.pyramid import Pyramid, Stage
from swinkit.classification import Classifier, build_classifier
from swinkit.ops import Implementation
from swinkit.spec import swin_config
from swinkit.weights import detect_format, from_swinkit, infer_spec, load_weights
from swinkit.weights.models import Checkpoint, build

CASES = cases("classifier")


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients(case: Case, impl: Implementation) -> None:
    spec, io, weights = case.spec(), case.io, case.weights
    model = build_classifier(spec, attention_impl=impl).eval()
    report = load_weights(model, weights)
    assert not report.fresh
    assert not report.unused
    assert not report.resized
    image = io["image"].requires_grad_()
    logits = model(image)
    assert_close(logits, io["logits"], "logits")
    loss = nn.functional.cross_entropy(logits, io["target"])
    assert_close(loss.view(1), io["loss"], "loss")
    loss.backward()
    assert image.grad is not None
    assert_close(image.grad, io["image_grad"], "image_grad")
    assert_gradients(model, report.format, spec, io)


@pytest.mark.parametrize("case", CASES)
def test_maps_of_every_stage(case: Case) -> None:
    io = case.io
    model = build_classifier(case.spec(), attention_impl="reference").eval()
    load_weights(model, case.weights)
    with torch.no_grad():
        maps = _published_maps(model.backbone, io["image"])
    assert any(key.startswith("after_layer") for key in io)
    for key in io:
        if key.startswith("after_"):
            assert_close(maps[key], io[key], key)


@pytest.mark.parametrize("case", CASES)
def test_load_rebuilds_the_model_from_the_file_alone(case: Case, tmp_path: Path) -> None:
    torch.save({"model": case.weights}, tmp_path / "some_name.pth")
    config = swin_config(case.spec())
    wide = config.img_size[0] != config.img_size[1]
    if isinstance(config, SwinMixerConfig) and config.absolute_pos_embed and wide:
        with pytest.raises(swinkit.InputError, match="not the map of a square picture"):
            swinkit.load(tmp_path / "some_name.pth")
        return
    model = swinkit.load(tmp_path / "some_name.pth")
    assert isinstance(model, Classifier)
    with torch.no_grad():
        assert_close(model(case.io["image"]), case.io["logits"], "logits")


@pytest.mark.parametrize("case", CASES)
def test_back_to_the_official_format_is_identical(case: Case) -> None:
    weights = case.weights
    fmt = detect_format(weights)
    model = build_classifier(case.spec())
    load_weights(model, weights)
    back = from_swinkit(model.state_dict(), fmt, case.spec())
    assert back.keys() == weights.keys()
    for key, value in weights.items():
        assert torch.equal(back[key], value), key


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("change", ["drop", "add"])
def test_a_missing_or_foreign_key_is_named(case: Case, change: str) -> None:
    weights = case.weights
    if change == "drop":
        del weights["layers.0.blocks.0.norm2.bias"]
        expected = r"stages\.0\.blocks\.0\.norm2\.bias"
    else:
        weights["layers.0.blocks.0.gate"] = torch.zeros(1)
        expected = r"layers\.0\.blocks\.0\.gate"
    with pytest.raises(swinkit.InputError, match=expected):
        load_weights(build_classifier(case.spec()), weights)


def _key_names() -> list[str]:
    sizes = [f"{size}_patch4_window7_224" for size in ("tiny", "small", "base", "large")]
    big = [f"{size}_patch4_window12_384" for size in ("base", "large")]
    names = [f"swin_{size}" for size in (*sizes[:3], *(f"{size}_22k" for size in sizes))]
    names += [f"swin_{size}_{kind}" for size in big for kind in ("22k", "22kto1k")]
    names += ["swin_large_patch4_window7_224_22kto1k", "swin_tiny_c24_patch4_window8_256"]
    names += [f"swin_mlp_tiny_{heads}_patch4_window8_256" for heads in ("c24", "c12", "c6")]
    return [*names, "swin_mlp_base_patch4_window7_224"]


@pytest.mark.parametrize("name", _key_names())
def test_full_size_checkpoints_map_key_by_key(name: str, golden_dir: Path) -> None:
    state, parameters = meta_state(golden_dir / "keys" / f"{name}.json")
    spec = infer_spec(state)
    assert name.startswith(spec.name)
    assert spec.name
    with torch.device("meta"):
        model = build(Checkpoint(Path(name), state, detect_format(state), spec))
    report = load_weights(model, state)
    assert (report.resized, report.fresh, report.unused) == ([], [], [])
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_flops_are_those_the_published_code_counts(golden_dir: Path) -> None:
    """Theirs counts norms too and ours does not: they agree within a percent or so."""
    published = json.loads((golden_dir / "keys" / "_parameters_and_flops.json").read_text())
    for name in _key_names():
        state, _ = meta_state(golden_dir / "keys" / f"{name}.json")
        spec = infer_spec(state)
        ours = count_flops(swin_config(spec), num_classes=spec.config.num_classes)
        assert ours == pytest.approx(published[name]["flops"], rel=0.02), name


def _published_maps(backbone: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Maps by the names of the cases: there, merging closes a stage."""
    assert isinstance(backbone, Pyramid)
    named: dict[str, Tensor] = {}  # positions are part of the embedding there
    hook = backbone.pos_drop.register_forward_hook(lambda *call: named.update(after_patch_embed=call[-1]))
    maps = backbone.forward_maps(image)
    hook.remove()
    for index, stage_map in enumerate(maps):
        following = backbone.stages[index + 1] if index + 1 < len(maps) else None
        if isinstance(following, Stage):
            assert following.downsample is not None
            named[f"after_layer{index}"] = following.downsample(stage_map)
        else:
            named[f"after_layer{index}"] = stage_map
            named["after_norm"] = backbone.norms[str(index)](stage_map)
    return {key: value.flatten(1, 2) for key, value in named.items()}
