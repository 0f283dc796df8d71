"""Pictures with masks: folders of index, palette or colour PNGs, and ADE20K's layout.

A mask inside the library is a uint8 array (H, W): the class of each pixel, 255 for none.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from swinkit.data.config import Split
from swinkit.data.mask_classes import MaskClasses, read_classes
from swinkit.data.mask_config import MaskDataConfig
from swinkit.data.mask_files import read_mask
from swinkit.data.pictures import list_pictures, open_picture, pictures_below
from swinkit.data.splitting import stratified_split
from swinkit.errors import InputError

PICTURE_FOLDERS = ("images", "image", "imgs", "pictures", "JPEGImages")
MASK_FOLDERS = ("masks", "mask", "annotations", "labels", "gt", "SegmentationClass")
SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
MASK_SUFFIXES = ("", "_mask", "-mask", "_label", "_labels", "_gt")
"""What may stand behind the picture's name in the mask's."""


@dataclass(frozen=True)
class MaskDataset:
    """Pictures and their masks.

    Attributes:
        paths: the pictures.
        mask_paths: one mask each.
        legend: classes, and how the files' values stand for them.
    """

    paths: tuple[Path, ...]
    mask_paths: tuple[Path, ...]
    legend: MaskClasses

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return self.legend.names

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, np.ndarray]:
        """The picture, upright RGB, and its mask (H, W) uint8.

        Raises:
            InputError: either cannot be read, their sizes differ, or the mask has a value of no class.
        """
        picture, mask = open_picture(self.paths[index]), self.mask(index)
        if (picture.height, picture.width) != mask.shape:
            raise InputError(
                f"{self.paths[index]} is {picture.width} x {picture.height} pixels, but its mask "
                f"{self.mask_paths[index]} is {mask.shape[1]} x {mask.shape[0]}: make them the same size."
            )
        return picture, mask

    def mask(self, index: int) -> np.ndarray:
        """The mask (H, W) uint8 alone."""
        path = self.mask_paths[index]
        return self.legend.decode(read_mask(path), path)


def open_masks(config: MaskDataConfig, split: Split) -> MaskDataset:
    """Open one part of a folder of pictures and masks.

    Understood: root/images/train with root/masks/train, root/train/images with root/train/masks, ADE20K's
    root/images/training with root/annotations/training, and root/images with root/masks alone. Where there
    is no validation part a `val_fraction` of the training pictures is held out.

    Raises:
        InputError: another layout, a picture without a mask, or no class list that fits.
    """
    root = config.path
    if root is None:
        raise InputError("no data: give a folder of pictures and masks with --data.")
    if not root.is_dir():
        raise InputError(f"there is no folder {root}: give a folder with images/ and masks/ in it.")
    found = None if split == "all" else find_folders(root, split)
    undivided = split != "test" and find_folders(root, "val") is None
    if undivided:
        found = find_folders(root, "train") or find_folders(root, None)
    if found is None and split == "all":
        raise InputError(
            f"{root} has no pictures with masks: expected {root}/images and {root}/masks (or their train, "
            "val and test folders)."
        )
    if found is None:
        raise InputError(
            f"{root} has no {split} pictures with masks: expected {root}/images/{split} and "
            f"{root}/masks/{split}, or {root}/{split}/images and {root}/{split}/masks."
        )
    pictures, masks = pair(*found)
    everything = _all_masks(root) or masks  # so that all parts agree on the classes
    if undivided and split != "all":
        train, val = stratified_split([0] * len(pictures), config.val_fraction, config.split_seed)
        chosen = val if split == "val" else train
        pictures, masks = [pictures[i] for i in chosen], [masks[i] for i in chosen]
    legend = read_classes(config, root, everything)
    return MaskDataset(tuple(pictures), tuple(masks), legend)


def find_folders(root: Path, split: Split | None) -> tuple[Path, Path] | None:
    """Return the folders of the pictures and of the masks of a split (None: without splits), if there."""
    names = ("",) if split is None else SPLIT_FOLDERS[split]
    for name in names:
        for pictures in PICTURE_FOLDERS:
            for masks in MASK_FOLDERS:
                for first, second in (
                    (root / pictures / name, root / masks / name),
                    (root / name / pictures, root / name / masks),
                ):
                    if first.is_dir() and second.is_dir():
                        return first, second
    return None


def _all_masks(root: Path) -> list[Path]:
    found = (find_folders(root, split) for split in SPLIT_FOLDERS)
    return [mask for folders in found if folders is not None for mask in pictures_below(folders[1])]


def pair(pictures: Path, masks: Path) -> tuple[list[Path], list[Path]]:
    """Return the pictures of a folder and the mask of each, found by name.

    Raises:
        InputError: a picture has no mask.
    """
    files = list_pictures(pictures)
    by_name = {path.relative_to(masks).with_suffix("").as_posix(): path for path in list_pictures(masks)}
    found: list[Path] = []
    for file in files:
        name = file.relative_to(pictures).with_suffix("").as_posix()
        mask = next((by_name[name + end] for end in MASK_SUFFIXES if name + end in by_name), None)
        if mask is None:
            lacking = sum(
                not any(_name(other, pictures) + end in by_name for end in MASK_SUFFIXES) for other in files
            )
            raise InputError(
                f"{file} has no mask: expected {masks / name}.png "
                f"({lacking} of {len(files)} pictures lack one)."
            )
        found.append(mask)
    return files, found


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()
