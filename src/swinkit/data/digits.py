"""The handwritten digits that come with scikit-learn: 1,797 real pictures of 8x8 pixels, no network needed.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository.
"""

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from swinkit.data.config import DataConfig, Split
from swinkit.data.splitting import stratified_split

TEST_FRACTION = 0.2
TEST_SEED = 0


class DigitsDataset:
    """Digits as 8x8 RGB pictures, the ink light on dark, with labels 0 to 9."""

    classes = tuple(str(digit) for digit in range(10))

    def __init__(self, pixels_NHW: np.ndarray, labels: list[int]) -> None:
        self.pixels_NHW = pixels_NHW
        self.labels = tuple(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.pixels_NHW[index]).convert("RGB"), self.labels[index]


def open_digits(config: DataConfig, split: Split) -> DigitsDataset:
    """Open a split: test is a fixed fifth of each digit, validation is val_fraction of the rest."""
    images_NHW, targets = load_digits(return_X_y=True)
    pixels_NHW = np.rint(images_NHW.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # 17 grey levels, 0..16
    labels = [int(target) for target in targets]
    rest, test = stratified_split(labels, TEST_FRACTION, TEST_SEED)
    kept, held = stratified_split([labels[index] for index in rest], config.val_fraction, config.split_seed)
    chosen = {
        "train": [rest[index] for index in kept],
        "val": [rest[index] for index in held],
        "test": test,
        "all": list(range(len(labels))),
    }[split]
    return DigitsDataset(pixels_NHW[chosen], [labels[index] for index in chosen])
