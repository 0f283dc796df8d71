"""How far linear layers in float8 are off, on a trained classifier and on large ones with random weights.

    swinkit quickstart                                                            # trains runs/quickstart
    python benchmarks/float8_accuracy.py --model runs/quickstart                  # scikit-learn's digits
    python benchmarks/float8_accuracy.py --model runs/cifar10 --test cifar10/test
    python benchmarks/float8_accuracy.py --random swin_tiny_patch4_window7_224 swin_base_patch4_window7_224

Everything runs on the CPU, where float8 is emulated: the roundings of a GPU, without its speed. bfloat16
stands beside it. Errors are differences of the logits from float32: the largest, over the largest logit, and
the norm of all, over the norm of the logits.
"""

import argparse
import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import swinkit
from common import RESULTS, write_results
from int8_accuracy import BATCH, accuracy, pictures
from swinkit.bench.workload import MODELS, Workload
from swinkit.classification import Classifier
from swinkit.deploy import Float8Linear, to_float8
from swinkit.deploy.measure import relative_error


def main() -> int:
    parser = argparse.ArgumentParser(description="How far linear layers in float8 are off.")
    parser.add_argument("--model", help="a run folder or checkpoint of a classifier")
    parser.add_argument("--test", type=Path, help="folder of its test pictures; the built-in digits without")
    parser.add_argument("--limit", type=int, default=2000, help="test pictures at most, evenly spread")
    parser.add_argument("--random", nargs="*", default=[], choices=list(MODELS), help="with random weights")
    parser.add_argument("--batch", type=int, default=16, help="random pictures for those")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    if bool(args.model) == bool(args.random):
        parser.error("give --model or --random")
    if args.model:
        name = f"float8_accuracy_{args.test.parent.name if args.test else 'digits'}"
        model = swinkit.load(args.model).eval()
        if not isinstance(model, Classifier):
            parser.error(f"{args.model} is no classifier")
        images, labels = pictures(model, args.test, "all" if args.test else "test", args.limit)
        rows = measure(Path(args.model).name, model, images, labels)
    else:
        name, rows = "float8_error_random", []
        for known in args.random:
            workload = Workload(model=known, batch=args.batch)
            rows += measure(known, workload.build(), workload.pictures())
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    print(f"written: {write_results(name, rows, 'cpu', args.out).name}", file=sys.stderr)
    return 0


def measure(
    name: str, model: Classifier, images: Tensor, labels: Tensor | None = None
) -> list[dict[str, Any]]:
    """A row for each form: its errors, and with labels the shares of answers as in float32, and right."""
    truth, rows = run(model, images), []
    for label, form in forms(model):
        found = run(form, images)
        row: dict[str, Any] = {"model": name, "form": label, "pictures": len(images)}
        row["linear_layers_in_float8"] = sum(isinstance(layer, Float8Linear) for layer in form.modules())
        row["largest_error"] = relative_error([found], [truth])
        row["error_of_norms"] = ((found - truth).norm() / truth.norm()).item()
        if labels is not None:  # with random weights all classes are nearly alike
            row["same_class"] = accuracy(found.argmax(dim=1), truth.argmax(dim=1))
            row["top1"] = accuracy(found.argmax(dim=1), labels)
        rows.append(row)
    return rows


def forms(model: Classifier) -> Iterator[tuple[str, nn.Module]]:
    """Name and form, one after the other, so that only one is held."""
    every = range(len(model.backbone.stages))
    yield "float32", model
    yield "bfloat16", copy.deepcopy(model).bfloat16()
    yield "float8, last two stages", to_float8(model)
    yield "float8, all stages", to_float8(model, stages=every)
    yield "float8, last two stages, bfloat16 around", to_float8(model).bfloat16()
    yield "float8, all stages, bfloat16 around", to_float8(model, stages=every).bfloat16()


def run(model: nn.Module, images: Tensor) -> Tensor:
    """Logits (B, K) in float32."""
    dtype = next(model.parameters()).dtype
    with torch.inference_mode():
        return torch.cat([model(batch.to(dtype)).float() for batch in images.split(BATCH)])


if __name__ == "__main__":
    sys.exit(main())
