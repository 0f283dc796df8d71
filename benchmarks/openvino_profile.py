"""Where OpenVINO's time goes for our graph of Swin-T, by its own counters, with GELU in either form.

    python benchmarks/openvino_profile.py                # one thread, one picture of 224 pixels
    python benchmarks/openvino_profile.py --runs 20

Counters slow a run down a little, so that the parts add up to more than its time without them.
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from common import RESULTS, write_results
from swinkit.deploy.fold import fold
from swinkit.deploy.onnx_graph import to_onnx
from swinkit.deploy.onnx_nodes import to_bytes
from swinkit.deploy.packages import openvino_core
from swinkit.models import create_model

MODEL = "swin_tiny_patch4_window7_224"


def main() -> int:
    parser = argparse.ArgumentParser(description="OpenVINO's time for our graph of Swin-T, by kind of node.")
    parser.add_argument("--runs", type=int, default=20, help="runs whose median counts")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    torch.manual_seed(0)
    folded = fold(create_model(MODEL).eval(), (224, 224))
    requests = {
        name: request(to_bytes(to_onnx(folded, polynomial=name == "polynomial")))
        for name in ("erf", "polynomial")
    }
    found: dict[str, list[Counter[str]]] = {name: [] for name in requests}
    images = torch.randn(1, 3, 224, 224).numpy()
    for run in range(args.runs + 2):  # in turns; the first two warm up
        for name, item in requests.items():
            item.infer({0: images})
            if run > 1:
                found[name].append(by_kind(item.profiling_info))
    results = {name: medians(runs) for name, runs in found.items()}
    for name, kinds in results.items():
        print(f"GELU as {name}: {sum(kinds.values()):.1f} ms")
        for kind, value in kinds.items():
            print(f"  {kind:<16}{value:8.2f} ms")
    path = write_results("openvino_profile", {"model": MODEL, "milliseconds": results}, folder=args.out)
    print(f"written: {path.name}")
    return 0


def request(graph: bytes) -> Any:
    """A request with counters, on one thread."""
    network = (core := openvino_core()).read_model(graph)
    network.reshape([1, 3, 224, 224])
    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True}
    return core.compile_model(network, "CPU", options).create_infer_request()


def by_kind(counters: Any) -> Counter[str]:
    """Milliseconds of one run by kind of node."""
    found: Counter[str] = Counter()
    for item in counters:
        found[item.node_type] += 1e3 * item.real_time.total_seconds()
    return found


def medians(runs: list[Counter[str]]) -> dict[str, float]:
    """Median over runs of each kind that takes time, the longest first."""
    kinds = {kind for run in runs for kind in run}
    median = {kind: sorted(run[kind] for run in runs)[len(runs) // 2] for kind in kinds}
    return {kind: value for kind, value in sorted(median.items(), key=lambda item: -item[1]) if value > 0.005}


if __name__ == "__main__":
    raise SystemExit(main())
