"""`swinkit models`: the published checkpoints and the models they are of."""

import json
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from swinkit.cli.common import CommonArgs, parse, print_table
from swinkit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ModelsArgs(CommonArgs):
    """List published checkpoints.

    Attributes:
        filter: show names that fit this pattern only, for example 'swin_base*'.
        json: print JSON instead of a table.
    """

    filter: str = "*"
    json: bool = False


def main(argv: list[str]) -> int:
    """Print the catalog as a table or as JSON."""
    args = parse(
        ModelsArgs,
        argv,
        prog="swinkit models",
        description="Published checkpoints by name, with size, cost and published ImageNet-1K accuracy.",
        examples=("swinkit models --filter 'swin_base*'", "swinkit models --json > models.json"),
    )
    rows = [row for row in describe_catalog() if fnmatch(row["name"], args.filter)]
    if not rows:
        raise InputError(f"no published checkpoint fits {args.filter!r}: try '*base*' or leave --filter out.")
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    columns = ("name", "params", "FLOPs", "input", "classes", "top-1", "from", "cached")
    print_table(columns, [_cells(row) for row in rows])
    print("FLOPs are multiply-adds of one picture; top-1 is ImageNet-1K accuracy as published.")
    return 0


def describe_catalog() -> list[dict[str, Any]]:
    """Return one plain dictionary per published checkpoint. Touches no network."""
    from swinkit.backbones import VARIANTS
    from swinkit.backbones.cost import count_flops, count_parameters
    from swinkit.weights.catalog import CATALOG, DEFAULT_TAGS
    from swinkit.weights.download import cached_file

    rows: list[dict[str, Any]] = []
    for entry in CATALOG.values():
        config = VARIANTS[entry.variant]
        cached = cached_file(entry)
        bare, _, tag = entry.name.partition(".")
        rows.append(
            {
                "name": entry.name,
                "variant": entry.variant,
                "default_for": bare if tag and DEFAULT_TAGS.get(bare) == tag else None,
                "parameters": count_parameters(config, num_classes=entry.num_classes),
                "flops": count_flops(config, num_classes=entry.num_classes),
                "input_size": list(config.img_size),
                "num_classes": entry.num_classes,
                "top1": entry.top1,
                "formats": [source.format for source in entry.sources],
                "sources": [source.url or f"hf:{source.repo}" for source in entry.sources],
                "cached": str(cached[1]) if cached is not None else None,
            }
        )
    return rows


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        f"{row['parameters'] / 1e6:.1f}M",
        f"{row['flops'] / 1e9:.1f}G",
        "x".join(str(side) for side in row["input_size"]),
        str(row["num_classes"]),
        "-" if row["top1"] is None else f"{row['top1']:.1f}",
        ", ".join(row["formats"]),
        "yes" if row["cached"] else "no",
    )
