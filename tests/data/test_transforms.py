"""Evaluation and training transforms: sizes, values, and what the recipe's RandAugment means."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from swinkit.data import AugmentConfig, eval_transform, train_transform
from swinkit.data.rand_augment import COMMON, INCREASING, PLAIN, RandAugment
from swinkit.errors import InputError
from swinkit.spec import Preprocess


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(300, 400), (400, 300), (100, 90), (256, 256)])
def test_eval_is_resize_256_crop_224(size):
    """Against torchvision's own chain, on pictures larger and smaller than the input."""
    picture = noise(*size)
    reference = v2.Compose(
        [
            v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
            v2.CenterCrop(224),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    torch.testing.assert_close(
        eval_transform(Preprocess())(picture), reference(picture), rtol=1e-5, atol=1e-5
    )


def test_eval_without_crop_resizes_the_whole_picture():
    picture = Image.new("RGB", (100, 50), "black")
    picture.paste((255, 255, 255), (0, 0, 4, 50))  # a crop would cut this border off
    preprocess = Preprocess(size=(32, 48), crop_ratio=None, mean=(0, 0, 0), std=(1, 1, 1))
    image = eval_transform(preprocess)(picture)
    assert image.shape == (3, 32, 48)
    assert image[:, :, 0].min() > 0.8


@pytest.mark.parametrize("side", [(1, 1), (8, 8), (1, 3000), (3000, 1), (32, 32)])
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (48, 32)])
def test_tiny_and_thin_pictures(side, size):
    preprocess = Preprocess(size=size)
    picture = noise(*side)
    assert eval_transform(preprocess)(picture).shape == (3, *size)
    train = train_transform(AugmentConfig(erasing=1.0), preprocess)
    for _ in range(10):
        image = train(picture)
        assert image.shape == (3, *size)
        assert image.isfinite().all()


def test_grey_models_get_one_channel():
    preprocess = Preprocess(size=(8, 8), mean=(0.5,), std=(0.5,))
    assert eval_transform(preprocess)(noise(8, 8)).shape == (1, 8, 8)
    assert train_transform(AugmentConfig(), preprocess)(noise(8, 8)).shape == (1, 8, 8)
    with pytest.raises(InputError, match="4 means"):
        eval_transform(Preprocess(mean=(0.5,) * 4, std=(0.5,) * 4))


def test_training_varies_and_is_drawn_from_torch():
    train = train_transform(AugmentConfig(), Preprocess(size=(32, 32)))
    picture = noise(40, 40)
    one, two = train(picture), train(picture)
    assert not torch.equal(one, two)
    torch.manual_seed(5)
    three = train(picture)
    torch.manual_seed(5)
    assert torch.equal(three, train(picture))


def test_everything_off_is_the_plain_picture():
    off = AugmentConfig(
        scale=(1, 1), ratio=(1, 1), hflip=0, rand_magnitude=0, color_jitter=0, erasing=0, mixup=0, cutmix=0
    )
    preprocess = Preprocess(size=(16, 16), crop_ratio=None)
    picture = noise(16, 16)
    assert torch.equal(train_transform(off, preprocess)(picture), eval_transform(preprocess)(picture))


def test_colour_jitter_only_without_rand_augment():
    with_both = train_transform(AugmentConfig(), Preprocess())
    jitter = train_transform(AugmentConfig(rand_magnitude=0), Preprocess())
    assert isinstance(with_both.color, RandAugment)
    assert isinstance(jitter.color, v2.ColorJitter)
    assert jitter.color.brightness == (0.6, 1.4)
    assert train_transform(AugmentConfig(rand_magnitude=0, color_jitter=0), Preprocess()).color is None


def apply(table, name, picture, level):
    return np.asarray(table[name](picture, level, v2.InterpolationMode.NEAREST, [9.0, 8.0, 7.0])).astype(int)


def test_operations_at_known_strengths():
    """The recipe's strengths: share of the full 30 degrees, 0.3, 0.45, 4 bits, 256 levels, 110, 0.9."""
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2))
    values = np.arange(256)
    assert (apply(INCREASING, "posterize", ramp, 0.9)[0, :, 0] == values & 0b10000000).all()
    assert (apply(PLAIN, "posterize", ramp, 0.9)[0, :, 0] == values & 0b11100000).all()
    assert (
        apply(INCREASING, "solarize", ramp, 0.9)[0, :, 0] == np.where(values < 26, values, 255 - values)
    ).all()
    added = np.where(values < 128, np.minimum(255, values + 99), values)
    assert (apply(COMMON, "solarize_add", ramp, 0.9)[0, :, 0] == added).all()
    assert (apply(COMMON, "invert", ramp, 0.9)[0, :, 0] == 255 - values).all()
    square = noise(40, 40)
    moved = {tuple(apply(COMMON, "translate_x", square, 1.0)[0, x]) for x in (0, 39)}
    assert (9, 8, 7) in moved  # what comes from outside has the fill colour
    pixels = np.asarray(square).astype(int)
    shifts = {18: pixels[:, :22], -18: pixels[:, 18:]}
    got = apply(COMMON, "translate_x", square, 1.0)
    assert (got[:, 18:] == shifts[18]).all() or (got[:, :22] == shifts[-18]).all()
    bright = {
        round(apply(INCREASING, "brightness", Image.new("RGB", (2, 2), (100,) * 3), 1.0)[0, 0, 0], -1)
        for _ in range(20)
    }
    assert bright == {10, 190}


def test_shear_and_rotation_strengths():
    dots = Image.new("RGB", (41, 41), "black")
    dots.putpixel((20, 40), (255, 255, 255))
    columns = {int(apply(COMMON, "shear_x", dots, 1.0)[40, :, 0].argmax()) for _ in range(20)}
    assert columns <= {8, 7, 32, 33}  # 40 rows down, 0.3 of that sideways
    assert len(columns) == 2
    bar = Image.new("RGB", (101, 101), "black")
    bar.paste((255, 255, 255), (50, 0, 51, 101))
    tops = {int(apply(COMMON, "rotate", bar, 1.0)[10, :, 0].argmax()) for _ in range(20)}
    assert all(abs(abs(top - 50) - 40 * np.tan(np.pi / 6)) < 2 for top in tops)
    assert len(tops) == 2


def test_fifteen_operations_two_at_a_time_half_of_the_time():
    assert len({**COMMON, **INCREASING}) == len({**COMMON, **PLAIN}) == 15
    augment = RandAugment()
    calls: list[float] = []
    augment.table = [lambda picture, level, *_: calls.append(level) or picture]
    for _ in range(2000):
        augment(Image.new("RGB", (1, 1)))
    assert abs(len(calls) / 2000 - 1.0) < 0.08  # 2 operations x 1/2
    levels = np.asarray(calls) * 10
    assert abs(levels.mean() - 9) < 0.06
    assert abs(levels.std() - 0.5) < 0.06
    assert levels.max() <= 10


def test_augment_config_refuses_what_makes_no_sense():
    wrongs: dict[str, Any] = {"hflip": 2, "rand_magnitude": 11, "mixup": -1, "scale": (0.5, 0.1)}
    for name, value in wrongs.items():
        with pytest.raises(InputError, match=name):
            AugmentConfig(**{name: value})
