"""The fused operators without a GPU: plain PyTorch, refusals, tracing, machine code."""

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from swinkit.errors import InputError
from swinkit.layers import Mlp, PatchMerging
from swinkit.ops.fused import can_run, linear_add, merge_norm_linear, mlp, norm_linear

FUSED = "swinkit.ops.fused"
NONE: Any = "cuda"  # no implementation
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
configs = importlib.import_module(f"{FUSED}.triton_configs")


@pytest.fixture
def script(monkeypatch):
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("fused_ahead_of_time")


def test_plain_pytorch_is_the_layers():
    torch.manual_seed(0)
    x, layer, norm = torch.randn(2, 5, 7, 8), nn.Linear(8, 12), nn.LayerNorm(8, elementwise_affine=False)
    residual, eps = torch.randn(2, 5, 7, 12), norm.eps
    got = norm_linear(x, layer.weight, layer.bias, eps=eps)
    torch.testing.assert_close(got, layer(norm(x)))
    got = norm_linear(x, layer.weight, layer.bias, gelu=True)
    torch.testing.assert_close(got, nn.functional.gelu(layer(norm(x))))
    torch.testing.assert_close(linear_add(x, layer.weight, layer.bias, residual), layer(x) + residual)
    perceptron = Mlp(8, 20)
    fc1, fc2 = perceptron.fc1, perceptron.fc2
    got = mlp(x, fc1.weight, fc1.bias, fc2.weight, fc2.bias)
    torch.testing.assert_close(got, x + perceptron(norm(x)))
    merging = PatchMerging(8)
    torch.testing.assert_close(merge_norm_linear(x, merging.reduction.weight), merging(x))
    got.sum().backward()  # plain PyTorch has gradients
    assert fc1.weight.grad is not None


