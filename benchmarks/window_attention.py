"""Implementations of window attention against each other, per stage of Swin-T: the ground of "auto"'s choice.

The implementations take turns in one process on the same input, and must agree before anything is timed.
`swinkit bench attention` measures the operator against other code bases' ways.

    python benchmarks/window_attention.py [--batch 4] [--rounds 15] [--device cpu]
"""

import argparse
import itertools
from typing import Any

import torch

from common import write_results
from swinkit.bench.attention import measure, sites
from swinkit.bench.report import site_data
from swinkit.bench.timing import Spread, speedup
from swinkit.cli.common import print_table
from swinkit.ops.window_attention import IMPLEMENTATIONS

MODEL = "swin_tiny_patch4_window7_224"
REFERENCE = "swinkit reference"


def main() -> None:
    """Measure, print a table of medians, and write results/window_attention.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    names = [f"swinkit {name}" for name in IMPLEMENTATIONS]
    rows: list[tuple[str, ...]] = []
    data: list[dict[str, Any]] = []
    for dtype, site, backward in itertools.product(("float32", "bfloat16"), sites(MODEL), (False, True)):
        found = measure(
            site,
            batch=args.batch,
            dtype=dtype,
            device=torch.device(args.device),
            backward=backward,
            rounds=args.rounds,
            peers=(),
            compiled=False,
        )
        times = [
            f"{1e3 * Spread.of(found.seconds[name]).median:.2f}" if name in found.seconds else "-"
            for name in names
        ]
        ratios = {name: speedup(found.seconds[REFERENCE], found.seconds[name]) for name in found.seconds}
        rows.append(
            (
                dtype,
                f"{site.map_size[0]}x{site.map_size[1]}",
                str(site.heads),
                "forward + backward" if backward else "forward",
                *times,
                *(ratios[name].text() if name in ratios else found.missing[name] for name in names),
            )
        )
        data.append(
            {**site_data(found), "over_reference": {name: vars(ratio) for name, ratio in ratios.items()}}
        )
    columns = ("dtype", "map", "heads", "pass", *(f"{name} ms" for name in IMPLEMENTATIONS))
    print_table((*columns, *(f"{name} over reference" for name in IMPLEMENTATIONS)), rows)
    print(f"written: {write_results('window_attention', data, device=args.device)}")


if __name__ == "__main__":
    main()
