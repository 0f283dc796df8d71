"""Parameters and FLOPs of the paper's models: measured, by formula, by the official code, and as published.

    python benchmarks/parameters_and_flops.py

Measured: the model is built without memory for its weights (device "meta"), and torch.utils.flop_counter
counts the matrix products and convolutions of one picture's forward pass. As in the paper, a FLOP is one
multiply-add. The formula (`swinkit.backbones.cost`, equations 1 and 2) counts the same things; the official
code counts the norms too, a fraction of a percent.

The last column says whether the paper's number is ours, rounded as the paper prints it. Where it is not, the
official code does not give the paper's number either: `PAPER_DIFFERS` lists these. The exit code is 1 when
anything else disagrees: model and formula, model and official code, or another number of
the paper.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from common import RESULTS, ROOT, write_results
from swinkit.backbones import VARIANTS, BackboneConfig
from swinkit.backbones.cost import count_flops, count_parameters
from swinkit.classification import build_classifier
from swinkit.cli.common import print_table
from swinkit.spec import ClassifierConfig, ModelSpec

PUBLISHED: dict[str, tuple[str, float, float]] = {
    "swin_tiny_patch4_window7_224": ("Table 1", 29, 4.5),
    "swin_small_patch4_window7_224": ("Table 1", 50, 8.7),
    "swin_base_patch4_window7_224": ("Table 1", 88, 15.4),
    "swin_base_patch4_window12_384": ("Table 1", 88, 47.0),
    "swin_large_patch4_window12_384": ("Table 1", 197, 103.9),
    "swin_tiny_c24_patch4_window8_256": ("Table 10", 28, 5.9),
    "swin_mlp_tiny_c24_patch4_window8_256": ("Table 10", 20, 4.0),
    "swin_mlp_tiny_c12_patch4_window8_256": ("Table 10", 21, 4.0),
    "swin_mlp_tiny_c6_patch4_window8_256": ("Table 10", 23, 4.0),
    "swin_mlp_base_patch4_window7_224": ("Table 10", 61, 10.4),
}
"""Model -> (where, millions of parameters, billions of FLOPs)."""

OFFICIAL_NAMES = {"swin_large_patch4_window7_224": "swin_large_patch4_window7_224_22kto1k"} | {
    f"swin_{size}_patch4_window12_384": f"swin_{size}_patch4_window12_384_22kto1k"
    for size in ("base", "large")
}
"""Our name -> the official configuration with the same 1000-class model, where the names differ."""

ROUNDING = {"parameters": 0.5, "flops": 0.05}
"""Half of the last digit the paper prints: whole millions of parameters, tenths of a billion FLOPs."""

NORMS = 0.005
"""Largest share of FLOPs that the norms may be, which the official code counts and we do not."""

PAPER_DIFFERS = {
    ("swin_tiny_patch4_window7_224", "parameters"): "paper 29 M, official code 28.3 M",
    ("swin_base_patch4_window12_384", "flops"): "paper 47.0 G, official code 47.1 G",
}
"""Numbers of the paper that neither its own code nor we arrive at."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model's numbers; None where there is none.

    Attributes:
        model: its name.
        size: height and width of the picture, pixels.
        parameters: counted on the built model.
        parameters_formula: by `count_parameters`.
        flops: multiply-adds, measured.
        flops_formula: by `count_flops`.
        official: what the official code says: parameters and FLOPs.
        published: what the paper says: table, millions of parameters, billions of FLOPs.
    """

    model: str
    size: int
    parameters: int
    parameters_formula: int
    flops: int
    flops_formula: int
    official: tuple[int, int] | None
    published: tuple[str, float, float] | None

    def problems(self) -> list[str]:
        """What disagrees and should not; empty when all is well."""
        found = []
        if (self.parameters, self.flops) != (self.parameters_formula, self.flops_formula):
            found.append("formula")
        if self.official is not None:
            norms = (self.official[1] - self.flops) / self.official[1]
            if self.parameters != self.official[0] or not 0 <= norms <= NORMS:
                found.append("official code")
        return found + [
            f"paper's {what}" for what in self.outside() if (self.model, what) not in PAPER_DIFFERS
        ]

    def outside(self) -> list[str]:
        """Which of the paper's numbers are not ours, rounded."""
        if self.published is None:
            return []
        ours = {"parameters": self.parameters / 1e6, "flops": self.flops / 1e9}
        theirs = dict(zip(ours, self.published[1:], strict=True))
        return [what for what, value in ours.items() if abs(value - theirs[what]) > ROUNDING[what]]

    def verdict(self) -> str:
        """One cell: how this row stands against the paper."""
        if self.problems():
            return "DIFFERS: " + ", ".join(self.problems())
        if self.published is None:
            return "-"
        return "; ".join(PAPER_DIFFERS[self.model, what] for what in self.outside()) or "equal, rounded"


