"""What Triton's interpreter is asked; run by test_triton_interpreted.py in a process of its own, because
TRITON_INTERPRET has to be set before Triton is first imported.

Maps are small: the interpreter takes about a tenth of a second for a window and head.
"""

import importlib
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from swinkit.layers.attention import WindowAttention
from swinkit.ops.window_attention import can_run, window_attention

configs = importlib.import_module("swinkit.ops.window_attention.triton_configs")
op = importlib.import_module("swinkit.ops.window_attention.triton_op")

CASES: list[tuple[Any, ...]] = [  # map, window, shift, heads, d, dtype, and what differs from the usual
    ((8, 14), (7, 7), (3, 3), 1, 32, torch.float32, {}),
    ((8, 14), (7, 7), (3, 3), 1, 32, torch.bfloat16, {}),
    ((8, 14), (7, 7), (3, 3), 1, 32, torch.float16, {}),
    ((7, 7), (7, 7), (0, 0), 2, 64, torch.float32, {}),
    ((5, 9), (4, 4), (2, 1), 2, 16, torch.float32, {}),
    ((1, 1), (4, 4), (2, 2), 2, 24, torch.float32, {}),
    ((6, 7), (4, 5), (0, 3), 1, 48, torch.float32, {"scale": 0.1}),
    ((5, 6), (4, 4), (2, 2), 1, 4, torch.float32, {"bias": False}),
    ((5, 6), (4, 4), (2, 2), 1, 16, torch.float32, {"pad": False}),
    ((5, 6), (4, 4), (2, 2), 1, 16, torch.float32, {"appearance": False}),
    ((5, 6), (4, 4), (2, 2), 1, 16, torch.float32, {"appearance": False, "bias": False}),
    ((9, 10), (9, 8), (2, 4), 1, 16, torch.float32, {}),
    ((9, 10), (9, 8), (2, 4), 1, 32, torch.bfloat16, {}),
    ((9, 10), (9, 8), (2, 4), 1, 24, torch.float16, {"bias": False, "pad": False}),
    ((9, 8), (9, 8), (2, 0), 1, 16, torch.float32, {"appearance": False}),
    ((12, 12), (12, 12), (6, 6), 1, 32, torch.float32, {}),
]


def make(map_size: tuple[int, int], window: tuple[int, int], heads: int, d: int, dtype: torch.dtype) -> tuple:
    """Operands whose gradients are wanted: qkv, table and padding token."""
    table = (2 * window[0] - 1) * (2 * window[1] - 1)
    shapes = ((1, *map_size, 3, heads, d), (table, heads), (3, heads, d))
    return tuple(torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes)


def run(impl: str, operands: tuple, dtype: torch.dtype, weight: Tensor, options: dict) -> tuple[Tensor, ...]:
    """The output, and the gradients of its sum weighted by `weight`, computed in `dtype`."""
    options = dict(options)
    qkv, table, pad = (item.detach().to(dtype).requires_grad_() for item in operands)
    bias = table if options.pop("bias", True) else None
    token = pad if options.pop("pad", True) else None
    out = window_attention(qkv, bias, pad_qkv=token, impl=impl, **options)  # type: ignore[arg-type]
    assert out.dtype == dtype
    loss = (out * weight.to(dtype)).sum()
    return out, *torch.autograd.grad(loss, (qkv, table, pad), materialize_grads=True)


@pytest.mark.parametrize(("map_size", "window", "shift", "heads", "d", "dtype", "options"), CASES)
def test_values_and_gradients(map_size, window, shift, heads, d, dtype, options):
    """Each error is at most twice that of the reference in the same precision, and rounding."""
    operands = make(map_size, window, heads, d, dtype)
    weight = torch.randn(1, *map_size, heads * d)
    options = {"window": window, "shift": shift, **options}
    exact = run("reference", operands, torch.float64, weight, options)
    expected = run("reference", operands, dtype, weight, options)
    for name, got, same, true in zip(
        ("out", "qkv", "table", "pad"),
        run("triton", operands, dtype, weight, options),
        expected,
        exact,
        strict=True,
    ):
        allowed = 2 * (same.double() - true).abs().max() + torch.finfo(dtype).eps * true.abs().max()
        assert (got.double() - true).abs().max() <= allowed, name


