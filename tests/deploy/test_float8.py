"""Linear layers in float8: the numbers, what stays as it was, and who is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import swinkit
from swinkit.backbones import SwinConfig, SwinMixerConfig, build_backbone
from swinkit.deploy import Float8Linear, export, fold, fuse, to_float8
from swinkit.deploy import float8_linear as module
from swinkit.deploy.engines import can_run
from swinkit.deploy.float8_linear import emulate, fits, multiply, round_rows, why_emulated
from swinkit.deploy.measure import relative_error
from swinkit.layers.bands import rows_of_a_band
from swinkit.models import create_model

WIDE = SwinConfig(
    img_size=(32, 32),
    patch_size=2,
    embed_dim=16,
    depths=(2, 1, 2),
    num_heads=(1, 2, 4),
    window_size=4,
    out_indices=(2,),
)
"""Three stages whose channels are multiples of 16."""


@pytest.fixture
def model():
    """A classifier in three stages, weights far from zero."""
    torch.manual_seed(0)
    model = create_model(WIDE, num_classes=5)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def layer(inputs: int = 48, outputs: int = 32, *, bias: bool = True) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(inputs, outputs, bias=bias)


def rounded(x: np.ndarray) -> np.ndarray:
    """Numbers up to 448, in float8 e4m3: 3 bits behind the first, multiples of 2^-9, ties to even."""
    exponent = np.floor(np.log2(np.maximum(np.abs(x), 2.0**-20)))
    step = 2.0 ** (np.maximum(exponent, -6) - 3)
    return np.round(x / step) * step


def by_hand(x: Tensor, linear: nn.Linear) -> np.ndarray:
    """The layer in numpy, in double precision behind the roundings."""
    parts = []
    for rows in (x.float().numpy(), linear.weight.detach().float().numpy()):
        scale = np.abs(rows).max(axis=1, keepdims=True) / np.float32(448)
        parts.append(rounded((rows / scale).astype(np.float64)) * scale)
    bias = 0 if linear.bias is None else linear.bias.detach().double().numpy()
    return parts[0] @ parts[1].T + bias


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_what_numpy_says(bias):
    linear = layer(bias=bias)
    x = torch.randn(7, 48) * torch.logspace(-6, 6, 7)[:, None]
    found = Float8Linear(linear)(x).detach()
    expected = by_hand(x, linear)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max(axis=1).min())


def test_numbers_that_float8_holds_are_multiplied_exactly():
    linear = layer()
    values = torch.tensor([448.0, 1.0, -2.0, 0.5, -15.0, 0.0])
    with torch.no_grad():
        linear.weight.copy_(values[torch.randint(1, 6, (32, 48))])
        linear.weight[:, 0] = 448
        x = values[torch.randint(1, 6, (5, 48))]
        x[:, 3] = -448
        torch.testing.assert_close(Float8Linear(linear)(x), linear(x), rtol=1e-6, atol=0)


def test_the_error_is_bounded_and_usual():
    """A number is off by at most 1/16 of itself, or by half of 2^-9 of its row's scale where it is tiny."""
    linear = layer(256, 64)
    x = torch.randn(40, 256)
    with torch.no_grad():
        found, expected = Float8Linear(linear)(x), linear(x)
        largest = (
            part.abs() / 16 + part.abs().amax(dim=1, keepdim=True) / 448 * 2**-10
            for part in (x, linear.weight)
        )
        d_x, d_w = largest
        bound = d_x @ linear.weight.abs().T + x.abs() @ d_w.T + d_x @ d_w.T
        product = expected - linear.bias
    assert bool(((found - expected).abs() <= bound + 1e-4).all())
    assert 0.02 < float((found - expected).norm() / product.norm()) < 0.05


