"""Where the time goes: by torch's operators, or by OpenVINO's own counters where it does the work."""

from typing import Any

import numpy as np
import pytest
import torch

from swinkit.bench import profile
from swinkit.bench.engines import Noted
from swinkit.bench.profile import candidates, nodes
from swinkit.bench.workload import Workload
from swinkit.deploy import openvino_network
from swinkit.deploy.openvino_network import OpenVinoNetwork, counting, median_counts, summed
from swinkit.deploy.packages import missing

TOY = Workload(model="toy", size=(112, 112), batch=2)


@pytest.fixture
def graph() -> bytes:
    """One linear layer of 64 channels."""
    if missing("openvino") or missing("onnx"):
        pytest.skip("openvino or onnx is not installed")
    from swinkit.deploy.onnx_nodes import INPUT, LOGITS, Graph, to_bytes

    graph = Graph()
    weight = graph.constant(torch.full((64, 64), 0.5))
    graph.op("MatMul", INPUT, weight, outputs=(LOGITS,))
    return to_bytes(graph.proto(["batch", 64], [(LOGITS, ["batch", 64])]))


def network(graph: bytes) -> OpenVinoNetwork:
    return OpenVinoNetwork(graph, threads=1, precision="f32", shape=[2, 64])


def test_runs_are_counted_while_asked_for(graph):
    images = np.ones((2, 64), np.float32)
    before = network(graph)
    with counting() as runs:
        counted = network(graph)
        assert not runs
        (out,) = counted(images)
        counted(images)
        before(images)  # was compiled without counters
        assert len(runs) == 2
        assert all(sum(run.values()) > 0 for run in runs)
        assert any("FullyConnected" in kind or "MatMul" in kind for kind in runs[0])
    assert (out == 32).all()
    counted(images)
    assert len(runs) == 2
    assert openvino_network._runs is None


def test_what_openvino_runs_is_shown_by_kind_of_node(graph, monkeypatch):
    def prepare(name: str, *_: Any) -> tuple[Any, float]:
        if name == "torch":
            return (lambda: torch.ones(8, 8) @ torch.ones(8, 8)), 0.0
        inside, images = network(graph), np.ones((2, 64), np.float32)
        return Noted(lambda: [torch.from_numpy(inside(images)[0]) for _ in range(2)], "chose openvino"), 0.0

    monkeypatch.setattr(profile, "prepare", prepare)
    found, torch_s = candidates(("swinkit/optimize", "torch"), TOY).split("torch, toy")
    assert found.startswith("swinkit/optimize (chose openvino), toy, inference, batch 2")
    assert "all kinds, while counted" in found
    assert "aten::" not in found
    assert "aten::mm" in torch_s
    assert "all kinds" not in torch_s


def test_the_median_of_calls_that_are_sums_of_runs():
    calls = [summed([{"MatMul": 1.0, "MVN": 0.5}, {"MatMul": 2.0}]), {"MatMul": 5.0}, {"MatMul": 4.0}]
    assert calls[0] == {"MatMul": 3.0, "MVN": 0.5}
    assert median_counts(calls) == {"MatMul": 4.0}  # MVN is in one call of three: 0 in the middle
    assert median_counts([{"MVN": 1.0, "MatMul": 3.0, "Result": 0.001}]) == {"MatMul": 3.0, "MVN": 1.0}
    text = nodes([{"MVN": 1.0, "MatMul": 3.0}])
    assert "75.0%" in text
    assert "4.000 ms" in text
