"""Strict loading, and the few changes it makes: windows, positions, channels, heads."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import swinkit
from swinkit.backbones import build_backbone
from swinkit.backbones.config import SwinConfig, SwinMixerConfig
from swinkit.classification import Classifier, build_classifier
from swinkit.ops.windows import expand_bias
from swinkit.spec import ClassifierConfig, ModelSpec, swin_config
from swinkit.weights import infer_spec, load_weights
from swinkit.weights.adapters import from_swinkit
from swinkit.weights.classes import imagenet_names, rows_of_1k_in_22k
from swinkit.weights.resize import adapt_input_channels, resize_bias_table, resize_positions

BASE = SwinConfig(
    img_size=(64, 64), embed_dim=8, depths=(2, 2), num_heads=(1, 2), window_size=4, out_indices=(1,)
)


def _model(config: SwinConfig | SwinMixerConfig = BASE, num_classes: int = 3) -> Classifier:
    return build_classifier(
        ModelSpec(config=ClassifierConfig(backbone=config, num_classes=num_classes))
    ).eval()


def _change(**changes: object) -> SwinConfig:
    return dataclasses.replace(BASE, **changes)  # type: ignore[arg-type]


def test_same_model_takes_everything() -> None:
    source, target = _model(), _model()
    report = load_weights(target, source.state_dict())
    assert (report.resized, report.fresh, report.unused) == ([], [], [])
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(source(image), target(image))


@pytest.mark.parametrize("window", [6, (4, 6), (7, 3)])
def test_another_window_interpolates_the_tables(window: int | tuple[int, int]) -> None:
    source, target = _model(), _model(_change(window_size=window))
    report = load_weights(target, source.state_dict())
    assert len(report.resized) == 4
    assert all(key.endswith("relative_position_bias_table") for key in report.resized)
    assert target(torch.randn(1, 3, 64, 64)).shape == (1, 3)


def test_tables_from_a_window_that_is_not_square() -> None:
    source = _model(_change(window_size=(4, 6)))
    exact, resized = _model(_change(window_size=(4, 6))), _model(_change(window_size=5))
    assert not load_weights(exact, source.state_dict()).resized
    with pytest.raises(swinkit.InputError, match="not square"):
        load_weights(resized, source.state_dict())
    assert len(load_weights(resized, source.state_dict(), spec=source.spec).resized) == 4


def test_a_resized_table_keeps_a_smooth_bias() -> None:
    """A bias linear in the offset stays so, but for the half pixel by which the ends move."""
    rows, columns = torch.meshgrid(torch.arange(-6.0, 7), torch.arange(-6.0, 7), indexing="ij")
    table = torch.stack([rows.flatten(), columns.flatten()], 1)
    bias = expand_bias(resize_bias_table(table, (7, 7), (12, 12)), (12, 12))
    assert bias.shape == (2, 144, 144)
    assert torch.equal(bias[:, 5, 5], bias[:, 77, 77])
    assert bias[0, 11 * 12, 0] == pytest.approx(6.0, abs=0.6)
    assert bias[1, 11, 0] == pytest.approx(6.0, abs=0.6)
    assert bias[0, 0, 11] == pytest.approx(0.0, abs=1e-5)


def test_tables_are_resized_as_the_published_fine_tuning_code_does() -> None:
    table = torch.randn(49, 3)
    expected = F.interpolate(table.T.reshape(1, 3, 7, 7), size=(13, 13), mode="bicubic", align_corners=False)
    assert torch.equal(resize_bias_table(table, (4, 4), (7, 7)), expected.reshape(3, 169).T)


def test_absolute_positions_are_interpolated() -> None:
    source = _model(_change(position="both"))
    target = _model(_change(position="both", img_size=(96, 64)))
    report = load_weights(target, source.state_dict())
    assert report.resized == ["backbone.absolute_pos_embed"]
    flat = torch.full((1, 4, 4, 2), 3.0)
    assert torch.allclose(resize_positions(flat, (6, 9)), torch.full((1, 6, 9, 2), 3.0))


def test_absolute_positions_are_resized_bicubically() -> None:
    grid = torch.randn(1, 3, 4, 2)
    picture = grid.permute(0, 3, 1, 2)
    expected = F.interpolate(picture, size=(5, 7), mode="bicubic", align_corners=False).permute(0, 2, 3, 1)
    assert torch.equal(resize_positions(grid, (5, 7)), expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 8])
def test_other_input_channels_answer_a_grey_picture_alike(channels: int) -> None:
    weight = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    grey = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    expected = F.conv2d(grey.expand(-1, 3, -1, -1), weight, stride=4)
    adapted = adapt_input_channels(weight, channels)
    assert torch.allclose(F.conv2d(grey.expand(-1, channels, -1, -1), adapted, stride=4), expected)


def test_one_channel_models_take_three_channel_weights() -> None:
    source, target = _model(), _model(_change(in_chans=1))
    assert load_weights(target, source.state_dict()).resized == ["backbone.patch_embed.proj.weight"]
    grey = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(target(grey), source(grey.expand(-1, 3, -1, -1)), atol=1e-5)


def test_a_head_of_other_classes_is_an_error_unless_asked_for() -> None:
    source, target = _model(num_classes=7), _model()
    fresh = {key: value.clone() for key, value in target.head.state_dict().items()}
    with pytest.raises(swinkit.InputError, match="a head of 7 classes, the model a head of 3 classes"):
        load_weights(target, source.state_dict())
    report = load_weights(target, source.state_dict(), replace_head=True)
    assert report.unused == report.fresh == ["head.weight", "head.bias"]
    assert all(torch.equal(target.head.state_dict()[key], value) for key, value in fresh.items())


def test_22k_heads_give_their_1k_rows() -> None:
    rows = rows_of_1k_in_22k()
    assert len(set(rows)) == len(imagenet_names()) == 1000
    assert max(rows) < 21841
    source, target = _model(num_classes=21841), _model(num_classes=1000)
    load_weights(target, source.state_dict(), replace_head=True)
    wanted, got = source.head.state_dict(), target.head.state_dict()
    assert torch.equal(got["weight"][850], wanted["weight"][rows[850]])
    assert torch.equal(got["bias"], wanted["bias"][list(rows)])


def test_a_backbone_takes_a_classifier() -> None:
    source, trunk = _model(), build_backbone(_change(out_indices=(0, 1)))
    report = load_weights(trunk, source.state_dict())
    assert report.unused == ["head.weight", "head.bias"]
    assert report.fresh == ["norms.0.weight", "norms.0.bias"]
    assert torch.equal(trunk.state_dict()["norms.1.weight"], source.state_dict()["backbone.norms.1.weight"])


def test_a_classifier_takes_a_backbone_with_a_new_head() -> None:
    trunk, target = build_backbone(_change(out_indices=(0, 1))), _model()
    with pytest.raises(swinkit.InputError, match="the file has no head, the model a head of 3 classes"):
        load_weights(target, trunk.state_dict())
    report = load_weights(target, trunk.state_dict(), replace_head=True)
    assert report.fresh == ["head.weight", "head.bias"]
    assert report.unused == ["backbone.norms.0.weight", "backbone.norms.0.bias"]


def test_another_variant_is_named() -> None:
    source = swinkit.create_model("swin_tiny_patch4_window7_224", num_classes=3)
    with pytest.raises(swinkit.InputError) as caught:
        load_weights(_model(), source.state_dict())
    message = str(caught.value)
    assert "The file is swin_tiny_patch4_window7_224, 3 classes" in message
    assert "keys the model does not have" in message
    assert "embed_dim 8" in message


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_any_other_difference_names_the_keys(change: str) -> None:
    state = from_swinkit(_model().state_dict(), "timm", _model().spec) if change == "shape" else {}
    state = state or _model().state_dict()
    if change == "missing":
        del state["backbone.stages.0.blocks.1.mlp.fc2.bias"]
        expected = r"1 parameters missing.*stages\.0\.blocks\.1\.mlp\.fc2\.bias"
    elif change == "unexpected":
        state["backbone.stages.1.blocks.2.norm1.weight"] = torch.ones(16)
        expected = r"1 keys the model does not have.*stages\.1\.blocks\.2\.norm1\.weight"
    else:
        state["norm.weight"] = torch.ones(5)
        expected = r"1 of another shape.*norms\.1\.weight \(5,\) for \(16,\)"
    with pytest.raises(swinkit.InputError, match=expected):
        load_weights(_model(), state)


def test_a_bias_table_in_another_order_is_noticed() -> None:
    state = from_swinkit(_model().state_dict(), "official", _model().spec)
    key = "layers.0.blocks.0.attn.relative_position_index"
    state[key] = state[key].T.contiguous()
    with pytest.raises(
        swinkit.InputError, match=r"layers\.0\.blocks\.0\.attn\.relative_position_index orders"
    ):
        load_weights(_model(), state)


def _half_size(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.half() for key, value in state.items()}


def test_half_precision_files_fill_a_float_model() -> None:
    source, target = _model(), _model()
    load_weights(target, _half_size(source.state_dict()))
    got, wanted = target.state_dict()["head.weight"], source.state_dict()["head.weight"]
    assert got.dtype == torch.float32
    assert torch.allclose(got, wanted, atol=1e-3)


MIXER = SwinMixerConfig(
    img_size=(64, 64), embed_dim=8, depths=(2, 2), num_heads=(1, 2), window_size=4, out_indices=(1,)
)


@pytest.mark.parametrize(
    "config",
    [
        BASE,
        _change(img_size=(64, 128)),
        _change(position="both", img_size=(64, 128)),
        _change(qkv_bias=False, patch_norm=False, mlp_ratio=2.0),
        _change(patch_size=2, in_chans=4, img_size=(32, 32)),
        _change(depths=(2, 4, 2, 2), num_heads=(1, 2, 4, 8), img_size=(128, 128), out_indices=(3,)),
        _change(window_size=((8, 8), (4, 4))),
        _change(window_size=(4, 8), img_size=(64, 128)),
        MIXER,
    ],
)
def test_official_files_tell_the_whole_configuration(config: SwinConfig | SwinMixerConfig) -> None:
    model = _model(config)
    fmt = "official" if isinstance(config, SwinConfig) else "official_mlp"
    spec = infer_spec(from_swinkit(model.state_dict(), fmt, model.spec))
    wanted = dataclasses.replace(config, drop_path_rate=swin_config(spec).drop_path_rate)
    if isinstance(
        config, SwinMixerConfig
    ):  # nothing in its file tells the size; one window on the last stage
        wanted = dataclasses.replace(wanted, img_size=swin_config(spec).img_size)
    assert swin_config(spec) == wanted
    assert spec.config.num_classes == 3


def test_the_file_name_tells_the_size_where_the_tensors_do_not() -> None:
    model = swinkit.create_model("swin_base_patch4_window12_384", num_classes=2)
    state = from_swinkit(model.state_dict(), "timm", model.spec)
    assert infer_spec(state).name == "swin_base_patch4_window12_384"
    assert swin_config(infer_spec(state, "swin_base_patch4_window12_480")).img_size == (480, 480)
    assert infer_spec(state).preprocess.crop_ratio is None
