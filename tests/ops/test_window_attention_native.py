"""What only the compiled kernels have; test_window_attention.py has what they share with the others."""

import importlib
import platform

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from swinkit.ops import Implementation, window_attention
from swinkit.ops.native import library as native_library
from swinkit.ops.window_attention import can_run, chunked

pytestmark = pytest.mark.skipif(
    native_library.why_not() is not None, reason=f"compiled kernels: {native_library.why_not()}"
)

CASES = [  # batch, map, window, shift, heads, head channels
    (2, (14, 14), (7, 7), (3, 3), 3, 32),
    (1, (13, 9), (7, 7), (3, 3), 2, 32),
    (1, (20, 17), (4, 6), (2, 0), 2, 16),
    (2, (7, 7), (7, 7), (0, 0), 2, 64),
    (1, (26, 24), (12, 12), (6, 6), 2, 32),
    (1, (5, 5), (7, 7), (3, 3), 1, 20),
    (2, (1, 23), (5, 5), (2, 2), 2, 40),
    (1, (3, 4), (2, 2), (0, 1), 3, 4),
    (1, (30, 24), (24, 24), (12, 12), 1, 32),
]


def make(case: tuple, dtype: torch.dtype) -> list[Tensor]:
    """qkv, table, padding's token, gradient of the output."""
    batch, (H, W), window, _, heads, d = case
    torch.manual_seed(0)
    rows = (2 * window[0] - 1) * (2 * window[1] - 1)
    shapes = [(batch, H, W, 3, heads, d), (rows, heads), (3, heads, d), (batch, H, W, heads * d)]
    return [torch.randn(shape, dtype=torch.float64).to(dtype) for shape in shapes]


def run(case: tuple, tensors: list[Tensor], impl: Implementation) -> list[Tensor]:
    """Output, and gradients of qkv, table and token."""
    qkv, table, pad = operands = [item.detach().requires_grad_() for item in tensors[:3]]
    out = window_attention(qkv, table, window=case[2], shift=case[3], pad_qkv=pad, impl=impl)
    return [out.detach(), *torch.autograd.grad(out, operands, tensors[3], materialize_grads=True)]


def assert_close_enough(case: tuple, dtype: torch.dtype) -> None:
    """Values and gradients err at most twice as much as the reference in the same precision."""
    tensors = make(case, dtype)
    exact = run(case, [item.double() for item in tensors], "reference")
    for got, same, wanted in zip(
        run(case, tensors, "native"), run(case, tensors, "reference"), exact, strict=True
    ):
        assert got.dtype == dtype
        slack = 4 * torch.finfo(dtype).eps * wanted.abs().max()
        assert (got - wanted).abs().max() <= 2 * (same - wanted).abs().max() + slack


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_as_exact_as_the_reference(case, dtype):
    assert_close_enough(case, dtype)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the options are for x86-64")
@pytest.mark.parametrize("march", ["x86-64", "x86-64-v3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_instruction_sets(march, dtype, tmp_path_factory, monkeypatch):
    """Vectors of 4 and of 8 numbers, and no matrix unit."""
    folder = tmp_path_factory.getbasetemp() / "native"
    found = native_library.open_library(native_library.build((f"-march={march}",), folder))
    op = importlib.import_module("swinkit.ops.window_attention.native_op")
    monkeypatch.setattr(op, "library", lambda: found)
    op.score_masks.cache_clear()
    assert not found.has_matrix_unit()
    for case in CASES:
        assert_close_enough(case, dtype)
    op.score_masks.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_default_dtype_does_not_matter(dtype):
    """Kernels read float32, whatever torch makes where nothing is said."""
    tensors = make(CASES[1], torch.float32)
    wanted = run(CASES[1], tensors, "native")
    op = importlib.import_module("swinkit.ops.window_attention.native_op")
    op.score_masks.cache_clear()
    try:
        torch.set_default_dtype(dtype)
        found = run(CASES[1], tensors, "native")
        again = op.scores_bias(None, 3, (7, 7), 0.5, op.FLOAT)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))
    assert again.dtype == torch.float32


