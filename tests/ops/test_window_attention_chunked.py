"""What only window attention in chunks has; test_window_attention.py has what it shares with the others."""

import importlib

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from swinkit.ops import Implementation, window_attention
from swinkit.ops.window_attention import can_run

op = importlib.import_module("swinkit.ops.window_attention.chunked_op")


@pytest.fixture
def one_window_a_chunk(monkeypatch):
    """Chunks as small as they get, so that small maps have many."""
    monkeypatch.setattr(op, "CHUNK", 1)
    op._plan.cache_clear()
    yield
    op._plan.cache_clear()


def make(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(2, 5, 7, 3, 2, 4), (5 * 7, 2), (3, 2, 4)]
    return [torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def run(
    qkv: Tensor,
    table: Tensor | None,
    pad: Tensor | None,
    *,
    impl: Implementation = "chunked",
    shift: tuple[int, int] = (1, 2),
    appearance: bool = True,
    dropout: float = 0.0,
) -> Tensor:
    return window_attention(
        qkv,
        table,
        window=(3, 4),
        shift=shift,
        pad_qkv=pad,
        impl=impl,
        appearance=appearance,
        dropout=dropout,
    )


@pytest.mark.usefixtures("one_window_a_chunk")
def test_chunks_are_parts_of_one_whole():
    operands = make()
    weight = torch.randn(2, 5, 7, 8, dtype=torch.float64)
    found = torch.autograd.grad((run(*operands) * weight).sum(), operands)
    wanted = torch.autograd.grad((run(*operands, impl="reference") * weight).sum(), operands)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (0, 2), (2, 3)])
@pytest.mark.parametrize("appearance", [True, False])
def test_gradients_agree_with_finite_differences(shift, appearance):
    assert torch.autograd.gradcheck(
        lambda *operands: run(*operands, shift=shift, appearance=appearance), make(), fast_mode=True
    )


def test_gradients_agree_with_finite_differences_under_dropout():
    """The backward pass drops what the forward pass dropped."""

    def dropped(*operands: Tensor) -> Tensor:
        torch.manual_seed(3)
        return run(*operands, dropout=0.4)

    assert torch.autograd.gradcheck(dropped, make(), fast_mode=True)


def test_operands_without_gradients_get_none():
    qkv, table, pad = make()
    run(qkv.detach(), table, pad.detach()).sum().backward()
    assert qkv.grad is None
    assert pad.grad is None
    assert table.grad is not None
    run(qkv, None, None).sum().backward()
    assert qkv.grad is not None


def test_nothing_is_kept_for_a_backward_pass_that_will_not_come():
    qkv, table, pad = make()
    arguments = ([3, 4], [1, 2], 0.5, True, 0.0)
    _, kept, weights = op.forward_op(qkv, table, pad, None, *arguments, False)
    assert kept.numel() == weights.numel() == 0
    _, kept, weights = op.forward_op(qkv, table, pad, None, *arguments, True)
    assert weights.shape == (2 * 2 * 2, 2, 12, 12)
    torch.testing.assert_close(weights.sum(-1), torch.ones(8, 2, 12, dtype=torch.float64))


def test_it_cannot_be_differentiated_twice():
    qkv, table, pad = make()
    (grad,) = torch.autograd.grad(run(qkv, table, pad).square().sum(), qkv, create_graph=True)
    with pytest.raises(RuntimeError, match="window_attention_chunked_backward"):
        grad.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_gradients_are_at_most_twice_as_wrong_as_the_reference(dtype):
    weight = torch.randn(2, 5, 7, 8, dtype=torch.float64)

    def gradients(operands: list[Tensor], impl: Implementation) -> tuple[Tensor, ...]:
        return torch.autograd.grad((run(*operands, impl=impl) * weight.to(operands[0].dtype)).sum(), operands)

    half = make(dtype)
    exact = gradients([item.detach().double().requires_grad_() for item in half], "reference")
    found, reference = gradients(half, "chunked"), gradients(half, "reference")
    for got, same, wanted in zip(found, reference, exact, strict=True):
        limit = 2 * (same - wanted).abs().max() + torch.finfo(dtype).eps * wanted.abs().max()
        assert (got - wanted).abs().max() <= limit


def test_autocast_leaves_its_arithmetic_alone():
    qkv, table, pad = make(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = run(qkv, table, pad)
    assert torch.equal(out, run(qkv, table, pad))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck reads it of a view
@pytest.mark.parametrize("keep", [True, False])
def test_the_operators_keep_their_promises(keep):
    operands = [item.detach().requires_grad_(keep) for item in make(torch.float32)]
    opcheck(op.forward_op, (*operands, None, [3, 4], [1, 2], 0.5, True, 0.0, keep))


def test_compiles_whole_with_gradients():
    operands = make(torch.float32)
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager", dynamic=True)
    found = torch.autograd.grad(compiled(*operands).sum(), operands)
    wanted = torch.autograd.grad(run(*operands).sum(), operands)
    torch.testing.assert_close(found, wanted)


def test_it_is_for_cpus():
    qkv = torch.empty(1, 4, 4, 3, 1, 4, device="meta")
    assert can_run("chunked", qkv) == "it is made for a CPU, not for meta"
