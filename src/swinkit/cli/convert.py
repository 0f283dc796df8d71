"""`swinkit convert`: a checkpoint in another format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from swinkit.cli.common import CommonArgs, parse


@dataclass(frozen=True, kw_only=True)
class ConvertArgs(CommonArgs):
    """Write a checkpoint in another format.

    Attributes:
        src: a checkpoint, a run folder or a published name.
        out: file to write. A name ending in .safetensors gives a safetensors file, any other a torch file
            with the weights under "model".
        format: whose key names to use.
    """

    src: Annotated[str, tyro.conf.Positional]
    out: Path
    format: Literal[
        "swinkit",
        "official",
        "official_mlp",
        "official_dense",
        "official_upernet",
        "mmseg",
        "mmdet3",
        "official_rcnn",
        "official_cascade",
        "mmdet3_rcnn",
        "mmdet3_cascade",
        "official_atss",
        "mmdet3_atss",
        "official_reppoints_v2",
        "mmdet3_reppoints_v2",
        "official_htc",
        "mmdet3_htc",
        "official_sparse",
        "mmdet3_sparse",
        "timm",
        "torchvision",
        "huggingface",
    ] = "swinkit"


def main(argv: list[str]) -> int:
    """Convert and say what was written."""
    args = parse(
        ConvertArgs,
        argv,
        prog="swinkit convert",
        description="Write a checkpoint in our format (the model's description inside) or a published one.",
        examples=(
            "swinkit convert swin_tiny_patch4_window7_224.pth --out tiny.safetensors",
            "swinkit convert runs/flowers --out flowers.pth --format timm",
        ),
    )
    from swinkit.weights import convert

    convert(args.src, args.out, args.format)
    print(f"{args.out} ({args.format} format, {args.out.stat().st_size / 1e6:.1f} MB)")
    return 0