def test_rows_of_zeros_give_the_bias():
    linear = layer()
    with torch.no_grad():
        linear.weight[3] = 0
        x = torch.randn(4, 48)
        x[1] = 0
        found = Float8Linear(linear)(x)
    assert torch.equal(found[1], linear.bias)
    assert torch.equal(found[:, 3], linear.bias[3].expand(4))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_bad_number_spoils_its_own_row_only(bad):
    fast, x = Float8Linear(layer()), torch.randn(4, 48)
    spoilt = x.clone()
    spoilt[2, 5] = bad
    found = fast(spoilt)
    assert bool(found[2].isnan().all())
    assert torch.equal(found[[0, 1, 3]], fast(x)[[0, 1, 3]])


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(torch.float32, 3e38), (torch.bfloat16, 3e38), (torch.float16, 6e4), (torch.float32, 1e-30)],
)
def test_huge_and_tiny_numbers_are_scaled(dtype, size):
    fast, x = Float8Linear(layer(bias=False)), torch.rand(3, 48) * 1e-2
    x[0, 0] = 1
    small, large = fast(x), fast((x * size).to(dtype))
    assert large.dtype == dtype
    torch.testing.assert_close(large.double() / size, small.double(), rtol=0.1, atol=0.02)
    assert bool(fast(torch.full((1, 48), 1e-42)).isfinite().all())


def test_any_shape_comes_back():
    fast = Float8Linear(layer())
    for shape in ((2, 3, 4), (1,), (), (0, 5), (2, 0)):
        assert fast(torch.zeros(*shape, 48)).shape == (*shape, 32)


def test_a_row_does_not_depend_on_others_nor_on_strides():
    fast, x = Float8Linear(layer()), torch.randn(6, 48)
    torch.testing.assert_close(fast(x)[2:3], fast(x[2:3]))
    torch.testing.assert_close(fast(x.t().contiguous().t()), fast(x))


def test_other_dtypes_change_the_bias_only():
    fast = Float8Linear(layer())
    weight, scale = fast.weight_float8.clone(), fast.weight_scale.clone()
    x = torch.randn(3, 48)
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.float32):
        assert fast.to(dtype)(x.to(dtype)).dtype == dtype
        assert fast.bias is not None
        assert fast.bias.dtype == dtype
        assert torch.equal(fast.weight_float8.float(), weight.float())
        assert torch.equal(fast.weight_scale, scale)
    assert fast.to("meta").weight_float8.device.type == fast.weight_scale.device.type == "meta"


def test_the_chip_s_product_is_the_emulated_one():
    """torch has this product for a CPU, too: slow, but with the arguments a GPU takes."""
    for rows, bias in ((33, True), (33, False), (1, True)):
        linear = layer(bias=bias)
        x, x_scale = round_rows(torch.randn(rows, 48))
        fast = Float8Linear(linear)
        words = (x, x_scale, fast.weight_float8, fast.weight_scale, fast.bias)
        try:
            found = multiply(*words)
        except (RuntimeError, NotImplementedError) as error:
            pytest.skip(f"this torch has no float8 product for a CPU: {error}")
        expected = emulate(*words)
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), expected, rtol=2**-7, atol=2**-8)


def test_a_gpu_s_product_takes_these_arguments():
    """torch's own rules for float8 on CUDA, asked without one."""
    with FakeTensorMode():
        for rows in (0, 1, 2, 49):
            x, x_scale = round_rows(torch.randn(rows, 48, device="cuda").t().contiguous().t())
            weight, scale = round_rows(torch.randn(32, 48, device="cuda"))
            words = (x, x_scale, weight, scale.t().contiguous(), torch.zeros(32, device="cuda"))
            y = multiply(*words)
            assert (y.shape, y.dtype, y.device.type) == ((rows, 32), torch.bfloat16, "cuda")
        x, x_scale = round_rows(torch.randn(4, 40, device="cuda"))
        weight, scale = round_rows(torch.randn(32, 40, device="cuda"))
        with pytest.raises(RuntimeError, match="divisible by 16"):
            multiply(x, x_scale, weight, scale.t().contiguous(), None)


def capable() -> bool:
    return torch.cuda.is_available() and why_emulated(torch.device("cuda")) is None