def test_values_and_gradients_of_a_window_of_24(monkeypatch):
    """N = 576. Larger blocks than a GPU takes: the interpreter counts operations, not numbers."""
    blocks = configs.Blocks(queries=256, keys=256, warps=4, stages=1, splits=2)
    monkeypatch.setattr(configs, "forward", lambda *_: blocks)
    monkeypatch.setattr(configs, "backward", lambda *_: blocks)
    operands, weight = make((23, 24), (24, 24), 1, 16, torch.float32), torch.randn(1, 23, 24, 16)
    options = {"window": (24, 24), "shift": (12, 12)}
    exact = run("reference", operands, torch.float64, weight, options)
    for got, true in zip(run("triton", operands, torch.float32, weight, options), exact, strict=True):
        torch.testing.assert_close(got.double(), true, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [(4, 4), (9, 8)])
def test_values_of_many_windows_in_one_program(window, monkeypatch):
    """Sums over windows: what a program adds up, and what each window leaves for the padding's token."""
    map_size = (window[0] + 1, window[1] - 1)
    operands, weight = make(map_size, window, 1, 16, torch.float32), torch.randn(1, *map_size, 16)
    options = {"window": window, "shift": (2, 2)}
    spread = run("triton", operands, torch.float32, weight, options)
    monkeypatch.setattr(configs, "FORWARD_PROGRAMS", 1)
    monkeypatch.setattr(configs, "BACKWARD_PROGRAMS", 1)
    for got, expected in zip(run("triton", operands, torch.float32, weight, options), spread, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("map_size", [(1, 60), (13, 2), (43, 1), (3, 29), (15, 6)])
def test_sizes(map_size):
    qkv, table, pad = (item.detach() for item in make(map_size, (7, 7), 1, 16, torch.float32))
    options = {"window": (7, 7), "shift": (3, 3), "pad_qkv": pad}
    got = window_attention(qkv, table, impl="triton", **options)
    expected = window_attention(qkv, table, impl="reference", **options)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [(4, 4), (9, 8)])
def test_sizes_of_nothing(window):
    operands = make((5, 6), window, 2, 16, torch.float32)
    qkv, table, pad = operands
    out = window_attention(qkv[:0], table, window=window, pad_qkv=pad, impl="triton")
    assert out.shape == (0, 5, 6, 32)
    for got, item in zip(torch.autograd.grad(out.sum(), operands), operands, strict=True):
        assert torch.equal(got, torch.zeros_like(item))


def test_memory_of_strided_input_and_gradient():
    qkv, table, pad = make((5, 6), (4, 4), 1, 16, torch.float32)
    strided = qkv.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    weight = torch.randn(1, 6, 5, 16).transpose(1, 2)
    assert not strided.is_contiguous()
    assert not weight.is_contiguous()
    results = []
    for item, factor in ((qkv, weight.contiguous()), (strided, weight)):
        out = window_attention(item, table, window=(4, 4), shift=(2, 2), pad_qkv=pad, impl="triton")
        results.append((out, *torch.autograd.grad(out, (item, table, pad), factor)))
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize(("map_size", "window"), [((5, 6), (4, 4)), ((8, 8), (9, 8))])
def test_memory_around_and_before(map_size, window, monkeypatch):
    """Around the operands lies NaN, which a read too far would find; NaN fills every new buffer, which a
    forgotten write would leave.
    """
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    weight = torch.randn(1, *map_size, 16)

    def surround(item: Tensor) -> Tensor:
        buffer = torch.full((item.numel() + 2000,), float("nan"))
        buffer[1000 : 1000 + item.numel()] = item.detach().flatten()
        return buffer[1000 : 1000 + item.numel()].view(item.shape).requires_grad_()

    qkv, table, pad = (surround(item) for item in make(map_size, window, 1, 16, torch.float32))
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        out = window_attention(qkv, table, window=window, shift=(2, 2), pad_qkv=pad, impl="triton")
        gradients = torch.autograd.grad(out, (qkv, table, pad), weight)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(item.isfinite().all() for item in (out, *gradients))


