"""A network that OpenVINO runs on the CPU, and OpenVINO's own counters of where its time goes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from swinkit.deploy.packages import openvino_core

Counts = dict[str, float]
"""Milliseconds by kind of node."""

_runs: list[Counts] | None = None
"""Where runs are counted, while somebody wants to know."""


class OpenVinoNetwork:
    """A network with one request, whose buffers it holds: one thread at a time.

    Args:
        graph: an ONNX model's bytes, or its file.
        threads: of the CPU.
        precision: "f32" or "bf16".
        shape: of the pictures (B, in_chans, H, W); None for the one in the graph.
    """

    def __init__(
        self, graph: bytes | Path, *, threads: int, precision: str, shape: Sequence[int] | None = None
    ) -> None:
        core = openvino_core()
        network = core.read_model(graph)
        if shape is not None:
            network.reshape(list(shape))
        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        }
        if _runs is not None:
            settings["PERF_COUNT"] = True
        self.compiled: Any = core.compile_model(network, "CPU", settings)
        self.counts = _runs is not None
        self.request: Any = self.compiled.create_infer_request()

    def __call__(self, images: Any) -> list[Any]:
        """Map pictures, an array (B, in_chans, H, W) of float32, to arrays that the next call writes over."""
        done = self.request.infer({0: images}, share_inputs=True, share_outputs=True)
        if self.counts and _runs is not None:
            _runs.append(_by_kind(self.request.profiling_info))
        return [done[port] for port in self.compiled.outputs]


@contextmanager
def counting() -> Iterator[list[Counts]]:
    """Count the runs of networks that are compiled meanwhile: one entry a run, until the block ends.

    Counting slows a run down a little.
    """
    global _runs  # noqa: PLW0603 (networks are compiled far below whoever asks)
    assert _runs is None, "counting twice at a time"
    _runs = []
    try:
        yield _runs
    finally:
        _runs = None


def median_counts(runs: Sequence[Counts]) -> Counts:
    """The median over runs of each kind that takes 5 microseconds or more, the longest first."""
    kinds = {kind for run in runs for kind in run}
    median = {kind: sorted(run.get(kind, 0.0) for run in runs)[len(runs) // 2] for kind in kinds}
    return {
        kind: value for kind, value in sorted(median.items(), key=lambda item: -item[1]) if value >= 0.005
    }


def summed(runs: Sequence[Counts]) -> Counts:
    """Several runs as one."""
    total: Counts = defaultdict(float)
    for run in runs:
        for kind, value in run.items():
            total[kind] += value
    return dict(total)


def _by_kind(counters: Any) -> Counts:
    return summed([{item.node_type: 1e3 * item.real_time.total_seconds()} for item in counters])
