"""Tar shards: found, counted, shuffled by (seed, epoch), shared by workers without loss or repetition."""

import io
import tarfile
from collections import Counter
from typing import Any

import pytest
import torch
from PIL import Image

from swinkit.data import (
    AugmentConfig,
    DataConfig,
    TransformedShards,
    build_loader,
    open_dataset,
    train_transform,
)
from swinkit.errors import InputError
from swinkit.spec import Preprocess

pytest.importorskip("webdataset")


def write_shard(path, numbers, *, bad=None, label=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            buffer = io.BytesIO()
            Image.new("RGB", (8, 8), (number, 0, 0)).save(buffer, "PNG")
            picture = buffer.getvalue()[:40] if number == bad else buffer.getvalue()
            text = str(number % 2 if label is None else label).encode()
            for ending, data in (("png", picture), ("cls", text)):
                member = tarfile.TarInfo(f"{number:04d}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


@pytest.fixture
def shards(tmp_path):
    for shard in range(4):
        write_shard(tmp_path / f"train-{shard}.tar", range(shard * 10, shard * 10 + 10 - shard))
    write_shard(tmp_path / "val-0.tar", range(100, 105))
    (tmp_path / "classes.txt").write_text("even\nodd\n")
    return tmp_path


def red(picture: Any) -> int:
    return picture.getpixel((0, 0))[0]


def numbers(dataset, epoch=0):
    return [red(picture) for _, picture, _ in dataset.read(epoch)]


def test_shards_are_recognised_and_read(shards):
    train, val = (open_dataset(DataConfig(path=shards), split) for split in ("train", "val"))
    assert train.classes == ("even", "odd")
    assert (len(train), len(val)) == (34, 5)
    assert numbers(val) == [100, 101, 102, 103, 104]
    assert all(label == red(picture) % 2 for picture, label in train)


def test_an_epoch_has_every_picture_once_in_an_order_of_its_own(shards):
    train = open_dataset(DataConfig(path=shards), "train")
    first, second = numbers(train, 0), numbers(train, 1)
    assert Counter(first) == Counter(second)
    assert set(Counter(first).values()) == {1}
    assert len(first) == 34
    assert first != second
    assert numbers(open_dataset(DataConfig(path=shards), "train"), 0) == first


@pytest.mark.parametrize("split", ["train", "val"])
def test_workers_share_the_shards(shards, split):
    """Five validation pictures in one shard: each of two workers takes every second one."""
    dataset = open_dataset(DataConfig(path=shards), split)
    transformed = TransformedShards(dataset, lambda picture: torch.tensor(red(picture)))
    loader = build_loader(transformed, batch_size=3, workers=2)
    got = torch.cat([images for images, _ in loader]).tolist()
    assert len(got) == len(dataset)
    if split == "val":
        assert sorted(got) == [100, 101, 102, 103, 104]


def test_epochs_reach_persistent_workers(shards):
    transform = train_transform(AugmentConfig(), Preprocess(size=(8, 8)))
    transformed = TransformedShards(open_dataset(DataConfig(path=shards), "train"), transform)
    loader = build_loader(transformed, batch_size=34, workers=1)
    epochs = []
    for epoch in (0, 1, 0):
        loader.set_epoch(epoch)
        epochs.append(torch.cat([images for images, _ in loader]))
    assert torch.equal(epochs[0], epochs[2])
    assert not torch.equal(epochs[0], epochs[1])


def test_shards_without_validation_hold_some_out(tmp_path):
    for shard in range(3):
        write_shard(tmp_path / f"{shard}.tar", range(shard * 4, shard * 4 + 4))
    (tmp_path / "classes.txt").write_text("even\nodd\n")
    assert [len(open_dataset(DataConfig(path=tmp_path), split)) for split in ("train", "val")] == [8, 4]


def test_a_pattern_of_shards(shards):
    config = DataConfig(shards=str(shards / "train-{0..1}.tar"), path=shards)
    assert len(open_dataset(config, "train")) == 19


def test_what_is_wrong_is_named(tmp_path):
    write_shard(tmp_path / "a" / "0.tar", range(4), bad=2)
    with pytest.raises(InputError, match=r"no classes\.txt in"):
        open_dataset(DataConfig(path=tmp_path / "a"), "all")
    (tmp_path / "a" / "classes.txt").write_text("even\nodd\n")
    with pytest.raises(InputError, match=r"0002 in .*0\.tar is not a picture"):
        list(open_dataset(DataConfig(path=tmp_path / "a"), "all"))
    assert len(list(open_dataset(DataConfig(path=tmp_path / "a", bad_pictures="skip"), "all"))) == 3
    write_shard(tmp_path / "b" / "0.tar", range(4), label=7)
    (tmp_path / "b" / "classes.txt").write_text("even\nodd\n")
    with pytest.raises(InputError, match=r"label of 0000 in .* is '7': a number from 0 to 1"):
        list(open_dataset(DataConfig(path=tmp_path / "b"), "all"))
    with pytest.raises(InputError, match=r"not a local file.*set samples"):
        open_dataset(DataConfig(shards="https://host/{0..3}.tar"), "train")


def test_a_broken_shard_is_named(shards):
    path = shards / "train-0.tar"
    dataset = open_dataset(DataConfig(path=shards), "train")
    path.write_bytes(path.read_bytes()[:2580])
    with pytest.raises(InputError, match=r"train-0\.tar could not be read to its end"):
        numbers(dataset)
