"""`swinkit info`: what a file is."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from swinkit.cli.common import CommonArgs, parse, print_table
from swinkit.errors import InputError

TASKS = {
    "ClassifierConfig": "classification",
    "SegmenterConfig": "segmentation",
    "DetectorConfig": "detection",
}
"""Configuration in a checkpoint -> what the model is for."""


@dataclass(frozen=True, kw_only=True)
class InfoArgs(CommonArgs):
    """Say what a checkpoint is.

    Attributes:
        file: a checkpoint, a run folder or a published name.
        json: print JSON instead of a table.
    """

    file: Annotated[str, tyro.conf.Positional]
    json: bool = False


def main(argv: list[str]) -> int:
    """Print what the file is. Exit code 1 when its keys do not fit the model they look like."""
    args = parse(
        InfoArgs,
        argv,
        prog="swinkit info",
        description="What a file is: its format, its model, its classes, and whether all of its keys fit.",
        examples=("swinkit info swin_tiny_patch4_window7_224.pth", "swinkit info runs/flowers --json"),
    )
    facts = describe_file(args.file)
    if args.json:
        print(json.dumps(facts, indent=2))
    else:
        print_table(
            ("what", "value"), [(key.replace("_", " "), _cell(value)) for key, value in facts.items()]
        )
    return 0 if facts["fits"] else 1


def describe_file(path: str) -> dict[str, Any]:
    """Return what a file is, as plain values; `problem` says why when the keys do not fit.

    Raises:
        InputError: not readable, or not a Swin Transformer.
    """
    import torch

    from swinkit.spec import to_dict
    from swinkit.weights import describe, load_weights, read_checkpoint
    from swinkit.weights.formats import FORMATS
    from swinkit.weights.models import build, is_backbone

    checkpoint = read_checkpoint(path)
    spec, alone = checkpoint.spec, is_backbone(checkpoint.state, checkpoint.format)
    with torch.device("meta"):
        model = build(checkpoint)
    state = {key: value.to("meta") for key, value in checkpoint.state.items()}
    problem, unused, adapted = "", list(checkpoint.beside), []
    try:
        adapted = load_weights(model, state, spec=spec).resized
    except InputError as error:
        problem = str(error)
    tensors = checkpoint.state.values()
    return {
        "file": str(checkpoint.path),
        "format": checkpoint.format,
        "made_by": FORMATS[checkpoint.format].title,
        "model": describe(spec),
        "name": spec.name,
        "task": "backbone" if alone else TASKS[type(spec.config).__name__],
        "input_size": list(spec.preprocess.size),
        "num_classes": spec.config.num_classes,
        "class_names": list(spec.class_names),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dtypes": sorted({str(value.dtype).removeprefix("torch.") for value in tensors}),
        "keys": len(checkpoint.state),
        "keys_used": 0 if problem else len(checkpoint.state) - len(unused),
        "keys_unused": unused,
        "resized": adapted,
        "fits": not problem,
        "problem": problem,
        "config": to_dict(spec.config.backbone),
    }


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items() if key != "kind")
    if isinstance(value, list):
        shown = ", ".join(str(item) for item in value[:6])
        return f"{shown}, ... ({len(value)})" if len(value) > 6 else shown or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value) or "-"