def test_asking_for_kernels_on_a_cpu_says_why_they_cannot(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    x, weight = torch.zeros(3, 8), torch.zeros(4, 8)
    if importlib.util.find_spec("triton") is not None:
        assert can_run(x, weight) == "there is no GPU under this tensor"
    with pytest.raises(InputError, match="the fused kernels cannot run here: "):
        norm_linear(x, weight, impl="triton")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, w, b: norm_linear(x[..., :7], w, b), r"must have one C; got \(1, 3, 3, 7\) and \(4, 8\)"),
        (lambda x, w, b: norm_linear(x, w, b[:3]), r"the bias must be \(4,\); got \(3,\)"),
        (lambda x, w, b: norm_linear(x, w, b, impl=NONE), "unknown implementation 'cuda': choose auto"),
        (lambda x, w, b: linear_add(x, w, b, x), r"the residual must be \(1, 3, 3, 4\); got \(1, 3, 3, 8\)"),
        (lambda x, w, b: mlp(x, w, b, w, b), r"weight_out must be \(8, 4\); got \(4, 8\)"),
        (merge_norm_linear, r"weight must be \(K, 32\); got \(4, 8\)"),
        (lambda x, w, b: merge_norm_linear(x[0], w, b), r"a map \(B, H, W, C\); got \(3, 3, 8\)"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(InputError, match=message):
        call(torch.zeros(1, 3, 3, 8), torch.zeros(4, 8), torch.zeros(4))


def test_importing_the_operators_does_not_import_the_kernels():
    code = f"import sys, {FUSED}\nprint(sorted(n for n in sys.modules if 'fused.triton' in n))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"['{FUSED}.triton']"


@pytest.mark.parametrize(
    ("channels", "expected"), [(96, (64, 32)), (192, (128, 64)), (128, (128, 0)), (8, (16, 0)), (24, (32, 0))]
)
def test_pieces_hold_a_row(channels, expected):
    assert configs.pieces(channels) == expected


def test_tracing_sees_the_kernels_and_what_they_write(monkeypatch):
    """The operators are triton_ops: a compiler finds kernels inside that write to new tensors only."""
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.setattr(importlib.import_module(f"{FUSED}.triton"), "missing", lambda device: None)
    target = importlib.import_module("triton.backends.compiler").GPUTarget("cuda", 90, 32)
    driver = SimpleNamespace(get_current_target=lambda: target, get_current_device=lambda: 0)
    monkeypatch.setattr(importlib.import_module("triton").runtime.driver, "_active", driver)
    trace = importlib.import_module("torch._functorch.aot_autograd").aot_export_joint_simple

    def block(x: Tensor, qkv: Tensor, b: Tensor, proj: Tensor, fc2: Tensor, merge: Tensor) -> tuple[Tensor]:
        x = linear_add(norm_linear(x, qkv), proj, None, x)
        return (merge_norm_linear(mlp(x, qkv, b, fc2, proj[:, 0]), merge),)

    with FakeTensorMode(), torch.no_grad():
        for channels, kernels in ((96, 4), (384, 5)):  # a wide stage's MLP is two launches
            shapes = ((2, 7, 7, channels), (4 * channels, channels), (4 * channels,))
            shapes += ((channels, 4 * channels), (channels, 4 * channels), (2 * channels, 4 * channels))
            given = [torch.empty(shape, device="cuda", dtype=torch.bfloat16) for shape in shapes]
            nodes = trace(block, given, trace_joint=False).graph.nodes
            found = [node.kwargs["tensors_to_clone"] for node in nodes if "triton" in str(node.target)]
            assert found == [["out"]] * kernels


@pytest.mark.parametrize(
    ("launch", "target", "channels"),
    [("qkv", "sm_90", 96), ("mlp", "sm_80", 96), ("merge", "gfx942", 192), ("fc2", "sm_100", 768)],
)
def test_machine_code_holds_what_it_should(launch, target, channels, script):
    """benchmarks/fused_ahead_of_time.py does this for all; here is one of each kernel and each chip."""
    case = script.Case(launch=launch, target=target, channels=channels, dtype="bf16")
    row = script.inspect([case])
    assert row["problems"] == []
    assert row["tensor_instructions"] > 0


def test_every_launch_of_a_model_is_listed(script):
    cases = list(script.every_case())
    assert {case.launch for case in cases} == set(script.LAUNCHES)
    assert {case.kernel for case in cases} == {"linear_rows", "linear_blocks", "mlp_rows"}
    for case in script.every_case(("sm_90",)):
        moved = script.bytes_of_a_row(case)
        assert moved["asked"] >= moved["fewest"]


def test_bytes_of_a_row(script):
    def moved(launch, channels):
        return script.bytes_of_a_row(
            script.Case(launch=launch, target="sm_90", channels=channels, dtype="bf16")
        )

    narrow = moved("qkv", 96)
    assert narrow["fewest"] == narrow["asked"] == 2 * (96 + 288)
    assert narrow["asked_of_weights"] == 2 * 96 * 288 / 128
    wide = moved("qkv", 384)  # nine blocks of columns, each reads x twice
    assert wide["asked"] == 2 * (18 * 384 + 3 * 384)
    assert moved("mlp", 96)["fewest"] == 2 * 2 * 96
    assert moved("merge", 96)["fewest"] == 2 * (4 * 96 + 2 * 96)


def test_compiling_goes_on_where_it_ended(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    compiled = []

    def inspect(cases):
        compiled.append(cases)
        if len(compiled) == 3:
            raise KeyboardInterrupt
        known = {
            "digest": script.digest_of(cases[0]),
            "kernel": "",
            "target": "",
            "dtype": "",
            "launches": [],
        }
        return known | dict.fromkeys(script.ahead.FOUND, 0) | {"problems": []}

    monkeypatch.setattr(script, "inspect", inspect)
    words = ["fused", "--target", "sm_90", "--only", "mlp"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(KeyboardInterrupt):
        script.main()
    monkeypatch.setattr(sys, "argv", [*words, "--resume", "--cases", "2"])
    assert script.main() == 0
    assert compiled[2] == compiled[3]  # the one that was stopped
    path = tmp_path / f"{script.NAME}.json"
    rows = json.loads(path.read_text())["results"]["rows"]
    assert len({row["digest"] for row in rows}) == len(rows) == 4
    assert script.kept_rows(path, {rows[0]["digest"]}) == rows[:1]
    assert script.kept_rows(tmp_path / "none.json", {"a"}) == []
