"""Memory and time of segmenting one very large picture on the CPU.

    python benchmarks/segmentation_large_picture.py              # 12,000 x 9,000 pixels, UperNet on Swin-T
    python benchmarks/segmentation_large_picture.py --width 2000 --height 1500      # a quick look

A JPEG of that size is written, then read and segmented in a process of its own, as `swinkit predict` would:
picture, tiles, mask file, overlay. The peak is the highest resident memory of that process, as the operating
system counts it (ru_maxrss). Weights are random: neither memory nor time depends on them. First a smaller
picture is segmented in tiles and in one pass, and the masks compared. `--model camvid` is the small model of
that recipe, for a run of minutes.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from common import RESULTS, write_results
from swinkit.backbones import SwinConfig
from swinkit.evaluate.masks import mask_of_picture
from swinkit.models_segmentation import create_segmenter
from swinkit.predictor_masks import MaskPredictor
from swinkit.segmentation.config import InferenceConfig
from swinkit.segmentation.segmenter import Segmenter

LIMIT_GIB = 4.0


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory and time of segmenting one very large picture.")
    parser.add_argument("--width", type=int, default=12_000)
    parser.add_argument("--height", type=int, default=9_000)
    parser.add_argument("--model", default="swin_tiny_patch4_window7_224")
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        print(json.dumps(segment(args.child, args.model, args.classes)))
        return 0
    agreement = check()
    if agreement < 0.9:  # pyramid pooling sees a tile, not the picture: ties may fall otherwise
        print(f"tiles and one pass agree in {agreement:.1%} of the pixels only", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "large.jpg"
        write_picture(picture, args.width, args.height)
        words = [sys.executable, __file__, "--child", str(picture), "--model", args.model]
        words += ["--classes", str(args.classes)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return 1
    found = json.loads(done.stdout.splitlines()[-1])
    row = {"width": args.width, "height": args.height, "model": args.model, "classes": args.classes, **found}
    row["tiles_agree_with_one_pass"] = agreement
    print(json.dumps(row, indent=1))
    name = "segmentation_large_picture" + ("_camvid" if args.model == "camvid" else "")
    if (args.width, args.height) != (12_000, 9_000):
        name += f"_{args.width}x{args.height}"
    print(f"written: {write_results(name, row, 'cpu', args.out).name}", file=sys.stderr)
    return 0 if found["peak_gib"] < LIMIT_GIB else 1


def segment(picture: Path, name: str, classes: int) -> dict[str, float]:
    """Segment the file and write its mask and overlay; return seconds and this process's peak memory."""
    model = build(name, classes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    result = MaskPredictor(model)(picture)
    predicted = time.perf_counter()
    result.save_mask(picture.with_name("mask.png"))
    result.save(picture.with_name("overlay.png"))
    return {
        "seconds": predicted - start,
        "seconds_writing": time.perf_counter() - predicted,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "before_gib": before / 2**20,
    }


def build(name: str, classes: int) -> Segmenter:
    """The model of a variant, or of the camvid recipe."""
    if name != "camvid":
        return create_segmenter(name, num_classes=classes)
    trunk = SwinConfig(embed_dim=48, depths=(2, 2, 4, 2), num_heads=(2, 4, 8, 16))
    return create_segmenter(trunk, num_classes=classes, channels=64, auxiliary_channels=64)


def write_picture(path: Path, width: int, height: int) -> None:
    """A smooth coloured pattern with some noise, a band at a time."""
    canvas = Image.new("RGB", (width, height))
    random = np.random.default_rng(0)
    for top in range(0, height, 500):
        rows = min(500, height - top)
        y, x = np.mgrid[top : top + rows, 0:width].astype(np.float32)
        waves = np.stack([np.sin(x / 97), np.sin(y / 71), np.sin((x + y) / 53)], axis=-1)
        noise = random.integers(-10, 10, (rows, width, 1))
        canvas.paste(Image.fromarray((120 + 90 * waves + noise).clip(0, 255).astype(np.uint8)), (0, top))
    canvas.save(path, quality=90)


def check() -> float:
    """Share of pixels in which tiles with a wide overlap and one pass agree, for a small model."""
    torch.manual_seed(0)
    model: Segmenter = create_segmenter(
        "swin_tiny_patch4_window7_224", num_classes=5, channels=32, auxiliary_channels=0
    ).eval()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    picture = picture.resize((900, 600), Image.Resampling.BICUBIC)
    whole = mask_of_picture(model, picture)
    model.set_inference(InferenceConfig(crop=(448, 672), stride=(224, 224), tile_from=1))
    return float((mask_of_picture(model, picture) == whole).float().mean())


if __name__ == "__main__":
    sys.exit(main())
