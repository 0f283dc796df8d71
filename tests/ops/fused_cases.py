"""What Triton's interpreter is asked of the fused kernels; run by test_fused_interpreted.py in a process of
its own, because TRITON_INTERPRET has to be set before Triton is first imported.
"""

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from swinkit.backbones import SwinConfig, build_backbone
from swinkit.classification import Classifier
from swinkit.deploy import fuse
from swinkit.ops.fused import can_run, linear_add, merge_norm_linear, mlp, norm_linear

configs = importlib.import_module("swinkit.ops.fused.triton_configs")
op = importlib.import_module("swinkit.ops.fused.triton_op")

FUNCTIONS: dict[str, Any] = {"norm": norm_linear, "add": linear_add, "mlp": mlp, "merge": merge_norm_linear}
HALF, FULL = (torch.bfloat16, torch.float16), (torch.float32,)


def make(name: str, shape: tuple[int, ...], columns: int, mean: float = 0.0) -> list[Tensor]:
    """Operands of one function: x of `shape`, and `columns` of the result or of the hidden layer."""
    torch.manual_seed(0)
    C = shape[-1] * (4 if name == "merge" else 1)
    x, weight = torch.randn(shape) + mean, torch.randn(columns, C) * C**-0.5
    operands = [x, weight, torch.randn(columns)]
    if name == "add":
        operands.append(torch.randn(*shape[:-1], columns))
    if name == "mlp":
        operands += [torch.randn(C, columns) * columns**-0.5, torch.randn(C)]
    return operands


@pytest.mark.parametrize("mean", [0.0, 30.0])
@pytest.mark.parametrize(
    ("name", "shape", "columns", "dtypes", "options"),
    [
        ("norm", (70, 96), 100, HALF, {}),  # two pieces of a row; a last block of columns that is not full
        ("norm", (5, 128), 64, HALF, {"gelu": True}),
        ("norm", (3, 24), 40, HALF + FULL, {}),
        ("norm", (70, 96), 100, FULL, {"gelu": True}),
        ("norm", (3, 320), 40, HALF + FULL, {}),  # rows too long to keep
        ("add", (70, 96), 96, HALF + FULL, {}),
        ("add", (3, 384), 96, HALF, {}),
        ("mlp", (130, 96), 150, HALF, {}),
        ("mlp", (3, 192), 96, HALF, {}),
        ("mlp", (2, 3, 24), 40, HALF + FULL, {}),
        ("mlp", (3, 256), 96, HALF, {}),  # two launches
        ("merge", (2, 5, 8, 32), 64, HALF + FULL, {}),
        ("merge", (1, 4, 3, 24), 40, HALF + FULL, {}),
        ("merge", (1, 1, 1, 40), 24, HALF, {}),
    ],
)
def test_values(name, shape, columns, dtypes, options, mean):
    """Each error is at most twice that of plain PyTorch in the same precision, and rounding."""
    function = FUNCTIONS[name]
    for dtype in dtypes:
        given = [item.to(dtype) for item in make(name, shape, columns, mean)]
        exact = function(*(item.double() for item in given), impl="reference", **options)
        same = function(*given, impl="reference", **options)
        got = function(*given, impl="triton", **options)
        assert got.dtype == dtype
        assert got.shape == same.shape
        allowed = 2 * (same.double() - exact).abs().max() + torch.finfo(dtype).eps * exact.abs().max()
        assert (got.double() - exact).abs().max() <= allowed, dtype


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_memory_around_and_before(name, dtype, monkeypatch):
    """Around the operands lies NaN, which a read too far would find; NaN fills every new buffer, which a
    forgotten write would leave.
    """
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)

    def surround(item: Tensor) -> Tensor:
        buffer = torch.full((item.numel() + 2000,), float("nan"), dtype=dtype)
        buffer[1000 : 1000 + item.numel()] = item.flatten()
        return buffer[1000 : 1000 + item.numel()].view(item.shape)

    given = [surround(item) for item in make(name, (1, 3, 5, 24), 40)]
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        assert FUNCTIONS[name](*given, impl="triton").isfinite().all()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_memory_that_is_strided_or_empty(name):
    given = make(name, (2, 3, 5, 24), 40)
    expected = FUNCTIONS[name](*given, impl="triton")
    strided = [
        item.mT.contiguous().mT if item.dim() > 1 else item[:, None].repeat(1, 2)[:, 0] for item in given
    ]
    assert not any(item.is_contiguous() for item in strided)
    assert torch.equal(FUNCTIONS[name](*strided, impl="triton"), expected)
    empty = [item[:0] if item.dim() == 4 else item for item in given]
    assert FUNCTIONS[name](*empty, impl="triton").shape == (0, *expected.shape[1:])