@pytest.mark.parametrize(("window", "d"), [((4, 4), 16), ((11, 6), 33)])
def test_dropout(window, d):
    """The mask is read off a first pass whose values are unit vectors, and put into plain PyTorch."""
    N = window[0] * window[1]
    qkv, table, _ = (item.detach() for item in make(window, window, 1, d, torch.float32))
    options = {"window": window, "dropout": 0.3, "impl": "triton"}
    columns = []
    for first in range(0, N, d):
        unit = qkv.clone()
        unit[0, :, :, 2, 0] = torch.eye(N, first + d)[:, first:].view(*window, d)
        torch.manual_seed(5)
        columns.append(window_attention(unit, table, **options).view(N, d))
    weights_NN = torch.cat(columns, 1)[:, :N]
    kept_NN = weights_NN != 0
    assert 0.5 < kept_NN.float().mean() < 0.9

    qkv.requires_grad_()
    table.requires_grad_()
    q, k, v = qkv.view(N, 3, d).unbind(1)
    bias = importlib.import_module("swinkit.ops.windows").expand_bias(table, window)[0]
    soft_NN = (q @ k.T * d**-0.5 + bias).softmax(-1)
    expected = (soft_NN * kept_NN / 0.7) @ v
    torch.manual_seed(5)
    got = window_attention(qkv, table, **options).view(N, d)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    weight = torch.randn(N, d)
    for a, b in zip(
        torch.autograd.grad(got, (qkv, table), weight),
        torch.autograd.grad(expected, (qkv, table), weight),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert not torch.equal(window_attention(qkv, table, **options).view(N, d), got)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck reads it off its own copies
@pytest.mark.parametrize("window", [(4, 4), (9, 8)])
def test_operator_checks(window):
    """Schemas, fakes, autograd registration, and tracing with dynamic sizes."""
    qkv, table, pad = make((5, 6), window, 1, 16, torch.float32)
    options = ([*window], [2, 2], 0.25, True, 0.0, False)
    checks = ["test_schema", "test_faketensor"]
    if window == (4, 4):  # these repeat both passes several times: for the small window only
        checks += ["test_autograd_registration", "test_aot_dispatch_dynamic"]
    torch.library.opcheck(op.forward_op, (qkv, table, pad, None, *options), test_utils=checks)
    out, log_sum = op.forward_op(qkv.detach(), table.detach(), pad.detach(), None, *options)
    plain = [item.detach() for item in (out, qkv, table, pad)]
    torch.library.opcheck(
        op.backward_op, (*plain, None, out, log_sum, *options, True, True), test_utils=checks
    )


def test_operator_compiles_once_for_all_sizes():
    count = importlib.import_module("torch._dynamo.testing").CompileCounterWithBackend("aot_eager")

    def attend(qkv: Tensor, table: Tensor, pad: Tensor) -> Tensor:
        return window_attention(qkv, table, window=(4, 4), shift=(2, 2), pad_qkv=pad, impl="triton")

    compiled = torch.compile(attend, fullgraph=True, backend=count, dynamic=True)
    for map_size in ((5, 6), (8, 4), (3, 9)):
        operands = make(map_size, (4, 4), 1, 16, torch.float32)
        got, expected = compiled(*operands), attend(*operands)
        assert torch.equal(got, expected)
        for a, b in zip(
            torch.autograd.grad(got.sum(), operands),
            torch.autograd.grad(expected.sum(), operands),
            strict=True,
        ):
            assert torch.equal(a, b)
    graphs = [graph for graph in count.graphs if "swinkit" in str(graph.graph)]
    assert len(graphs) == 1


def test_operator_in_a_layer_with_autocast_and_checkpointing():
    """Gradients reach the projection and its bias through padding; dropout repeats under checkpointing."""
    torch.manual_seed(0)
    layer = WindowAttention(16, 1, (4, 4), attn_drop=0.2, impl="triton").train()
    x = torch.randn(1, 5, 6, 16)

    def gradients(checkpointed: bool) -> tuple[Tensor, ...]:
        torch.manual_seed(7)
        with torch.autocast("cpu", torch.bfloat16):
            out = checkpoint(layer, x, (2, 2), use_reentrant=False) if checkpointed else layer(x, (2, 2))
            assert out.dtype == torch.bfloat16
        return torch.autograd.grad(out.float().square().sum(), tuple(layer.parameters()))

    for a, b in zip(gradients(True), gradients(False), strict=True):
        assert torch.equal(a, b)
    layer.attn_drop = 0.0
    got = gradients(False)
    layer.impl = "reference"
    for a, b in zip(got, gradients(False), strict=True):
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.05)


