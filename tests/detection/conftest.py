"""A small data set with objects that a tiny detector can be trained on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def object_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write root/{train,val}/*.png with bright squares and dark disks, and COCO annotations; returns root."""

    def make(
        count: int = 6, size: tuple[int, int] = (64, 80), *, masks: bool = True, root: str = "shapes"
    ) -> Path:
        for part, seed in (("train", 0), ("val", 1)):
            folder = tmp_path / root / part
            folder.mkdir(parents=True)
            (tmp_path / root / "annotations").mkdir(exist_ok=True)
            data: dict[str, Any] = {
                "images": [],
                "annotations": [],
                "categories": [{"id": 4, "name": "square"}, {"id": 9, "name": "disk"}],
            }
            random = np.random.default_rng(seed)
            for number in range(count):
                _picture(data, folder, number, size, random, masks=masks)
            (tmp_path / root / "annotations" / f"instances_{part}.json").write_text(json.dumps(data))
        return tmp_path / root

    return make


def _picture(
    data: dict[str, Any],
    folder: Path,
    number: int,
    size: tuple[int, int],
    random: np.random.Generator,
    *,
    masks: bool,
) -> None:
    # Every second picture stands upright.
    height, width = size if number % 2 else size[::-1]
    pixels = np.full((height, width, 3), 120, dtype=np.uint8)
    for kind in (4, 9):
        side = int(random.integers(16, 28))
        x, y = int(random.integers(0, width - side)), int(random.integers(0, height - side))
        rows, columns = np.mgrid[:height, :width]
        inside = (rows >= y) & (rows < y + side) & (columns >= x) & (columns < x + side)
        outline = [x, y, x + side, y, x + side, y + side, x, y + side]
        if kind == 9:
            inside = (rows - y - side / 2) ** 2 + (columns - x - side / 2) ** 2 <= (side / 2) ** 2
            turns = np.linspace(0, 2 * np.pi, 17)[:-1]
            points = [(x + side / 2 * (1 + np.cos(t)), y + side / 2 * (1 + np.sin(t))) for t in turns]
            outline = [float(value) for point in points for value in point]
        pixels[inside] = 250 if kind == 4 else 10
        annotation = {
            "id": len(data["annotations"]) + 1,
            "image_id": number + 100,
            "category_id": kind,
            "bbox": [x, y, side, side],
            "area": int(inside.sum()),
            "iscrowd": 0,
        }
        data["annotations"].append({**annotation, "segmentation": [outline]} if masks else annotation)
    name = f"{number}.png"
    Image.fromarray(pixels).save(folder / name)
    data["images"].append({"id": number + 100, "file_name": name, "height": height, "width": width})