def test_without_a_bias():
    for name in ("norm", "merge"):
        x, weight, _ = make(name, (1, 3, 5, 24), 40)
        got, expected = (FUNCTIONS[name](x, weight, impl=impl) for impl in ("triton", "reference"))
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("operator", "name", "options"),
    [
        ("linear_op", "norm", (None, True, 1e-5, True, False)),
        ("linear_op", "add", (False, 1e-5, False, False)),
        ("merging_op", "merge", (1e-5, False)),
        ("mlp_op", "mlp", (1e-5, False)),
    ],
)
def test_operator_checks(operator, name, options):
    """Schemas and fakes."""
    given = make(name, (1, 3, 2, 24), 40)
    checks = ["test_schema", "test_faketensor"]
    torch.library.opcheck(getattr(op, operator), (*given, *options), test_utils=checks)


def test_operator_compiles_once_for_all_sizes():
    count = importlib.import_module("torch._dynamo.testing").CompileCounterWithBackend("aot_eager")

    def block(x: Tensor, weight: Tensor, back: Tensor, merge: Tensor) -> Tensor:
        hidden = norm_linear(x, weight, impl="triton")
        return merge_norm_linear(linear_add(hidden, back, None, x, impl="triton"), merge, impl="triton")

    compiled = torch.compile(block, fullgraph=True, backend=count, dynamic=True)
    torch.manual_seed(0)
    weights = torch.randn(40, 16), torch.randn(16, 40), torch.randn(24, 64)
    for size in ((2, 5, 6), (3, 4, 9), (2, 3, 4)):
        x = torch.randn(*size, 16)
        assert torch.equal(compiled(x, *weights), block(x, *weights))
    graphs = [graph for graph in count.graphs if "swinkit.fused_merging" in str(graph.graph)]
    assert len(graphs) == 1


def test_operator_has_no_gradients():
    x, weight, bias = make("norm", (2, 24), 40)
    assert can_run(x, weight, bias) is None
    weight.requires_grad_()
    reason = "they have no gradients: call under torch.no_grad()"
    assert can_run(x, weight, bias) == reason
    with torch.no_grad():
        assert can_run(x, weight, bias) is None
    assert can_run(x, weight.double(), bias) == "they need every operand in torch.float32 on cpu"
    assert can_run(x.double()) == "they need float16, bfloat16 or float32, got torch.float64"


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_model_on_kernels(dtype, close):
    """A toy Swin with padded windows, a shift, an odd merging: every launch of its form, interpreted, and in
    float32 traced in one graph, as the engines have it compiled.
    """
    torch.manual_seed(0)
    config = SwinConfig(
        img_size=(20, 28), patch_size=4, embed_dim=16, depths=(2, 1), num_heads=(1, 2), window_size=4,
        window_policy="pad", out_indices=(1,),
    )  # fmt: skip
    model = Classifier(build_backbone(config), 5).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    images = torch.randn(1, 3, 20, 28)
    with torch.no_grad():
        expected = model(images)
        fused = fuse(model.to(dtype), impl="triton")
        if dtype == torch.float32:
            fused = torch.compile(fused, fullgraph=True, dynamic=False, backend="aot_eager")
        got = fused(images.to(dtype)).float()
    assert (got - expected).abs().max() <= close * expected.abs().max()