def averaged_gradients(rank: int, store: str) -> dict[str, Tensor]:
    """Gradients of one of two processes in DistributedDataParallel, each with a picture of its own."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(minutes=4)
    )
    try:
        layer, x = layer_and_pictures()
        parallel = torch.nn.parallel.DistributedDataParallel(layer)
        parallel(x[rank : rank + 1], (2, 2)).square().mean().backward()
    finally:
        torch.distributed.destroy_process_group()
    return gradients_by_name(layer)


def layer_and_pictures() -> tuple[WindowAttention, Tensor]:
    """The same in every process: a layer, and two maps that need padding."""
    torch.manual_seed(0)
    return WindowAttention(16, 1, (4, 4), impl="triton").train(), torch.randn(2, 5, 6, 16)


def gradients_by_name(layer: torch.nn.Module) -> dict[str, Tensor]:
    found = {name: item.grad for name, item in layer.named_parameters() if item.grad is not None}
    assert found.keys() == dict(layer.named_parameters()).keys()
    return found


def test_operator_in_two_processes(tmp_path):
    """What DistributedDataParallel averages is the gradient of both pictures' mean, by plain PyTorch."""
    store, script = str(tmp_path / "store"), str(Path(__file__))
    with subprocess.Popen([sys.executable, script, store], env=os.environ, stderr=subprocess.PIPE) as other:
        got = averaged_gradients(0, store)
        _, said = other.communicate(timeout=120)
    assert other.returncode == 0, said.decode()[-1000:]
    layer, x = layer_and_pictures()
    layer.impl = "reference"
    layer(x, (2, 2)).square().mean().backward()
    for name, expected in gradients_by_name(layer).items():
        torch.testing.assert_close(got[name], expected, rtol=1e-4, atol=1e-6, msg=name)


def test_values_where_tf32_is_asked_for(monkeypatch):
    """Another cut of the same window: in blocks. The interpreter itself multiplies exactly."""
    operands, weight = make((8, 9), (7, 7), 1, 32, torch.float32), torch.randn(1, 8, 9, 32)
    options = {"window": (7, 7), "shift": (3, 3)}
    expected = run("triton", operands, torch.float32, weight, options)
    asked = []
    whole = configs.is_whole
    monkeypatch.setattr(configs, "is_whole", lambda *words: asked.append(words[3]) or whole(*words))
    torch.set_float32_matmul_precision("high")
    try:
        got = run("triton", operands, torch.float32, weight, options)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert set(asked) == {True}
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_operator_says_what_it_cannot_do():
    qkv = torch.zeros(1, 4, 4, 3, 1, 16)
    assert can_run("triton", qkv) is None
    assert can_run("triton", qkv.double()) == "it needs float16, bfloat16 or float32, got torch.float64"
    reason = can_run("triton", torch.zeros(1, 4, 4, 3, 1, 80))
    assert reason == "it needs at most 64 channels a head, got 80"
    assert can_run("triton", qkv.to("meta")) == "it has no kernels for meta"


if __name__ == "__main__":
    averaged_gradients(1, sys.argv[1])
