"""Where OpenVINO's time goes for our graph of Swin-T, by its own counters, with GELU in either form.

    python benchmarks/openvino_profile.py                # one thread, one picture of 224 pixels
    python benchmarks/openvino_profile.py --runs 20

Counters slow a run down a little, so that the parts add up to more than its time without them.
"""

import argparse
from pathlib import Path

import torch

from common import RESULTS, write_results
from swinkit.deploy.fold import fold
from swinkit.deploy.onnx_graph import to_onnx
from swinkit.deploy.onnx_nodes import to_bytes
from swinkit.deploy.openvino_network import Counts, OpenVinoNetwork, counting, median_counts
from swinkit.models import create_model

MODEL = "swin_tiny_patch4_window7_224"


def main() -> int:
    parser = argparse.ArgumentParser(description="OpenVINO's time for our graph of Swin-T, by kind of node.")
    parser.add_argument("--runs", type=int, default=20, help="runs whose median counts")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    torch.manual_seed(0)
    folded = fold(create_model(MODEL).eval(), (224, 224))
    found: dict[str, list[Counts]] = {"erf": [], "polynomial": []}
    images = torch.randn(1, 3, 224, 224).numpy()
    with counting() as runs:
        networks = {
            name: OpenVinoNetwork(
                to_bytes(to_onnx(folded, polynomial=name == "polynomial")),
                threads=1,
                precision="f32",
                shape=images.shape,
            )
            for name in found
        }
        for run in range(args.runs + 2):  # in turns; the first two warm up
            for name, network in networks.items():
                network(images)
                if run > 1:
                    found[name].append(runs[-1])
    results = {name: median_counts(counts) for name, counts in found.items()}
    for name, kinds in results.items():
        print(f"GELU as {name}: {sum(kinds.values()):.1f} ms")
        for kind, value in kinds.items():
            print(f"  {kind:<16}{value:8.2f} ms")
    path = write_results("openvino_profile", {"model": MODEL, "milliseconds": results}, folder=args.out)
    print(f"written: {path.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
