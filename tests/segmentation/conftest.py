"""Small pictures with masks: a dark ground and a bright square, whose place and size vary."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def draw(seed: int, size: tuple[int, int]) -> tuple[Image.Image, np.ndarray]:
    """One picture and its mask: 0 ground, 1 square, 255 a strip without a label."""
    random = np.random.default_rng(seed)
    height, width = size
    side = int(random.integers(height // 4, height // 2))
    top, left = int(random.integers(height - side)), int(random.integers(width - side))
    pixels = random.integers(0, 60, (height, width, 3), dtype=np.uint8)
    mask = np.zeros(size, np.uint8)
    pixels[top : top + side, left : left + side] += 150
    mask[top : top + side, left : left + side] = 1
    mask[:2] = 255
    return Image.fromarray(pixels), mask


@pytest.fixture
def mask_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write root/images/SPLIT and root/masks/SPLIT with a classes.txt; returns the root."""

    def make(
        counts: dict[str, int] | None = None, size: tuple[int, int] = (48, 64), root: str = "squares"
    ) -> Path:
        folder = tmp_path / root
        for number, (split, count) in enumerate((counts or {"train": 6, "val": 2, "test": 2}).items()):
            for kind in ("images", "masks"):
                (folder / kind / split).mkdir(parents=True)
            for index in range(count):
                picture, mask = draw(100 * number + index, size)
                picture.save(folder / "images" / split / f"{index}.jpg", quality=95)
                Image.fromarray(mask).save(folder / "masks" / split / f"{index}.png")
        (folder / "classes.txt").write_text("ground\nsquare\n")
        return folder

    return make