def test_two_threads_compute_what_one_computes():
    case = (3, (13, 20), (7, 7), (3, 3), 3, 32)
    tensors, before = make(case, torch.float32), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = run(case, tensors, "native")
        torch.set_num_threads(2)
        both, again = run(case, tensors, "native"), run(case, tensors, "native")
    finally:
        torch.set_num_threads(before)
    for one, two, same in zip(alone, both, again, strict=True):
        torch.testing.assert_close(one, two)
        assert torch.equal(two, same)  # sums are always in the same order


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masked_tokens_leave_no_denormals(dtype):
    """A mask leaves e ** -100, a denormal number, whose products take a processor a hundred times as long."""
    qkv = torch.zeros(1, 14, 14, 3, 1, 16, dtype=dtype)
    qkv[0, :3, :, 2] = 1e36  # rows that share windows with the last ones, and are masked for them
    for impl in ("native", "chunked"):
        out = window_attention(qkv, None, window=(7, 7), shift=(3, 3), impl=impl)
        torch.testing.assert_close(out[0, :3], torch.full_like(out[0, :3], 1e36))
        assert not out[0, 3:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number_stays_in_its_window(bad, dtype):
    qkv = torch.randn(1, 8, 8, 3, 1, 32).to(dtype)
    qkv[0, 1, 1, 1] = bad
    out = window_attention(qkv, None, window=(4, 4), impl="native")
    assert out[0, :4, :4].isnan().all()
    assert out[0, 4:].isfinite().all()
    assert out[0, :4, 4:].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_columns_that_are_no_token_weigh_nothing_beside_the_lowest_scores(dtype):
    """N = 16 is filled up to 32 columns on the matrix unit."""
    qkv = torch.randn(1, 8, 8, 3, 1, 16).to(dtype)
    lowest = torch.full((49, 1), -torch.inf)
    assert window_attention(qkv, lowest, window=(4, 4), impl="native").isnan().all()  # as in the reference
    qkv[..., 0, :, :], qkv[..., 1, :, :], qkv[..., 2, :, :] = 1e16, -1e16, 1
    out = window_attention(qkv, None, window=(4, 4), shift=(2, 2), impl="native")
    torch.testing.assert_close(out, torch.ones_like(out))


@pytest.mark.parametrize(
    "options", [{"appearance": False}, {"scale": 0.0}, {"scale": -0.5}, {"scale": 1e-40}, {"dropout": 0.3}]
)
def test_what_it_has_no_kernel_for_is_left_to_chunks(options):
    qkv, table, pad, _ = make(CASES[1], torch.float32)
    found = []
    for impl in ("native", "chunked"):
        torch.manual_seed(1)
        found.append(
            window_attention(qkv, table, window=(7, 7), shift=(3, 3), pad_qkv=pad, impl=impl, **options)
        )
    assert torch.equal(*found)


def test_operands_without_gradients_get_none():
    qkv, table, pad, _ = make(CASES[1], torch.float32)
    table.requires_grad_()
    window_attention(qkv, table, window=(7, 7), pad_qkv=pad, impl="native").sum().backward()
    assert qkv.grad is None
    assert pad.grad is None
    assert table.grad is not None


def test_the_table_may_be_of_another_precision_than_the_map():
    """As under autocast, where parameters stay in float32."""
    qkv, table, pad, grad = make(CASES[0], torch.float32)
    operands = [qkv.bfloat16().requires_grad_(), table.requires_grad_(), pad.requires_grad_()]
    out = window_attention(
        operands[0], operands[1], window=(7, 7), shift=(3, 3), pad_qkv=operands[2], impl="native"
    )
    found = torch.autograd.grad(out, operands, grad.bfloat16())
    assert [item.dtype for item in found] == [torch.bfloat16, torch.float32, torch.float32]


def test_it_cannot_be_differentiated_twice():
    qkv, table, pad, _ = make(CASES[1], torch.float32)
    qkv.requires_grad_()
    out = window_attention(qkv, table, window=(7, 7), pad_qkv=pad, impl="native")
    (grad,) = torch.autograd.grad(out.square().sum(), qkv, create_graph=True)
    with pytest.raises(RuntimeError, match="window_attention_native_backward"):
        grad.sum().backward()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck reads it of a view
@pytest.mark.parametrize("train", [True, False])
def test_the_operator_keeps_its_promises(train):
    op = importlib.import_module("swinkit.ops.window_attention.native_op")
    operands = [item.requires_grad_(train) for item in make(CASES[5], torch.float32)[:3]]
    opcheck(op.forward_op, (*operands, [7, 7], [3, 3], 0.5))


def test_compiles_whole_with_gradients_and_any_size():
    def attend(qkv: Tensor, table: Tensor) -> Tensor:
        return window_attention(qkv, table, window=(4, 4), shift=(2, 2))

    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager", dynamic=True)
    for side in (5, 9):
        operands = [torch.randn(1, side, 6, 3, 2, 16).requires_grad_(), torch.randn(49, 2).requires_grad_()]
        found = torch.autograd.grad(compiled(*operands).sum(), operands)
        torch.testing.assert_close(found, torch.autograd.grad(attend(*operands).sum(), operands))


def test_it_says_what_it_is_not_for():
    assert can_run("native", torch.empty(1, 4, 4, 3, 1, 4, device="meta")) == (
        "it is made for a CPU, not for meta"
    )
    assert can_run("native", torch.empty(1, 4, 4, 3, 1, 4, dtype=torch.float16)) == (
        "it needs float32 or bfloat16, got torch.float16"
    )
    assert chunked.can_run(torch.empty(1, 4, 4, 3, 1, 4, dtype=torch.float16)) is None