@pytest.mark.skipif(not capable(), reason="needs a GPU with float8")
def test_on_a_gpu(model):
    images = torch.randn(4, 3, 32, 32, device="cuda")
    fast = to_float8(model.cuda(), stages=(0, 1, 2)).bfloat16()
    layers = [part for part in fast.modules() if isinstance(part, Float8Linear)]
    with torch.no_grad():
        for part in layers:
            x = torch.randn(9, part.in_features, device="cuda", dtype=torch.bfloat16)
            found = part(x)
            part.emulated = True
            torch.testing.assert_close(found, part(x), rtol=2**-6, atol=2**-6)
        emulated = fast(images.bfloat16())
    compiled = swinkit.optimize(
        model, images, engines=["float8", "float8-inductor", "float8-graphs"], max_error=0.2, remember=False
    )
    assert all(item.milliseconds for item in compiled.report.candidates)
    torch.testing.assert_close(compiled(images), emulated.float(), rtol=0.2, atol=0.2)


def test_compiled_it_is_the_same():
    """It is whole under torch.compile, and its weights stay float8 when they are frozen."""
    import torch._inductor.config as inductor

    fast, x = Float8Linear(layer()), torch.randn(5, 48)
    with torch.no_grad():
        expected = fast(x)
        found = torch.compile(fast, fullgraph=True, dynamic=False, backend="aot_eager")(x)
        torch.testing.assert_close(found, expected)
        fast.emulated = False  # torch has the product of a GPU for a CPU, too
        try:
            expected = fast(x)
        except (RuntimeError, NotImplementedError) as error:
            pytest.skip(f"this torch has no float8 product for a CPU: {error}")
        if can_run("inductor", fast, torch.device("cpu"), torch.float32) is not None:
            pytest.skip("no compiler")
        with inductor.patch(freezing=True):
            found = torch.compile(fast, fullgraph=True, dynamic=False)(x)
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=2**-8)


def names(fast: nn.Module) -> set[str]:
    return {name for name, part in fast.named_modules() if isinstance(part, Float8Linear)}


def linears(stage: int, blocks: int) -> set[str]:
    found = {
        f"backbone.stages.{stage}.blocks.{block}.{name}"
        for block in range(blocks)
        for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    }
    return found | ({f"backbone.stages.{stage}.downsample.reduction"} if stage else set())


def test_the_last_two_stages_or_those_asked_for(model):
    assert names(to_float8(model)) == linears(1, 1) | linears(2, 2)
    assert names(to_float8(model, stages=[0])) == linears(0, 2)
    assert names(to_float8(model, stages=range(3))) == linears(0, 2) | linears(1, 1) | linears(2, 2)
    backbone = build_backbone(replace(WIDE, out_indices=(0, 1)))  # the third stage is never computed
    assert {name.split(".")[1] for name in names(to_float8(backbone))} == {"0", "1"}


def test_a_model_computes_nearly_the_same_and_more_so_with_fewer_stages(model):
    images = torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        expected = model(images)
        errors = [
            float((to_float8(model, stages=stages)(images) - expected).norm() / expected.norm())
            for stages in ([2], [0, 1, 2])
        ]
    assert 1e-3 < errors[0] < errors[1] < 0.2