def main() -> int:
    parser = argparse.ArgumentParser(description="Parameters and FLOPs against the paper's tables.")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for parameters_and_flops.json")
    out = parser.parse_args().out
    official = read_official()
    rows = [measure(name, config, official) for name, config in models().items()]
    show(rows)
    path = write_results(
        "parameters_and_flops", [asdict(row) | {"verdict": row.verdict()} for row in rows], "meta", out
    )
    print(f"written: {path.name}", file=sys.stderr)
    return 1 if any(row.problems() for row in rows) else 0


def models() -> dict[str, BackboneConfig]:
    """T, S, B, L at 224 (window 7) and 384 (window 12), and the models of Table 10."""
    configs: dict[str, BackboneConfig] = {}
    for size in ("tiny", "small", "base", "large"):
        base = VARIANTS[f"swin_{size}_patch4_window7_224"]
        configs[f"swin_{size}_patch4_window7_224"] = base
        configs[f"swin_{size}_patch4_window12_384"] = replace(base, img_size=(384, 384), window_size=12)
    return configs | {name: VARIANTS[name] for name in PUBLISHED if name not in configs}


def measure(name: str, config: BackboneConfig, official: dict[str, Any]) -> Row:
    """Count a 1000-class model's parameters and FLOPs in every way we have."""
    last = replace(config, out_indices=(len(config.depths) - 1,))
    with torch.device("meta"), torch.no_grad():
        spec = ModelSpec(config=ClassifierConfig(backbone=last))
        model = build_classifier(spec, attention_impl="reference").eval()
        counter = FlopCounterMode(display=False)
        with counter:
            model(torch.empty(1, config.in_chans, *config.img_size))
    entry = official.get(OFFICIAL_NAMES.get(name, name))
    return Row(
        model=name,
        size=config.img_size[0],
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        parameters_formula=int(count_parameters(last)),
        flops=counter.get_total_flops() // 2,
        flops_formula=int(count_flops(last)),
        official=(int(entry["parameters"]), int(entry["flops"])) if entry else None,
        published=PUBLISHED.get(name),
    )


def read_official() -> dict[str, Any]:
    """Numbers of the official code from SWINKIT_GOLDEN (default ../shared/golden); empty when not there."""
    folder = Path(os.environ.get("SWINKIT_GOLDEN") or ROOT.parent / "shared" / "golden")
    path = folder / "keys" / "_parameters_and_flops.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def show(rows: list[Row]) -> None:
    columns = (
        "model",
        "size",
        "params",
        "formula",
        "official",
        "paper",
        "FLOPs",
        "formula",
        "official",
        "paper",
        "against the paper",
    )
    cells = [
        (
            row.model,
            row.size,
            f"{row.parameters:,}",
            f"{row.parameters_formula:,}",
            f"{row.official[0]:,}" if row.official else "-",
            f"{row.published[1]:.0f} M" if row.published else "-",
            f"{row.flops / 1e9:.2f} G",
            f"{row.flops_formula / 1e9:.2f} G",
            f"{row.official[1] / 1e9:.2f} G" if row.official else "-",
            f"{row.published[2]:.1f} G" if row.published else "-",
            row.verdict(),
        )
        for row in rows
    ]
    print_table(columns, cells, title="Parameters and FLOPs of one picture (1000 classes)")


if __name__ == "__main__":
    sys.exit(main())
