"""How fast training pictures with objects come: read, cut, resized, mirrored, masks drawn, batched.

    python benchmarks/detection_loading.py --data coco_mini

One process, one thread, as one loading worker has; the paper's augmentation at full size. A training step
that takes two pictures on a GPU needs about 5 pictures a second and GPU (Swin-T, published speed), so the
worker count follows from the last column.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from common import RESULTS, write_results
from swinkit.cli.common import print_table
from swinkit.data.object_config import ObjectAugmentConfig, ObjectDataConfig
from swinkit.data.object_layout import open_objects, without_empty
from swinkit.data.object_transforms import ObjectTrainTransform, TransformedObjects
from swinkit.spec import Preprocess


def main() -> int:
    """Time, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, required=True, help="a COCO data set")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = without_empty(open_objects(ObjectDataConfig(path=args.data, bad="skip"), "train"))
    rows = []
    for masks in (True, False):
        transform = ObjectTrainTransform(ObjectAugmentConfig(), Preprocess(), masks=masks)
        loaded = TransformedObjects(data, transform)
        loaded[0]
        start, cpu = time.perf_counter(), time.process_time()
        for index in range(0, args.pictures, 2):
            TransformedObjects.collate([loaded[index % len(data)], loaded[(index + 1) % len(data)]])
        rows.append(
            {
                "masks": masks,
                "pictures": args.pictures,
                "per_second": args.pictures / (time.perf_counter() - start),
                "per_cpu_second": args.pictures / (time.process_time() - cpu),
            }
        )
    print_table(
        ("masks", "pictures", "pictures/s", "pictures/CPU s"),
        [
            (row["masks"], row["pictures"], *(f"{row[k]:.1f}" for k in ("per_second", "per_cpu_second")))
            for row in rows
        ],
    )
    write_results("detection_loading", rows, "cpu", args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