def test_the_model_is_left_alone(model):
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fast = to_float8(model)
    images = torch.randn(2, 3, 32, 32)
    assert model.training
    assert not fast.training
    assert not fast(images).requires_grad
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(isinstance(part, Float8Linear) for part in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    own = {value.data_ptr() for value in model.state_dict().values()}
    assert not own & {value.data_ptr() for value in fast.state_dict().values()}
    expected = fast(images)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(fast(images), expected)


def test_its_weights_take_a_quarter_and_load_again(model):
    fast, other = to_float8(model), to_float8(create_model(WIDE, num_classes=5))
    qkv = fast.get_submodule("backbone.stages.2.blocks.0.attn.qkv")
    assert isinstance(qkv, Float8Linear)
    assert qkv.weight_float8.nbytes == 64 * 192
    other.load_state_dict(fast.state_dict())
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(other(images), fast(images))


def test_a_batch_of_none_and_padded_maps(model):
    fast = to_float8(model)
    assert fast(torch.zeros(0, 3, 32, 32)).shape == (0, 5)
    images = torch.randn(1, 3, 27, 40)  # a padded token's q, k and v are the projection's bias
    with torch.no_grad():
        expected = model(images)
    assert relative_error([fast(images)], [expected]) < 0.2


def test_bands_change_nothing(model, monkeypatch):
    fast, images = to_float8(model, stages=range(3)), torch.randn(2, 3, 32, 32)
    block = fast.get_submodule("backbone.stages.0.blocks.0")
    with torch.no_grad():
        expected = fast(images)
        monkeypatch.setattr("swinkit.layers.bands.BAND_BYTES", 20000)
        assert rows_of_a_band(block, torch.zeros(2, 16, 16, 16), 64) is not None
        torch.testing.assert_close(fast(images), expected, rtol=1e-4, atol=1e-4)


def test_swin_mixer_has_its_mlps_in_float8():
    config = SwinMixerConfig(
        img_size=(32, 32),
        patch_size=2,
        embed_dim=16,
        depths=(1, 1),
        num_heads=(1, 2),
        window_size=4,
        out_indices=(0, 1),
    )
    backbone = build_backbone(config).eval()
    fast = to_float8(backbone)
    assert {name.split(".")[-1] for name in names(fast)} == {"fc1", "fc2", "reduction"}
    images = torch.randn(1, 3, 32, 32)
    for a, b in zip(fast(images), backbone(images), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0.2)


def test_layers_that_do_not_fit_stay():
    assert fits(layer(32, 16))
    assert not fits(layer(32, 24))
    assert not fits(layer(24, 32))
    assert not fits(nn.Conv2d(16, 16, 1))
    odd = build_backbone(replace(WIDE, embed_dim=8, depths=(1, 1), num_heads=(1, 2), out_indices=(0, 1)))
    fast = to_float8(odd)  # 8 channels, then 16
    assert names(fast) == {name.removeprefix("backbone.") for name in linears(1, 1)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": nn.Linear(16, 16)}, "no float8 form: a Linear is not a Swin classifier or backbone"),
        ({"stages": (3,)}, r"stages for float8 are among 0 to 2 here; got \(3,\)"),
        ({"stages": (-1,)}, r"among 0 to 2 here; got \(-1,\)"),
        ({"stages": ()}, "no linear layer whose channels are multiples of 16"),
        (
            {"model": build_backbone(replace(WIDE, embed_dim=4, out_indices=(0, 1))), "stages": (0, 1)},
            "multiples of 16",
        ),
    ],
)
def test_refusals(model, change, message):
    arguments = {"model": model, **change}
    with pytest.raises(swinkit.InputError, match=message):
        to_float8(**arguments)


def test_what_has_float8_layers_is_not_converted_or_folded_again(model, tmp_path):
    fast = to_float8(model)
    for again in (
        lambda: to_float8(fast),
        lambda: fold(fast, (32, 32)),
        lambda: fuse(fast),
        lambda: export(fast, tmp_path / "x.onnx", to="onnx"),
    ):
        with pytest.raises(
            swinkit.InputError, match="in float8 already: take the model that it was made from"
        ):
            again()


def test_a_hook_is_not_lost_silently(model):
    model.backbone.stages[2].blocks[0].mlp.fc1.register_forward_hook(lambda *_: None)
    to_float8(model, stages=[0, 1])
    with pytest.raises(swinkit.InputError, match="'fc1' has a forward hook"):
        to_float8(model)


def test_which_chips_multiply_float8(monkeypatch):
    gpu = torch.device("cuda")
    assert "not a device of type cpu" in str(why_emulated(torch.device("cpu")))
    for capability, answer in (
        ((8, 0), "float8 needs a GPU of compute capability 8.9 or more; this one has 8.0"),
        ((8, 9), None),
        ((9, 0), None),
        ((12, 0), None),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, own=capability: own)
        monkeypatch.setattr(module.torch.version, "hip", None)
        assert why_emulated(gpu) == answer
    monkeypatch.setattr(module.torch.version, "hip", "7.0")
    assert "AMD" in str(why_emulated(gpu))
