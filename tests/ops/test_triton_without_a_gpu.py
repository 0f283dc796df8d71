"""What can be said of window attention's Triton kernels without a GPU: refusals, tracing, machine code."""

import dataclasses
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from swinkit.errors import InputError
from swinkit.ops.window_attention import can_run, window_attention

triton = pytest.importorskip("triton", reason="Triton is not installed")

ATTENTION = "swinkit.ops.window_attention"
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def no_device(monkeypatch):
    """Let kernels be traced for a chip that is not here."""
    monkeypatch.setattr(importlib.import_module(f"{ATTENTION}.triton"), "missing", lambda device: None)
    target = importlib.import_module("triton.backends.compiler").GPUTarget("cuda", 90, 32)
    driver = SimpleNamespace(get_current_target=lambda: target, get_current_device=lambda: 0)
    monkeypatch.setattr(triton.runtime.driver, "_active", driver)


def operands() -> tuple[Tensor, Tensor, Tensor]:
    """Operands on a GPU that is only pretended."""
    with FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True):
        qkv = torch.empty(2, 15, 16, 3, 2, 32, device="cuda", dtype=torch.bfloat16)
        return qkv, torch.empty(169, 2, device="cuda"), torch.empty(3, 2, 32, device="cuda")


def test_asking_for_triton_on_a_cpu_says_why_it_cannot(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    qkv = torch.zeros(1, 4, 4, 3, 1, 16)
    assert can_run("triton", qkv) == "there is no GPU under this tensor"
    with pytest.raises(InputError, match='"triton" cannot run here: there is no GPU under this tensor'):
        window_attention(qkv, None, window=(4, 4), impl="triton")


def test_auto_prefers_triton_on_a_gpu_only(no_device):
    api = importlib.import_module(f"{ATTENTION}.api")
    assert api._choose("auto", operands()[0], (4, 4)) == "triton"
    assert api._choose("auto", torch.zeros(1, 4, 4, 3, 1, 16), (4, 4)) != "triton"


def test_importing_the_operator_does_not_import_triton():
    code = f"import sys, {ATTENTION}\nprint(sorted(n for n in sys.modules if 'attention.triton_' in n))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"['{ATTENTION}.triton_configs']"


def test_no_kernel_uses_atomics():
    folder = Path(importlib.import_module(ATTENTION).__file__ or "").parent
    for path in folder.glob("triton_*.py"):
        assert "tl.atomic" not in path.read_text()


def test_export_keeps_the_operator_whole_for_any_size(no_device):
    class Attention(torch.nn.Module):
        def forward(self, qkv: Tensor, table: Tensor, pad: Tensor) -> Tensor:
            return window_attention(
                qkv, table, window=(7, 7), shift=(3, 3), pad_qkv=pad, scale=0.2, impl="triton"
            )

    sizes = {axis: torch.export.Dim(name, min=2, max=4096) for axis, name in enumerate("BHW")}
    program = torch.export.export(Attention(), operands(), dynamic_shapes=(sizes, None, None))
    assert "swinkit.window_attention_forward" in str(program.graph)


def test_tracing_sees_the_kernels_and_what_they_write(no_device):
    """The operator is a triton_op: a compiler finds kernels inside that write to new tensors only."""
    op = importlib.import_module(f"{ATTENTION}.triton_op")
    trace = importlib.import_module("torch._functorch.aot_autograd").aot_export_joint_simple
    qkv, table, pad = operands()
    options = ([7, 7], [3, 3], 0.2, True, 0.0, False)

    def forward(qkv: Tensor, table: Tensor, pad: Tensor) -> tuple[Tensor, ...]:
        return op.forward_op(qkv, table, pad, None, *options)

    def backward(grad: Tensor, qkv: Tensor, table: Tensor, pad: Tensor) -> tuple[Tensor, ...]:
        return op.backward_op(grad, qkv, table, pad, None, None, None, *options, True, True)

    with qkv.fake_mode:  # type: ignore[attr-defined]  # a FakeTensor
        grad = torch.empty(2, 15, 16, 64, device="cuda", dtype=torch.bfloat16)
    found = {}
    for function, given in ((forward, (qkv, table, pad)), (backward, (grad, qkv, table, pad))):
        nodes = trace(function, given, trace_joint=False).graph.nodes
        found[function.__name__] = [n.kwargs["tensors_to_clone"] for n in nodes if "triton" in str(n.target)]
    assert found["forward"] == [["out"]]
    written, table_written = found["backward"]
    assert set(written) == {"grad_qkv", "grad_bias", "grad_pad"}
    assert table_written == ["grad_table"]


@pytest.mark.parametrize(
    ("kernel", "target", "padded"),
    [
        ("forward_window", "sm_90", False),
        ("backward_window", "sm_80", True),
        ("backward_window", "gfx942", True),
    ],
)
def test_machine_code_holds_what_it_should(kernel, target, padded, monkeypatch):
    """benchmarks/kernels_ahead_of_time.py does this for all; here are the two that Swin-T lives on."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("kernels_ahead_of_time")
    case = module.Case(kernel=kernel, target=target, window=(7, 7), channels=32, dtype="bf16", padded=padded)
    row = module.inspect(case)
    assert row["problems"] == []
    assert row["tensor_instructions"] > 0
    ratio = module.bytes_of_a_window(case)["ratio"]
    assert 1.0 < ratio < 1.02 if padded else ratio == 1.0


@pytest.mark.parametrize(
    ("kernel", "target", "tf32"),
    [
        ("forward_blocks", "sm_80", True),
        ("backward_keys", "sm_90", True),
        ("forward_window", "sm_80", False),
    ],
)
def test_float32_is_multiplied_as_tf32_only_where_asked_for(kernel, target, tf32, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("kernels_ahead_of_time")
    case = module.Case(
        kernel=kernel, target=target, window=(7, 7), channels=32, dtype="fp32", tf32=tf32, padded=False
    )
    assert case in module.every_case()
    found = re.findall(r"mma\S*\.tf32\.tf32", module.build(case).asm["ptx"])
    assert bool(found) == tf32


@pytest.mark.parametrize(("precision", "tf32"), [("highest", False), ("high", True), ("medium", True)])
def test_tf32_follows_torch_s_own_setting(precision, tf32, no_device):
    class Attention(torch.nn.Module):
        def forward(self, qkv: Tensor, table: Tensor, pad: Tensor) -> Tensor:
            return window_attention(qkv, table, window=(7, 7), pad_qkv=pad, impl="triton")

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        program = torch.export.export(Attention(), operands())
    finally:
        torch.set_float32_matmul_precision(before)
    (node,) = [node for node in program.graph.nodes if "attention_forward" in str(node.target)]
    assert (node.args[-1] if len(node.args) > 9 else node.kwargs.get("tf32", False)) is tf32


def test_every_listed_case_is_one_the_library_would_launch(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("kernels_ahead_of_time")
    cases = list(module.every_case())
    assert {case.kernel for case in cases} == set(module.KERNELS)
    assert {case.target for case in cases} == set(module.TARGETS)
    assert len({module.digest_of(case) for case in cases}) == len(cases)  # none is compiled twice


def test_a_warp_of_64_lanes_is_not_given_twice_the_threads(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("kernels_ahead_of_time")
    for case in module.every_case(("sm_90",)):
        amd = dataclasses.replace(case, target="gfx942")
        if case.blocks.warps > 1:
            assert 64 * amd.blocks.warps <= 32 * case.blocks.warps
        assert module.digest_of(amd) != module.digest_of(case)


def test_compiling_goes_on_where_it_ended(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("kernels_ahead_of_time")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    compiled = []

    def inspect(case):
        compiled.append(case)
        if len(compiled) == 3:
            raise KeyboardInterrupt
        found = dict.fromkeys(
            ("registers", "spills", "shared", "tensor_instructions", "loads_of_16_bytes"), 0
        )
        known = {"digest": module.digest_of(case), "problems": []}
        return dataclasses.asdict(case) | dataclasses.asdict(case.blocks) | found | known

    monkeypatch.setattr(module, "inspect", inspect)
    words = ["kernels", "--target", "sm_90", "--only", "forward_window"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(KeyboardInterrupt):
        module.main()
    monkeypatch.setattr(sys, "argv", [*words, "--resume", "--cases", "2"])
    assert module.main() == 0
    assert compiled[2] == compiled[3]  # the one that was stopped
    assert len(set(compiled)) == 4
    path = tmp_path / "kernels_ahead_of_time.json"
    rows = json.loads(path.read_text())["results"]["rows"]
    assert len({module.name_of(row) for row in rows}) == len(rows) == 4
    forward = module.configs.forward

    def other(tokens, channels, dtype, *rest):
        """Another choice for half types only: what was compiled for float32 still holds."""
        blocks = forward(tokens, channels, dtype, *rest)
        return blocks if dtype == torch.float32 else dataclasses.replace(blocks, warps=8)

    monkeypatch.setattr(module.configs, "forward", other)
    assert {row["dtype"] for row in rows} == {"bf16", "fp32"}
    assert [row["dtype"] for row in module.kept_rows(path)] == ["fp32", "fp32"]
    monkeypatch.setattr(module, "digest_of", lambda case: "another kernel")
    assert module.kept_rows(path) == []
    assert module.kept_rows(tmp_path / "none.json") == []
