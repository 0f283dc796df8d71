"""What 8-bit linear layers cost in accuracy, on real pictures the model has not seen.

    swinkit quickstart                                                            # trains runs/quickstart
    python benchmarks/int8_accuracy.py --model runs/quickstart                    # scikit-learn's digits
    python benchmarks/int8_accuracy.py --model runs/cifar10 --data cifar10/train --test cifar10/test

The model is exported to ONNX in float32 and, calibrated on training pictures, in 8 bits; both files and the
model itself classify the test pictures. The float32 file has to agree with the model on every one of them.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import swinkit
from common import RESULTS, write_results
from swinkit.classification import Classifier
from swinkit.data import DataConfig, eval_transform, open_dataset
from swinkit.deploy import export
from swinkit.deploy.export import READERS

CALIBRATION = 128
"""Training pictures that show which values occur."""
BATCH = 50


def main() -> int:
    parser = argparse.ArgumentParser(description="What 8-bit linear layers cost in accuracy.")
    parser.add_argument("--model", required=True, help="a run folder or checkpoint of a classifier")
    parser.add_argument("--data", type=Path, help="folder of training pictures; the built-in digits without")
    parser.add_argument("--test", type=Path, help="folder of test pictures, with --data")
    parser.add_argument("--limit", type=int, default=2000, help="test pictures at most, evenly spread")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    model = swinkit.load(args.model)
    if not isinstance(model, Classifier):
        parser.error(f"{args.model} is no classifier")
    calibration, _ = pictures(model, args.data, "train", CALIBRATION)
    images, labels = pictures(model, args.test or args.data, "all" if args.test else "test", args.limit)
    row = measure(model, calibration, images, labels)
    row = {"model": Path(args.model).name, "data": args.data.parent.name if args.data else "digits", **row}
    for key, value in row.items():
        print(f"{key:<24}{value}")
    if row["float32_onnx_agrees"] < 1:
        print("the float32 file disagrees with the model", file=sys.stderr)
        return 1
    name = f"int8_accuracy_{row['data']}"
    print(f"written: {write_results(name, row, 'cpu', args.out).name}", file=sys.stderr)
    return 0


def pictures(model: Classifier, path: Path | None, split: Any, limit: int) -> tuple[Tensor, Tensor]:
    """At most `limit` pictures of a split, evenly spread, as the model gets them, and their labels."""
    config = DataConfig(path=path) if path is not None else DataConfig(kind="digits")
    data = open_dataset(config, split)
    transform = eval_transform(model.spec.preprocess)
    count = min(limit, len(data))
    chosen = [data[index * len(data) // count] for index in range(count)]
    images = torch.stack([transform(picture) for picture, _ in chosen])
    return images, torch.tensor([label for _, label in chosen])


def measure(model: Classifier, calibration: Tensor, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """Accuracy of the model, of its float32 file and of its 8-bit file; sizes of the files."""
    with torch.inference_mode():
        truth = torch.cat([model(batch) for batch in images.split(BATCH)]).argmax(dim=1)
    row: dict[str, Any] = {"pictures": len(labels), "calibration_pictures": len(calibration)}
    row["top1_model"] = accuracy(truth, labels)
    with tempfile.TemporaryDirectory() as folder:
        for kind, own in (("float32", None), ("int8", list(calibration))):
            path = Path(folder) / f"{kind}.onnx"
            export(model, path, to="onnx", size=model.spec.preprocess.size, calibration=own)
            run = READERS["onnx"](path)
            found = torch.cat([run(batch)[0] for batch in images.split(BATCH)]).argmax(dim=1)
            row[f"top1_{kind}_onnx"] = accuracy(found, labels)
            row[f"{kind}_onnx_agrees"] = accuracy(found, truth)
            row[f"{kind}_onnx_bytes"] = path.stat().st_size
    row["top1_change_int8"] = row["top1_int8_onnx"] - row["top1_model"]
    return row


def accuracy(found: Tensor, labels: Tensor) -> float:
    return (found == labels).double().mean().item()


if __name__ == "__main__":
    sys.exit(main())
