"""UperNet against outputs of the published code, and its published key files, complete."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from golden_cases import ROOT, meta_state
from swinkit.backbones import SwinConfig
from swinkit.build import build_model
from swinkit.segmentation.config import InferenceConfig, LossConfig, SegmenterConfig
from swinkit.segmentation.inference import probabilities, slide
from swinkit.segmentation.losses import SegmentationLoss
from swinkit.segmentation.segmenter import Segmenter
from swinkit.spec import ModelSpec
from swinkit.weights import convert, detect_format, from_swinkit, infer_spec, load, load_weights, save
from swinkit.weights.io import spec_of

TOLERANCE = 1e-4
"""Of the tensor's largest value."""


def upernet_cases() -> list[Any]:
    """Every case whose model is an mmsegmentation UperNet; one that skips where there are none."""
    shared = Path(os.environ.get("SWINKIT_GOLDEN") or ROOT.parent.parent / "shared" / "golden")
    found = []
    for label, root in (("slim", ROOT / "golden"), ("golden", shared)):
        for path in sorted(root.glob("*/case.json")):
            config = json.loads(path.read_text()).get("config", {})
            if config.get("type") == "EncoderDecoder":
                found.append(pytest.param(path.parent, id=f"{label}-{path.parent.name}"))
    reason = "no such cases here: set SWINKIT_GOLDEN to their folder"
    return found or [pytest.param(None, marks=pytest.mark.skip(reason=reason))]


def spec_of_case(folder: Path) -> ModelSpec:
    """The model that case.json describes."""
    config = json.loads((folder / "case.json").read_text())["config"]
    trunk, head, auxiliary = config["backbone"], config["decode_head"], config.get("auxiliary_head")
    return ModelSpec(
        config=SegmenterConfig(
            backbone=SwinConfig(
                embed_dim=trunk["embed_dim"],
                depths=tuple(trunk["depths"]),
                num_heads=tuple(trunk["num_heads"]),
                window_size=trunk["window_size"],
                mlp_ratio=trunk["mlp_ratio"],
                qkv_bias=trunk["qkv_bias"],
                patch_norm=trunk["patch_norm"],
                position="both" if trunk["ape"] else "relative",
                window_policy="pad",
                drop_path_rate=trunk["drop_path_rate"],
                out_indices=tuple(trunk["out_indices"]),
            ),
            num_classes=head["num_classes"],
            channels=head["channels"],
            pool_scales=tuple(head["pool_scales"]),
            dropout=head["dropout_ratio"],
            auxiliary_channels=auxiliary["channels"] if auxiliary else 0,
            auxiliary_convs=auxiliary["num_convs"] if auxiliary else 1,
            auxiliary_index=auxiliary["in_index"] if auxiliary else 2,
        )
    )


def loaded(folder: Path) -> Segmenter:
    spec = spec_of_case(folder)
    model = build_model(spec)
    report = load_weights(model, load_file(folder / "weights.safetensors"), spec=spec)
    assert report.format == "official_upernet"
    assert (report.resized, report.fresh, report.unused) == ([], [], [])
    return model.eval()


def close(got: Tensor, wanted: Tensor, what: str) -> None:
    assert got.shape == wanted.shape, f"{what}: {tuple(got.shape)}, expected {tuple(wanted.shape)}"
    error = float((got.detach() - wanted).abs().max() / wanted.abs().max())
    assert error <= TOLERANCE, f"{what}: relative error {error:.2e}"


def thinned(x_BKHW: Tensor, io: dict[str, Tensor]) -> Tensor:
    """A slim case keeps every few pixels of the large maps."""
    step = int(io["every"]) if "every" in io else 1
    return x_BKHW[:, :, ::step, ::step]


@pytest.mark.parametrize("folder", upernet_cases())
def test_heads_and_logits_are_the_published_ones(folder: Path) -> None:
    model, io = loaded(folder), load_file(folder / "io.safetensors")
    with torch.inference_mode():
        heads = model.forward_heads(io["image"])
        close(heads.decode, io["decode_logits"], "decode head")
        if heads.auxiliary is not None:
            close(heads.auxiliary, io["auxiliary_logits"], "auxiliary head")
        close(thinned(model(io["image"]), io), io["logits"], "logits at the picture's size")


@pytest.mark.parametrize("folder", upernet_cases())
def test_sliding_crops_and_scales_are_the_published_ones(folder: Path) -> None:
    model, io = loaded(folder), load_file(folder / "io.safetensors")
    notes = json.loads((folder / "case.json").read_text())["notes"]
    sizes = re.search(r"crop (\d+)x(\d+), stride (\d+)x(\d+)", notes)
    ratios = re.search(r"ratios ([\d.]+)\.\.([\d.]+) step ([\d.]+)", notes)
    assert sizes is not None
    assert ratios is not None
    low, high, step = map(float, ratios.groups())
    scales = tuple(low + step * index for index in range(round((high - low) / step) + 1))
    rows, columns, down, across = map(int, sizes.groups())
    image = io["image"]
    with torch.inference_mode():
        got = slide(model, image, (rows, columns), (down, across))
        close(thinned(got, io), io["slide_logits"], "sliding crops")
        config = InferenceConfig(scales=scales, flip=True)
        got = probabilities(model, image, (image.shape[2], image.shape[3]), config)
        close(thinned(got, io), io["multi_scale_flip_probabilities"], "scales and mirrors")


