"""CIFAR-10, CIFAR-100 and ImageNet-1K in the form torchvision downloads and reads them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, ImageNet

from swinkit.data.config import DataConfig, Split
from swinkit.data.folder import FolderDataset, without_bad_pictures
from swinkit.data.splitting import stratified_split
from swinkit.errors import InputError


class CifarDataset:
    """Some of CIFAR's 32x32 pictures, which are in memory as arrays."""

    def __init__(self, source: CIFAR10, indices: Sequence[int]) -> None:
        self.classes = tuple(source.classes)
        self.pixels_NHWC = source.data[list(indices)]
        self.labels = tuple(int(source.targets[index]) for index in indices)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.pixels_NHWC[index]), self.labels[index]


def open_cifar10(config: DataConfig, split: Split) -> CifarDataset:
    """CIFAR-10: "test" is the published test set, "val" is held out of the training set."""
    return _open_cifar(CIFAR10, "CIFAR-10", config, split)


def open_cifar100(config: DataConfig, split: Split) -> CifarDataset:
    """CIFAR-100, split as CIFAR-10."""
    return _open_cifar(CIFAR100, "CIFAR-100", config, split)


def open_imagenet(config: DataConfig, split: Split) -> FolderDataset:
    """ImageNet-1K from its published archives in `path`; "val" is the published 50,000, there is no "test".

    Classes are named by their synonyms, with the WordNet id where two would be equal.
    """
    root = config.path or Path("data")
    if split == "test":
        raise InputError("ImageNet's test labels are not public: ask for the val split.")
    try:
        source = ImageNet(root, split="val" if split == "val" else "train")
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"ImageNet is not ready in {root} ({_one_line(error)}): put ILSVRC2012_devkit_t12.tar.gz and "
            "ILSVRC2012_img_{train,val}.tar there, or give a folder of classes with kind 'folder'."
        ) from error
    paths = [Path(path) for path, _ in source.samples]
    labels = [label for _, label in source.samples]
    dataset = FolderDataset(paths, labels, _unique_names(source.classes, source.wnids))
    return without_bad_pictures(dataset) if config.bad_pictures == "skip" else dataset


def _open_cifar(cls: type[CIFAR10], name: str, config: DataConfig, split: Split) -> CifarDataset:
    root = config.path or Path("data")
    try:
        source = cls(root, train=split != "test", download=config.download)
    except (RuntimeError, OSError) as error:  # URLError is an OSError
        raise InputError(
            f"{name} is not in {root} and could not be downloaded ({_one_line(error)}): "
            f"connect to the network, or put torchvision's {cls.filename} there."
        ) from error
    everything = list(range(len(source.targets)))
    if split in ("test", "all"):
        return CifarDataset(source, everything)
    kept, held = stratified_split(source.targets, config.val_fraction, config.split_seed)
    return CifarDataset(source, kept if split == "train" else held)


def _unique_names(classes: Sequence[Any], wnids: Sequence[str]) -> list[str]:
    joined = [", ".join(names) if isinstance(names, (tuple, list)) else str(names) for names in classes]
    counts = Counter(joined)
    return [
        name if counts[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(joined, wnids, strict=True)
    ]


def _one_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
