"""Dense backbones give the maps and gradients of the published detection and segmentation code."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import swinkit
from golden_cases import IMPLS, Case, assert_close, assert_gradients, cases, meta_state
from swinkit.backbones import Pyramid, build_backbone
from swinkit.ops import Implementation
from swinkit.spec import swin_config
from swinkit.weights import detect_format, from_swinkit, infer_spec, load_weights

CASES = cases("dense", "mmdet3")


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("case", CASES)
def test_maps_and_gradients(case: Case, impl: Implementation) -> None:
    spec, io, weights = case.spec(), case.io, case.weights
    config = swin_config(spec)
    backbone = build_backbone(config, attention_impl=impl).eval()
    report = load_weights(backbone, weights)
    assert report.format == {"dense": "official_dense", "mmdet3": "mmdet3"}[case.kind]
    assert (report.resized, report.fresh, report.unused) == ([], [], [])
    image = io["image"].requires_grad_()
    outputs = backbone(image)
    stages = sorted(key for key in io if key.startswith("stage"))
    assert len(stages) == len(outputs)
    for key, output in zip(stages, outputs, strict=True):
        assert_close(output, io[key], key)
    if "loss" in io:
        _backward(outputs, stages, io)
        assert_gradients(backbone, report.format, spec, io)
        if "image_grad" in io:
            assert image.grad is not None
            assert_close(image.grad, io["image_grad"], "image_grad")


@pytest.mark.parametrize("prefix", ["", "backbone."])
@pytest.mark.parametrize("case", CASES)
def test_load_rebuilds_the_backbone_from_the_file_alone(case: Case, prefix: str, tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {prefix + key: value for key, value in case.weights.items()}}, tmp_path / "a.pth"
    )
    backbone = swinkit.load(tmp_path / "a.pth")
    assert isinstance(backbone, Pyramid)
    io = case.io
    stages = sorted(key for key in io if key.startswith("stage"))
    with torch.no_grad():
        for key, output in zip(stages, backbone(io["image"]), strict=True):
            assert_close(output, io[key], key)
    swinkit.weights.save(backbone, tmp_path / "own.safetensors")
    again = swinkit.load(tmp_path / "own.safetensors")
    assert isinstance(again, Pyramid)
    assert all(torch.equal(again.state_dict()[key], value) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize("case", CASES)
def test_back_to_the_published_format_is_identical(case: Case) -> None:
    weights = case.weights
    backbone = build_backbone(swin_config(case.spec()))
    load_weights(backbone, weights)
    back = from_swinkit(backbone.state_dict(), detect_format(weights), case.spec())
    learnt = {key: value for key, value in weights.items() if not key.endswith("relative_position_index")}
    assert back.keys() == learnt.keys()
    for key, value in learnt.items():
        assert torch.equal(back[key], value), key


@pytest.mark.parametrize("case", CASES)
def test_a_whole_detector_is_said_to_be_one(case: Case, tmp_path: Path) -> None:
    state = {f"backbone.{key}": value for key, value in case.weights.items()} | {
        "neck.weight": torch.zeros(1)
    }
    save_file(state, tmp_path / "detector.safetensors")
    with pytest.raises(swinkit.InputError, match=r"more than a backbone \(neck\.weight\)"):
        swinkit.load(tmp_path / "detector.safetensors")


FRAMEWORKS = [
    "upernet_swin_*",
    "mask_rcnn_swin_*",
    "cascade_mask_rcnn_swin_*",
    "mmdet3_*",
    "atss_*",
    "htc_*",
    "sparse_rcnn_*",
    "*reppointsv2_*",
]


@pytest.mark.parametrize("pattern", FRAMEWORKS)
def test_backbones_of_full_size_detectors_map_key_by_key(pattern: str, golden_dir: Path) -> None:
    paths = sorted((golden_dir / "keys").glob(f"{pattern}.json"))
    assert paths
    for path in paths:
        state, _ = meta_state(path)
        trunk = {key: value for key, value in state.items() if key.startswith("backbone.")}
        spec = infer_spec(state, path.stem)
        assert spec.name
        with torch.device("meta"):
            backbone = build_backbone(swin_config(spec))
        report = load_weights(backbone, state)
        assert (report.resized, report.fresh) == ([], [])
        assert len(report.unused) == len(state.keys() - trunk.keys())
        learnt = [value for key, value in trunk.items() if not key.endswith("relative_position_index")]
        assert sum(parameter.numel() for parameter in backbone.parameters()) == sum(
            value.numel() for value in learnt
        )


def _backward(outputs: list[Tensor], stages: list[str], io: dict[str, Tensor]) -> None:
    """The cases' loss: every map times a fixed weight, averaged."""
    loss = torch.stack(
        [
            (output * io[key.replace("stage", "loss_weight")]).mean()
            for key, output in zip(stages, outputs, strict=True)
        ]
    ).sum()
    assert_close(loss.view(1), io["loss"], "loss")
    loss.backward()