@pytest.mark.parametrize("folder", upernet_cases())
def test_losses_and_gradients_are_the_published_ones(folder: Path) -> None:
    io = load_file(folder / "io.safetensors")
    if "loss.decode.loss_ce" not in io:
        pytest.skip("the slim case has one picture of two and so no loss")
    model = loaded(folder)
    config = json.loads((folder / "case.json").read_text())["config"]
    weight = config["auxiliary_head"]["loss_decode"]["loss_weight"]
    losses = SegmentationLoss(LossConfig(mean_over="all", auxiliary=weight), model.config.num_classes)
    heads = model.forward_heads(io["image"])
    assert heads.auxiliary is not None
    close(losses.of_head(heads.decode, io["target"]).view(1), io["loss.decode.loss_ce"], "decode loss")
    close(weight * losses.of_head(heads.auxiliary, io["target"]).view(1), io["loss.aux.loss_ce"], "auxiliary")
    losses(heads, io["target"]).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    close(nn.utils.get_total_norm(gradients).view(1), io["grad_norm"], "gradient norm")


@pytest.mark.parametrize("folder", upernet_cases())
def test_a_case_is_recognised_by_its_keys_alone(folder: Path) -> None:
    state = load_file(folder / "weights.safetensors")
    found, wanted = infer_spec(state).config, spec_of_case(folder).config
    assert isinstance(found, SegmenterConfig)
    assert isinstance(wanted, SegmenterConfig)
    for field in ("num_classes", "channels", "auxiliary_channels", "auxiliary_index", "pool_scales"):
        assert getattr(found, field) == getattr(wanted, field), field


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large"])
def test_full_size_checkpoints_fit_key_by_key(size: str, golden_dir: Path) -> None:
    state, parameters = meta_state(golden_dir / "keys" / f"upernet_swin_{size}_patch4_window7.json")
    spec = infer_spec(state)
    assert spec.name == f"upernet_swin_{size}_patch4_window7_224"
    with torch.device("meta"):
        model = build_model(spec)
    report = load_weights(model, state, spec=spec)
    assert (report.resized, report.fresh, report.unused) == ([], [], [])
    assert sum(p.numel() for p in model.parameters()) == parameters
    back = from_swinkit(model.state_dict(), "official_upernet", spec)
    learnt = {key for key in state if not key.endswith("relative_position_index")}
    assert back.keys() == learnt
    assert all(back[key].shape == state[key].shape for key in learnt)


def test_mmsegmentation_1_files_give_the_same_model(tmp_path: Path) -> None:
    """Its backbone has other names and another merging order, the heads are named alike."""
    spec = ModelSpec(config=SegmenterConfig(backbone=_tiny_backbone(), num_classes=3, channels=8))
    model = build_model(spec).eval()
    theirs = from_swinkit(model.state_dict(), "mmseg", spec)
    assert "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight" in theirs
    assert detect_format(theirs) == "mmseg"
    meta = {"dataset_meta": {"classes": ("road", "sky", "tree")}}
    torch.save({"meta": meta, "state_dict": theirs}, tmp_path / "iter_160000.pth")
    again = load(tmp_path / "iter_160000.pth")
    assert spec_of(again).class_names == ("road", "sky", "tree")
    image = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(again(image), model(image))


@pytest.mark.parametrize("fmt", ["official_upernet", "mmseg"])
def test_converted_files_come_back_whole(fmt: str, tmp_path: Path) -> None:
    names = ("road", "sky", "tree")
    spec = ModelSpec(
        config=SegmenterConfig(backbone=_tiny_backbone(), num_classes=3, channels=8), class_names=names
    )
    model = build_model(spec).eval()
    save(model, tmp_path / "ours.safetensors")
    convert(tmp_path / "ours.safetensors", tmp_path / "theirs.pth", fmt)
    theirs = torch.load(tmp_path / "theirs.pth", weights_only=True)
    assert theirs["meta"]["CLASSES"] == names
    assert all(
        key.startswith(("backbone.", "decode_head.", "auxiliary_head.")) for key in theirs["state_dict"]
    )
    indices = [key for key in theirs["state_dict"] if key.endswith("relative_position_index")]
    assert len(indices) == 8
    again = load(tmp_path / "theirs.pth")
    assert spec_of(again).class_names == names
    image = torch.randn(1, 3, 64, 96)
    assert torch.equal(again(image), model(image))


def _tiny_backbone() -> SwinConfig:
    return SwinConfig(
        embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), window_policy="pad", drop_path_rate=0.0
    )
