"""Exported files compute what the model computes, or are not written."""

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import swinkit
from swinkit.backbones import SwinConfig, SwinMixerConfig, build_backbone
from swinkit.deploy import export
from swinkit.deploy.export import READERS, SUFFIXES, Target
from swinkit.deploy.measure import relative_error
from swinkit.deploy.packages import missing
from swinkit.spec import from_dict

module = sys.modules["swinkit.deploy.export"]


def name(folder: Path, to: str) -> Path:
    for package in {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "torch": ()}[to]:
        if missing(package):
            pytest.skip(f"{package} is not installed")
    return folder / f"model{SUFFIXES[to]}"


def outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        out = model(images)
    return [out] if isinstance(out, Tensor) else out


@pytest.mark.parametrize("to", ["onnx", "openvino", "torch"])
def test_a_classifier_of_any_batch(to: Target, classifier, tmp_path):
    path = name(tmp_path, to)
    done = export(classifier, path, to=to, pictures=[torch.rand(3, 32, 32)])
    assert done.error < 1e-5
    assert (1, 3, 32, 32) in done.checked
    assert {item.suffix for item in tmp_path.iterdir()} == {path.suffix} | (
        {".bin"} if to == "openvino" else set()
    )
    for batch in (1, 4):
        images = torch.randn(batch, 3, 32, 32)
        found = READERS[to](path)(images)
        torch.testing.assert_close(found, outputs(classifier, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("to", ["onnx", "openvino"])
@pytest.mark.parametrize("policy", ["clamp", "clamp_axis", "pad", "pad_axis"])
def test_any_height_and_width(to: Target, policy, tmp_path):
    model = build_backbone(replace(backbone_config(), window_policy=policy)).eval()
    path = name(tmp_path, to)
    done = export(model, path, to=to, dynamic=True)
    assert len({shape[2:] for shape in done.checked}) == 2
    run = READERS[to](path)
    for size in ((32, 32), (41, 67), (5, 40), (7, 9)):
        images = torch.randn(2, 3, *size)
        torch.testing.assert_close(run(images), outputs(model, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("position", ["none", "relative_without_appearance"])
def test_dynamic_positions(position, tmp_path):
    model = build_backbone(replace(backbone_config(), position=position, qkv_bias=False)).eval()
    assert export(model, name(tmp_path, "onnx"), to="onnx", dynamic=True).error < 1e-5


@pytest.mark.parametrize("position", ["absolute", "both", "none", "relative_without_appearance"])
def test_fixed_positions_and_another_size(position, tmp_path):
    model = build_backbone(replace(backbone_config(), position=position)).eval()
    path = name(tmp_path, "onnx")
    assert export(model, path, to="onnx", size=(27, 45)).error < 1e-5
    images = torch.randn(2, 3, 27, 45)
    torch.testing.assert_close(READERS["onnx"](path)(images), outputs(model, images), rtol=1e-4, atol=1e-5)


def test_a_mixer(tmp_path):
    config = SwinMixerConfig(
        img_size=(32, 32), embed_dim=8, depths=(2,), num_heads=(2,), window_size=4, out_indices=(0,)
    )
    model = build_backbone(config).eval()
    path = name(tmp_path, "onnx")
    assert export(model, path, to="onnx").error < 1e-5
    with pytest.raises(swinkit.InputError, match="only a Swin Transformer exports with dynamic"):
        export(model, path, to="onnx", dynamic=True)


def test_the_description_is_inside(classifier, tmp_path):
    path = name(tmp_path, "onnx")
    export(classifier, path, to="onnx")
    import onnx

    found = {item.key: item.value for item in onnx.load(path).metadata_props}
    assert from_dict(json.loads(found["swinkit"])) == classifier.spec


def test_a_backbone_says_how_its_pictures_are_prepared(classifier, tmp_path):
    path = name(tmp_path, "onnx")
    export(classifier.backbone, path, to="onnx", preprocess=classifier.spec.preprocess)
    found = READERS["onnx"](path)
    assert len(found(torch.zeros(1, 3, 32, 32))) == 1
    import onnx

    said = json.loads({item.key: item.value for item in onnx.load(path).metadata_props}["swinkit"])
    assert said["preprocess"]["mean"] == list(classifier.spec.preprocess.mean)
    assert said["config"]["embed_dim"] == 8


@pytest.mark.parametrize("to", ["onnx", "openvino", "torch"])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_stopped_in_the_middle_leaves_nothing(to: Target, stop, classifier, tmp_path, monkeypatch):
    path = name(tmp_path, to)

    def write(model, temporary, plan):
        temporary.write_text("half")
        temporary.with_suffix(".bin").write_text("half")
        raise stop

    monkeypatch.setattr(module, f"_write_{to}", write)
    with pytest.raises(stop):
        export(classifier, path, to=to)
    assert not list(tmp_path.iterdir())


FULL = """
import resource, signal, sys, torch
from swinkit import InputError
from swinkit.backbones import SwinConfig, build_backbone
from swinkit.deploy import export

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
config = SwinConfig(
    img_size=(16, 16), embed_dim=32, depths=(1,), num_heads=(1,), window_size=2, out_indices=(0,)
)
model = build_backbone(config).eval()
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
for to, ending in (("onnx", "onnx"), ("torch", "pt2"), ("openvino", "xml")):
    if to not in sys.argv[2:]:
        continue
    try:
        export(model, f"{sys.argv[1]}/model.{ending}", to=to)
    except InputError as error:
        assert "could not write" in str(error), error
    else:
        raise AssertionError(to)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on a file's size stands for a full disk")
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    targets = ["torch"]
    if not (missing("onnx") or missing("onnxruntime")):
        targets.append("onnx")
    if not (missing("onnx") or missing("openvino")):
        targets.append("openvino")
    command = [sys.executable, "-c", FULL, str(tmp_path), *targets]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_file_that_the_format_cannot_hold_is_refused(classifier, tmp_path, monkeypatch):
    path = name(tmp_path, "onnx")
    monkeypatch.setattr("swinkit.deploy.onnx_nodes.LARGEST", 1000)
    with pytest.raises(swinkit.InputError, match="an ONNX file holds 2: choose a smaller size"):
        export(classifier, path, to="onnx")
    assert not list(tmp_path.iterdir())


def test_eight_bits_come_close(classifier, tmp_path):
    path = name(tmp_path, "onnx")
    draw = torch.Generator().manual_seed(1)
    pictures = [torch.randn(3, 32, 32, generator=draw) for _ in range(8)]
    done = export(classifier, path, to="onnx", calibration=pictures)
    assert 1e-4 < done.error < 0.3
    exact = READERS["onnx"](path)(torch.stack(pictures))
    assert relative_error(exact, outputs(classifier, torch.stack(pictures))) < 0.3
    export(classifier, tmp_path / "float.onnx", to="onnx")
    import onnx

    kinds = [node.op_type for node in onnx.load(path).graph.node]
    linear = sum(isinstance(item, nn.Linear) for item in classifier.modules())
    assert kinds.count("QuantizeLinear") >= linear


def test_a_wrong_file_does_not_take_its_place(classifier, tmp_path, monkeypatch):
    path = name(tmp_path, "openvino")
    path.write_text("before")
    monkeypatch.setattr(module, "relative_error", lambda *_: 0.5)
    with pytest.raises(RuntimeError, match="differs from the model by 5"):
        export(classifier, path, to="openvino")
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "before"


def test_a_missing_package_is_named(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr("swinkit.deploy.packages.find_spec", lambda _: None)
    with pytest.raises(swinkit.InputError, match=r"needs the onnx package: pip install 'swinkit\[deploy\]'"):
        export(classifier, tmp_path / "x.onnx", to="onnx")


def test_rejects(classifier, tmp_path):
    onnx_path, torch_path = tmp_path / "x.onnx", tmp_path / "x.pt2"
    with pytest.raises(swinkit.InputError, match=r"a file for torch ends in \.pt2; got x\.onnx"):
        export(classifier, onnx_path, to="torch")
    with pytest.raises(swinkit.InputError, match=r"torch\.export does not keep the height and width"):
        export(classifier, torch_path, to="torch", dynamic=True)
    with pytest.raises(swinkit.InputError, match=r"8 bits are for --to onnx and openvino"):
        export(classifier, torch_path, to="torch", calibration=[torch.zeros(3, 32, 32)])
    with pytest.raises(swinkit.InputError, match="at least one picture"):
        export(classifier, onnx_path, to="onnx", calibration=[])
    with pytest.raises(swinkit.InputError, match="not a Linear"):
        export(nn.Linear(1, 1), onnx_path, to="onnx")
    four = replace(backbone_config(), depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), out_indices=(0, 1, 2, 3))
    segmenter = swinkit.create_segmenter(four, num_classes=2)
    with pytest.raises(swinkit.InputError, match=r"not a Segmenter: export the backbone inside it"):
        export(segmenter, onnx_path, to="onnx")
    for size in ((0, 32), (32, -1)):
        with pytest.raises(swinkit.InputError, match="a height and a width in pixels"):
            export(classifier, name(tmp_path, "onnx"), to="onnx", size=size)
    for picture in (torch.zeros(3, 16, 32), torch.zeros(1, 3, 32, 32), torch.zeros(3, 32, 32).double()):
        with pytest.raises(swinkit.InputError, match=r"pictures must be \(3, 32, 32\) of float32"):
            export(classifier, name(tmp_path, "onnx"), to="onnx", pictures=[picture])
        with pytest.raises(swinkit.InputError, match=r"pictures must be \(3, 32, 32\) of float32"):
            export(classifier, name(tmp_path, "onnx"), to="onnx", calibration=[picture])
    with pytest.raises(swinkit.InputError, match=r"must be tensors .* got str"):
        export(classifier, onnx_path, to="onnx", pictures=["a.png"])  # type: ignore[list-item]
    with pytest.raises(swinkit.InputError, match="holds NaN or infinity: leave it out"):
        export(classifier, onnx_path, to="onnx", calibration=[torch.full((3, 32, 32), float("nan"))])
    broken = copy.deepcopy(classifier)
    nn.init.constant_(broken.head.weight, float("inf"))
    with pytest.raises(swinkit.InputError, match="outputs are not finite: its weights hold NaN"):
        export(broken, onnx_path, to="onnx")
    with pytest.raises(swinkit.InputError, match="could not write"):
        export(classifier, Path("/proc/no/such/model.pt2"), to="torch")
    absolute = build_backbone(replace(backbone_config(), position="absolute"))
    with pytest.raises(swinkit.InputError, match="an absolute position embedding is resized"):
        export(absolute, name(tmp_path, "onnx"), to="onnx", dynamic=True)
    assert not list(tmp_path.iterdir())


def backbone_config() -> SwinConfig:
    return SwinConfig(
        img_size=(32, 32),
        patch_size=2,
        embed_dim=8,
        depths=(2, 2),
        num_heads=(1, 2),
        window_size=4,
        out_indices=(0, 1),
    )
