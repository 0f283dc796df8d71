"""Every implementation of window attention against the written definition: runs, rejects, shapes, values,
gradients, compile.
"""

import logging
import math
import warnings

import pytest
import torch
from torch import Tensor

from golden_cases import IMPLS
from swinkit.errors import InputError
from swinkit.ops import Implementation, window_attention
from swinkit.ops.window_attention import api, can_run, native

DOUBLE = tuple(name for name in IMPLS if name != "native")
"""Those that compute in float64; "native" is tested in float32 in test_window_attention_native.py."""


def definition(
    qkv: Tensor,
    table: Tensor | None,
    window: tuple[int, int],
    shift: tuple[int, int],
    pad: Tensor | None,
    appearance: bool = True,
) -> Tensor:
    """README.md of the operator, token by token, in Python loops: shares no code with the library."""
    B, H, W, _, heads, d = qkv.shape
    P, Q = math.ceil(H / window[0]) * window[0], math.ceil(W / window[1]) * window[1]
    pad = torch.zeros(3, heads, d, dtype=qkv.dtype) if pad is None else pad
    out = torch.zeros(B, H, W, heads, d, dtype=qkv.dtype)

    def region(at: int, length: int, side: int, offset: int) -> int:
        rolled = (at - offset) % length
        return 0 if offset == 0 else (rolled >= length - side) + (rolled >= length - offset)

    for b in range(B):
        for y in range(P // window[0]):
            for x in range(Q // window[1]):
                tokens = [
                    ((y * window[0] + i + shift[0]) % P, (x * window[1] + j + shift[1]) % Q)
                    for i in range(window[0])
                    for j in range(window[1])
                ]
                parts = torch.stack([qkv[b, r, c] if r < H and c < W else pad for r, c in tokens])
                regions = [
                    (region(r, P, window[0], shift[0]), region(c, Q, window[1], shift[1])) for r, c in tokens
                ]
                for h in range(heads):
                    q, k, v = parts[:, :, h].unbind(1)
                    scores = (
                        q @ k.T * d**-0.5 if appearance else torch.zeros(len(tokens), len(tokens)).double()
                    )
                    for m in range(len(tokens)):
                        for n in range(len(tokens)):
                            di = m // window[1] - n // window[1] + window[0] - 1
                            dj = m % window[1] - n % window[1] + window[1] - 1
                            if table is not None:
                                scores[m, n] += table[di * (2 * window[1] - 1) + dj, h]
                            if regions[m] != regions[n]:
                                scores[m, n] -= 100.0
                    attended = scores.softmax(-1) @ v
                    for (r, c), row in zip(tokens, attended, strict=True):
                        if r < H and c < W:
                            out[b, r, c, h] = row
    return out.flatten(3)


CASES = [  # map, window, shift, heads, head channels
    ((7, 7), (7, 7), (0, 0), 1, 8),
    ((8, 8), (4, 4), (2, 2), 2, 4),
    ((5, 9), (4, 4), (2, 2), 1, 4),
    ((1, 1), (3, 3), (1, 1), 2, 4),
    ((6, 7), (2, 3), (1, 1), 1, 4),
    ((6, 7), (3, 2), (0, 1), 1, 4),
    ((4, 10), (7, 7), (3, 3), 1, 4),
]


def make(map_size: tuple[int, int], window: tuple[int, int], heads: int, d: int, dtype: torch.dtype) -> tuple:
    torch.manual_seed(0)
    qkv = torch.randn(2, *map_size, 3, heads, d, dtype=torch.float64).to(dtype)
    table = torch.randn((2 * window[0] - 1) * (2 * window[1] - 1), heads, dtype=torch.float64).to(dtype)
    pad = torch.randn(3, heads, d, dtype=torch.float64).to(dtype)
    return qkv, table, pad


@pytest.mark.parametrize("impl", DOUBLE)
@pytest.mark.parametrize(("map_size", "window", "shift", "heads", "d"), CASES)
def test_values_follow_the_definition(impl, map_size, window, shift, heads, d):
    qkv, table, pad = make(map_size, window, heads, d, torch.float64)
    got = window_attention(qkv, table, window=window, shift=shift, pad_qkv=pad, impl=impl)
    torch.testing.assert_close(got, definition(qkv, table, window, shift, pad), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("impl", DOUBLE)
def test_values_without_bias_padding_token_or_appearance(impl):
    qkv, table, _ = make((5, 6), (4, 4), 2, 4, torch.float64)
    options = {"window": (4, 4), "shift": (2, 2), "impl": impl}
    expected = definition(qkv, None, (4, 4), (2, 2), None)
    torch.testing.assert_close(window_attention(qkv, None, **options), expected, rtol=1e-12, atol=1e-12)
    expected = definition(qkv, table, (4, 4), (2, 2), None, appearance=False)
    got = window_attention(qkv, table, appearance=False, **options)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("map_size", "window", "shift"), [((14, 14), (7, 7), (3, 3)), ((9, 20), (4, 8), (2, 4))]
)
def test_error_is_at_most_twice_that_of_the_same_precision_reference(impl, dtype, map_size, window, shift):
    qkv, table, pad = make(map_size, window, 2, 32, dtype)
    if can_run(impl, qkv) is not None:
        pytest.skip(f"{impl}: {can_run(impl, qkv)}")
    exact = window_attention(
        qkv.double(), table.double(), window=window, shift=shift, pad_qkv=pad.double(), impl="reference"
    )

    def error(name: Implementation) -> Tensor:
        got = window_attention(qkv, table, window=window, shift=shift, pad_qkv=pad, impl=name)
        assert got.dtype == dtype
        return (got.double() - exact).abs().max()

    assert error(impl) <= 2 * error("reference") + torch.finfo(dtype).eps


@pytest.mark.parametrize("impl", DOUBLE)
@pytest.mark.parametrize(("map_size", "window", "shift", "heads", "d"), CASES)
def test_gradients_of_every_operand_agree_with_the_reference(impl, map_size, window, shift, heads, d):
    operands = [item.requires_grad_() for item in make(map_size, window, heads, d, torch.float64)]
    weight = torch.randn(2, *map_size, heads * d, dtype=torch.float64)

    def gradients(name: Implementation) -> tuple[Tensor, ...]:
        qkv, table, pad = operands
        out = window_attention(qkv, table, window=window, shift=shift, pad_qkv=pad, impl=name)
        return torch.autograd.grad((out * weight).sum(), operands, materialize_grads=True)

    for got, expected in zip(gradients(impl), gradients("reference"), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_reference_gradients_agree_with_finite_differences():
    operands = [item.requires_grad_() for item in make((3, 4), (3, 3), 1, 2, torch.float64)]

    def run(qkv: Tensor, table: Tensor, pad: Tensor) -> Tensor:
        return window_attention(qkv, table, window=(3, 3), shift=(1, 1), pad_qkv=pad, impl="reference")

    assert torch.autograd.gradcheck(run, operands)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("side", [1, 2, 3, 5, 8, 13, 29, 43, 60])
def test_any_map_size_agrees_with_the_reference(impl, side):
    qkv, table, pad = make((side, 61 - side), (7, 7), 1, 8, torch.float32)
    options = {"window": (7, 7), "shift": (3, 3), "pad_qkv": pad}
    got = window_attention(qkv, table, impl=impl, **options)
    torch.testing.assert_close(
        got, window_attention(qkv, table, impl="reference", **options), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("impl", IMPLS)
def test_empty_batch_and_strided_input(impl):
    qkv, table, pad = make((5, 6), (4, 4), 2, 4, torch.float32)
    for shift in ((0, 0), (2, 1)):
        none, bias = qkv[:0].detach().requires_grad_(), table.detach().requires_grad_()
        out = window_attention(none, bias, window=(4, 4), shift=shift, pad_qkv=pad, impl=impl)
        assert out.shape == (0, 5, 6, 8)
        out.sum().backward()
        assert none.grad is not None
        assert bias.grad is None or not bias.grad.any()  # torch gives none to a mask that nothing used
    strided = qkv.transpose(1, 2).contiguous().transpose(1, 2)
    assert not strided.is_contiguous()
    options = {"window": (4, 4), "shift": (2, 2), "impl": impl}
    torch.testing.assert_close(
        window_attention(strided, table, **options), window_attention(qkv, table, **options)
    )


@pytest.mark.parametrize("impl", IMPLS)
def test_output_reads_nothing_outside_its_input(impl):
    """The map is a slice of a larger, NaN-filled buffer; a read past its edge would show."""
    qkv, table, pad = make((5, 6), (4, 4), 2, 4, torch.float32)
    poisoned = torch.full((2, 9, 9, 3, 2, 4), float("nan"))
    poisoned[:, :5, :6] = qkv
    got = window_attention(poisoned[:, :5, :6], table, window=(4, 4), shift=(2, 2), pad_qkv=pad, impl=impl)
    assert torch.isfinite(got).all()


@pytest.mark.parametrize("impl", IMPLS)
def test_dropout_drops_and_keeps_the_mean(impl):
    torch.manual_seed(0)
    qkv = torch.ones(1, 8, 8, 3, 1, 4)
    same = window_attention(qkv, None, window=(8, 8), dropout=0.0, impl=impl)
    dropped = window_attention(qkv, None, window=(8, 8), dropout=0.5, impl=impl)
    assert not torch.equal(same, dropped)
    assert abs(dropped.mean() - same.mean()) < 0.1


@pytest.mark.parametrize("impl", IMPLS)
def test_compiles_without_graph_breaks(impl):
    qkv, table, pad = make((5, 6), (4, 4), 2, 4, torch.float32)

    def run(qkv: Tensor, table: Tensor, pad: Tensor) -> Tensor:
        return window_attention(qkv, table, window=(4, 4), shift=(2, 2), pad_qkv=pad, impl=impl)

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(qkv, table, pad), run(qkv, table, pad))


def test_rejects_what_does_not_fit():
    qkv, table, pad = make((5, 6), (4, 4), 2, 4, torch.float32)
    with pytest.raises(InputError, match=r"qkv must be \(B, H, W, 3, heads, d\); got \(2, 5, 6, 3, 8\)"):
        window_attention(qkv.flatten(-2), table, window=(4, 4))
    with pytest.raises(InputError, match=r"bias_table of window \(4, 4\) and 2 heads must be \(49, 2\)"):
        window_attention(qkv, table[1:], window=(4, 4))
    with pytest.raises(InputError, match="less than the window"):
        window_attention(qkv, table, window=(4, 4), shift=(4, 0))
    with pytest.raises(InputError, match="pad_qkv must be"):
        window_attention(qkv, table, window=(4, 4), pad_qkv=pad[:2])
    for wrong in (4, (4,), (4, 4, 4)):
        with pytest.raises(InputError, match=r"window and shift must be \(rows, columns\); got"):
            window_attention(qkv, table, window=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="bias_table must be on cpu, where qkv is; got meta"):
        window_attention(qkv, table.to("meta"), window=(4, 4))
    for wrong in (-0.1, 1.5, math.nan):
        with pytest.raises(InputError, match="dropout is a probability, 0 to 1; got"):
            window_attention(qkv, table, window=(4, 4), dropout=wrong)
    with pytest.raises(InputError, match="qkv must be a tensor"):
        window_attention(None, table, window=(4, 4))  # type: ignore[arg-type]
    with pytest.raises(
        InputError,
        match="unknown attention implementation 'fast': choose auto, triton, native, chunked, sdpa, ref",
    ):
        window_attention(qkv, table, window=(4, 4), impl="fast")  # type: ignore[arg-type]


def test_an_implementation_that_cannot_run_says_why():
    qkv = torch.zeros(1, 4, 4, 3, 1, 4, dtype=torch.int64)
    for name in ("sdpa", "reference"):
        assert can_run(name, qkv) == "it needs a floating dtype, got torch.int64"
    with pytest.raises(InputError, match=r"needs a floating dtype, got torch\.int64: convert qkv"):
        window_attention(qkv, None, window=(4, 4))
    with pytest.raises(InputError, match="cannot run here: it needs a floating dtype"):
        window_attention(qkv, None, window=(4, 4), impl="sdpa")


def test_auto_logs_its_choice_once(caplog, monkeypatch):
    monkeypatch.setattr(api, "_logged", set())
    qkv, table, _ = make((4, 8), (4, 4), 1, 4, torch.float32)
    with caplog.at_level(logging.INFO, logger=api.__name__):
        for _ in range(3):
            window_attention(qkv, table, window=(4, 4))
    assert [record.getMessage() for record in caplog.records] == [
        f'window attention: "auto" chose "{IMPLS[0]}" on cpu'
    ]
    assert IMPLS[0] in {"native", "chunked"}


def test_auto_without_compiled_kernels_leaves_a_single_window_to_torch_unless_it_trains(monkeypatch):
    monkeypatch.setattr(native, "_why_not", lambda: "no compiler")
    one, more = torch.zeros(1, 4, 3, 3, 1, 8), torch.zeros(1, 5, 4, 3, 1, 8)
    assert api._choose("auto", one, (4, 4)) == "sdpa"
    assert api._choose("auto", more, (4, 4)) == "chunked"
    one.requires_grad_()
    assert api._choose("auto", one, (4, 4)) == "chunked"
    with torch.no_grad():
        assert api._choose("auto", one, (4, 4)) == "sdpa"
    seen = []
    torch.vmap(lambda x: seen.append(api._choose("auto", x, (4, 4))) or x)(one.detach()[None])
    assert seen == ["chunked"]  # torch.func cannot take torch's kernel apart


@pytest.mark.parametrize("compile_it", [False, True])
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
def test_torch_func_differentiates_plain_operators(compile_it):
    """Operators of ours would give a tangent of zero without a word."""
    qkv, table, _ = make((5, 6), (4, 4), 2, 4, torch.float32)

    def loss(qkv: Tensor, impl: Implementation = "auto") -> Tensor:
        return window_attention(qkv, table, window=(4, 4), shift=(2, 2), impl=impl).square().sum()

    def slope(qkv: Tensor) -> Tensor:
        return torch.func.jvp(loss, (qkv,), (qkv,))[1]

    def gradient(qkv: Tensor) -> Tensor:
        return torch.func.grad(loss)(qkv)

    leaf = qkv.detach().requires_grad_()
    (wanted,) = torch.autograd.grad(loss(leaf, "reference"), leaf)
    if compile_it:
        slope, gradient = (torch.compile(item, backend="eager", fullgraph=True) for item in (slope, gradient))
    torch.testing.assert_close(slope(qkv), (wanted * qkv).sum())
    torch.testing.assert_close(gradient(qkv), wanted)
    with pytest.raises(InputError, match="forward mode differentiate PyTorch's own operators only"):
        torch.func.jvp(lambda qkv: loss(qkv, "chunked"), (qkv,), (qkv,))


def test_a_program_can_be_traced():
    qkv, table, _ = make((5, 6), (4, 4), 2, 4, torch.float32)

    def attend(qkv: Tensor) -> Tensor:
        return window_attention(qkv, table, window=(4, 4), shift=(2, 2), impl="reference")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes, which are to be constants; and that it is deprecated
        traced = torch.jit.trace(attend, (qkv,))
    assert callable(traced)
    torch.testing.assert_close(traced(2 * qkv), attend(2 * qkv))


def test_auto_takes_plain_operators_where_a_program_is_exported():
    """A program that named an operator of ours could not be loaded without this library."""

    class Attend(torch.nn.Module):
        def forward(self, qkv: Tensor) -> Tensor:
            return window_attention(qkv, None, window=(4, 4), shift=(2, 2))

    qkv, _, _ = make((5, 6), (4, 4), 2, 4, torch.float32)
    program = torch.export.export(Attend(), (qkv,))
    assert not any("swinkit" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(qkv), Attend()(qkv))
