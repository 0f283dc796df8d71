"""Reading masks: layouts, kinds of files, what they mean, how they vary in training, what is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from swinkit.data.look_over import look_over
from swinkit.data.mask_classes import parse_classes
from swinkit.data.mask_config import MaskAugmentConfig, MaskDataConfig
from swinkit.data.mask_transforms import MaskTrainTransform, TransformedMasks, distort, fit_factor
from swinkit.data.masks import open_masks
from swinkit.errors import InputError
from swinkit.spec import Preprocess


def write(path: Path, array: np.ndarray, palette: list[int] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    if palette:
        picture.putpalette(palette)
    picture.save(path)
    return path


def pair(
    root: Path, mask: np.ndarray, *, name: str = "a", size: tuple[int, int] | None = None, **more
) -> Path:
    """One picture with this mask, alone in root/{images,masks}/train."""
    size = size or mask.shape[:2]
    write(root / "images" / "train" / f"{name}.jpg", np.zeros((*size, 3), np.uint8))
    return write(root / "masks" / "train" / f"{name}.png", mask, **more)


def first_mask(root: Path, **settings) -> np.ndarray:
    return open_masks(MaskDataConfig(path=root, **settings), "train")[0][1]


MASK = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)


@pytest.mark.parametrize(
    ("pictures", "masks"),
    [
        ("images/train", "masks/train"),
        ("train/images", "train/masks"),
        ("images/training", "annotations/training"),
        ("images/train/city", "masks/train/city"),
    ],
)
def test_layouts(pictures: str, masks: str, tmp_path) -> None:
    write(tmp_path / pictures / "a.jpg", np.zeros((2, 3, 3), np.uint8))
    write(tmp_path / masks / "a.png", MASK)
    kind = "masks"  # the third is ADE20K's, which has its own meaning of values
    assert np.array_equal(first_mask(tmp_path, kind=kind), MASK)


@pytest.mark.parametrize("part", ["", "train"])
def test_without_validation_a_fixed_part_is_held_out(part: str, tmp_path) -> None:
    for index in range(10):
        write(tmp_path / "images" / part / f"{index}.jpg", np.zeros((2, 3, 3), np.uint8))
        write(tmp_path / "masks" / part / f"{index}_mask.png", MASK)
    config = MaskDataConfig(path=tmp_path, val_fraction=0.3)
    train, val = open_masks(config, "train"), open_masks(config, "val")
    assert (len(train), len(val), len(open_masks(config, "all"))) == (7, 3, 10)
    assert not set(train.paths) & set(val.paths)
    assert open_masks(config, "val").paths == val.paths


def test_ade20k_shifts_labels_and_ignores_zero(tmp_path) -> None:
    write(tmp_path / "images" / "training" / "a.jpg", np.zeros((2, 3, 3), np.uint8))
    write(tmp_path / "annotations" / "training" / "a.png", np.array([[0, 1, 2], [150, 255, 3]], np.uint8))
    data = open_masks(MaskDataConfig(path=tmp_path), "train")
    assert data[0][1].tolist() == [[255, 0, 1], [149, 255, 2]]
    assert (len(data.classes), data.classes[0], data.classes[-1]) == (150, "wall", "flag")


def test_palette_masks_keep_their_numbers_and_give_their_colours(tmp_path) -> None:
    colors = [10, 20, 30, 40, 50, 60, 70, 80, 90]
    pair(tmp_path, np.array([[0, 1, 2]], np.uint8), palette=colors)
    data = open_masks(MaskDataConfig(path=tmp_path), "train")
    assert data[0][1].tolist() == [[0, 1, 2]]
    assert data.legend.palette == ((10, 20, 30), (40, 50, 60), (70, 80, 90))


def test_colour_masks_are_read_by_the_class_file(tmp_path) -> None:
    colors = np.array([[[128, 64, 128], [0, 0, 0], [70, 130, 180]]], np.uint8)
    pair(tmp_path, colors)
    (tmp_path / "classes.txt").write_text("road 128 64 128\nvoid 0 0 0\nsky #4682b4\n")
    assert first_mask(tmp_path).tolist() == [[0, 255, 1]]


def test_names_such_as_void_mark_a_value_that_is_no_class(tmp_path) -> None:
    pair(tmp_path, np.array([[0, 1, 2]], np.uint8))
    (tmp_path / "classes.txt").write_text("road\nvoid\nsky\n")
    data = open_masks(MaskDataConfig(path=tmp_path), "train")
    assert data.classes == ("road", "sky")
    assert data[0][1].tolist() == [[0, 255, 1]]


def test_values_name_the_numbers_of_two_class_masks(tmp_path) -> None:
    pair(tmp_path, np.array([[0, 255, 0]], np.uint8))
    with pytest.raises(InputError, match=r"--data\.values 0 255"):
        first_mask(tmp_path)
    assert first_mask(tmp_path, values=(0, 255)).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(
    "text", ["road\nsky\n", '["road", "sky"]', '[{"name": "road"}, {"name": "sky", "color": [1, 2, 3]}]']
)
def test_class_files(text: str, tmp_path) -> None:
    file = tmp_path / ("classes.json" if text.startswith("[") else "classes.txt")
    file.write_text(text)
    assert [name for name, _ in parse_classes(file)] == ["road", "sky"]


# What is refused


def test_a_picture_and_a_mask_of_different_size_are_both_named(tmp_path) -> None:
    pair(tmp_path, MASK, size=(4, 5))
    with pytest.raises(InputError, match=r"a\.jpg is 5 x 4 pixels, but its mask .*a\.png is 3 x 2"):
        first_mask(tmp_path)
    with pytest.raises(InputError, match=r"a\.jpg is 5 x 4 pixels, but its mask .*a\.png is 3 x 2"):
        look_over(open_masks(MaskDataConfig(path=tmp_path), "train"))


def test_a_value_outside_the_classes_is_named_with_file_and_count(tmp_path) -> None:
    pair(tmp_path, np.array([[0, 1, 7], [7, 7, 9]], np.uint8))
    (tmp_path / "classes.txt").write_text("road\nsky\n")
    with pytest.raises(
        InputError, match=r"a\.png has the value 7 in 3 pixels and 1 other such values.*2 classes \(0 to 1\)"
    ):
        first_mask(tmp_path)
    assert first_mask(tmp_path, ignore=(7, 9)).tolist() == [[0, 1, 255], [255, 255, 255]]


def test_an_impossible_value_gets_advice_that_works(tmp_path) -> None:
    path = pair(tmp_path, np.array([[0, 1, 700]], np.uint16))
    (tmp_path / "classes.txt").write_text("road\nsky\n")
    with pytest.raises(InputError, match=r"value 700 in 1 pixels.* values must be from 0 to 255"):
        first_mask(tmp_path)
    path.unlink()
    noise = np.random.default_rng(0).integers(0, 40, (16, 16), dtype=np.uint8)
    Image.fromarray(noise).save(path.with_suffix(".jpg"))
    write(tmp_path / "images" / "train" / "a.jpg", np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(InputError, match="JPEG does not keep numbers, save masks as PNG"):
        first_mask(tmp_path)


def test_an_ignored_number_is_no_class(tmp_path) -> None:
    pair(tmp_path, np.array([[0, 1, 2]], np.uint8))
    assert first_mask(tmp_path, ignore=(0,)).tolist() == [[255, 0, 1]]
    (tmp_path / "classes.txt").write_text("ground\nroad\nsky\n")
    with pytest.raises(InputError, match=r"--data\.ignore 0 is the number of the class 'ground'"):
        first_mask(tmp_path, ignore=(0,))


def test_parts_without_a_class_file_agree_on_the_classes(tmp_path) -> None:
    pair(tmp_path, np.array([[0, 1, 1]], np.uint8))
    write(tmp_path / "images" / "val" / "a.jpg", np.zeros((1, 3, 3), np.uint8))
    write(tmp_path / "masks" / "val" / "a.png", np.array([[0, 1, 2]], np.uint8))
    config = MaskDataConfig(path=tmp_path)
    for split in ("train", "val"):
        assert open_masks(config, split).classes == ("class 0", "class 1", "class 2")


def test_a_missing_mask_is_named(tmp_path) -> None:
    pair(tmp_path, MASK)
    write(tmp_path / "images" / "train" / "b.jpg", np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(InputError, match=r"b\.jpg has no mask: expected .*b\.png \(1 of 2 pictures"):
        first_mask(tmp_path)


def test_colours_without_a_palette_are_refused(tmp_path) -> None:
    pair(tmp_path, np.array([[[128, 64, 128], [0, 0, 0]]], np.uint8))
    with pytest.raises(InputError, match=r"a\.png is an RGB picture and no colours are known"):
        first_mask(tmp_path)
    (tmp_path / "classes.txt").write_text("road\nsky\n")
    with pytest.raises(InputError, match=r"a\.png is an RGB picture and no colours are known"):
        first_mask(tmp_path)
    (tmp_path / "classes.txt").write_text("road 128 64 128\nsky 1 1 1\n")
    with pytest.raises(InputError, match=r"the colour \(0, 0, 0\) in 1 pixels"):
        first_mask(tmp_path)


def test_an_all_ignore_picture_is_named_before_training(tmp_path) -> None:
    pair(tmp_path, MASK)
    pair(tmp_path, np.full((2, 3), 255, np.uint8), name="b")
    with pytest.raises(InputError, match=r"b\.png has no labelled pixel"):
        look_over(open_masks(MaskDataConfig(path=tmp_path), "train"))


def test_one_class_alone_is_refused(tmp_path) -> None:
    pair(tmp_path, np.zeros((2, 3), np.uint8))
    (tmp_path / "classes.txt").write_text("road\nsky\n")
    with pytest.raises(InputError, match="only the class 'road'"):
        look_over(open_masks(MaskDataConfig(path=tmp_path), "train"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"path": Path("/nowhere")}, "there is no folder"),
        ({}, "no data"),
        ({"values": (0, 0)}, "different numbers"),
        ({"kind": "coco"}, "kind must be"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_masks(MaskDataConfig(**settings), "train")


def test_a_missing_part_says_what_was_expected(tmp_path) -> None:
    pair(tmp_path, MASK)
    with pytest.raises(InputError, match="has no test pictures with masks: expected"):
        open_masks(MaskDataConfig(path=tmp_path), "test")


def test_a_damaged_mask_is_named(tmp_path) -> None:
    path = pair(tmp_path, MASK)
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"a\.png is damaged"):
        first_mask(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"), [("road\nroad\n", "twice"), ("road\n", "at least two"), ('{"a": 1}', "class list")]
)
def test_bad_class_files(text: str, words: str, tmp_path) -> None:
    file = tmp_path / ("classes.json" if text.startswith("{") else "classes.txt")
    file.write_text(text)
    with pytest.raises(InputError, match=words):
        parse_classes(file)


# Augmentation


def dataset(mask_folder):
    return open_masks(MaskDataConfig(path=mask_folder({"train": 4}, size=(60, 80))), "train")


def test_samples_are_functions_of_seed_epoch_and_index(mask_folder) -> None:
    transform = MaskTrainTransform(MaskAugmentConfig(crop=(32, 40)), Preprocess())
    first = TransformedMasks(dataset(mask_folder), transform, seed=3)
    image, mask = first[1]
    torch.rand(5)
    again = first[1]
    assert torch.equal(image, again[0])
    assert torch.equal(mask, again[1])
    first.set_epoch(1)
    assert not torch.equal(image, first[1][0])
    assert (image.shape, mask.shape, mask.dtype) == ((3, 32, 40), (32, 40), torch.uint8)


def test_the_mask_follows_the_picture(mask_folder) -> None:
    """The square is the only bright thing: mask and brightness must agree after any resize, crop and flip."""
    augment = MaskAugmentConfig(crop=(40, 40), photometric=False)
    samples = TransformedMasks(
        dataset(mask_folder), MaskTrainTransform(augment, Preprocess(mean=(0,) * 3, std=(1,) * 3))
    )
    agree, total = 0, 0
    for epoch in range(5):
        samples.set_epoch(epoch)
        for index in range(len(samples)):
            image, mask = samples[index]
            known = mask != 255
            agree += int(((image.mean(dim=0) > 0.4) == (mask == 1))[known].sum())
            total += int(known.sum())
    assert agree / total > 0.95


def test_small_pictures_are_padded_and_the_padding_ignored(mask_folder) -> None:
    augment = MaskAugmentConfig(crop=(200, 200), ratio=(1.0, 1.0), photometric=False)
    image, mask = TransformedMasks(dataset(mask_folder), MaskTrainTransform(augment, Preprocess()))[0]
    assert bool((mask[60:] == 255).all())
    assert bool((mask[:, 80:] == 255).all())
    assert bool((image[:, 60:] == 0).all())


def test_crops_of_one_class_are_drawn_again() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[45:55, 45:55] = 1
    picture = Image.fromarray(np.zeros((100, 100, 3), np.uint8))
    shares = {}
    for limit in (0.75, 1.0):
        augment = MaskAugmentConfig(crop=(16, 16), ratio=(1, 1), one_class_limit=limit, photometric=False)
        transform = MaskTrainTransform(augment, Preprocess())
        torch.manual_seed(0)
        both = [len(transform(picture, mask)[1].unique()) > 1 for _ in range(60)]
        shares[limit] = sum(both) / len(both)
    assert shares[0.75] > 2 * shares[1.0]


def test_colour_distortion_keeps_size_and_changes_colours() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    torch.manual_seed(0)
    seen = [np.asarray(distort(picture)) for _ in range(12)]
    assert all(array.shape == (20, 30, 3) for array in seen)
    assert len({array.tobytes() for array in seen}) > 8


def test_sides_to_resize_to() -> None:
    assert fit_factor((360, 480), None, None) == 1
    assert fit_factor((360, 480), 720, None) == 2
    assert fit_factor((100, 1000), 200, 500) == 0.5


def test_augmentation_settings_are_checked() -> None:
    for settings in (
        {"ratio": (2.0, 1.0)},
        {"one_class_limit": 0.0},
        {"crop": (0, 5)},
        {"hflip": 2.0},
        {"short_side": 0},
    ):
        with pytest.raises(InputError):
            dataclasses.replace(MaskAugmentConfig(), **settings)


def test_camvid_reads_as_it_is(data_dir) -> None:
    data = open_masks(MaskDataConfig(path=data_dir / "camvid"), "val")
    assert (len(data), len(data.classes), data.legend.ignored) == (101, 11, (11,))
    picture, mask = data[0]
    assert (picture.height, picture.width) == mask.shape
    assert set(np.unique(mask)) <= {*range(11), 255}
