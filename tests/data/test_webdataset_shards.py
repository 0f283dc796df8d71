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


def numbers(dataset, epoch=0, *, shuffle=True, rank=0, world=1, start=0):
    sampler = dataset.sampler(shuffle=shuffle, rank=rank, world=world)
    sampler.set_epoch(epoch)
    sampler.start_at(start)
    return [int(sample.name[:4]) for sample in sampler]


def batches(dataset, *, workers, batch_size, shuffle=True, epoch=0, rank=0, world=1):
    """What a loader delivers, and how many batches it promised."""
    transformed = TransformedShards(dataset, lambda picture: torch.tensor(red(picture)))
    loader = build_loader(
        transformed, batch_size=batch_size, workers=workers, shuffle=shuffle, rank=rank, world=world
    )
    loader.set_epoch(epoch)
    return [images.tolist() for images, _ in loader], len(loader)


def test_shards_are_recognised_and_read(shards):
    train, val = (open_dataset(DataConfig(path=shards), split) for split in ("train", "val"))
    assert train.classes == ("even", "odd")
    assert (len(train), len(val)) == (34, 5)
    assert numbers(val, shuffle=False) == [100, 101, 102, 103, 104]
    assert all(label == red(picture) % 2 for picture, label in train)


def test_an_epoch_has_every_picture_once_in_an_order_of_its_own(shards):
    train = open_dataset(DataConfig(path=shards), "train")
    first, second = numbers(train, 0), numbers(train, 1)
    assert Counter(first) == Counter(second)
    assert set(Counter(first).values()) == {1}
    assert len(first) == 34
    assert first != second
    assert numbers(open_dataset(DataConfig(path=shards), "train"), 0) == first


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_batches_are_the_same_for_any_number_of_workers(shards, workers):
    """34 pictures in batches of 8 leave a rest of 2, and the loader delivers what its length says."""
    train = open_dataset(DataConfig(path=shards), "train")
    got, promised = batches(train, workers=workers, batch_size=8, epoch=1)
    assert [len(batch) for batch in got] == [8, 8, 8, 8, 2]
    assert promised == len(got)
    assert [number for batch in got for number in batch] == numbers(train, 1)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("workers", "world"), [(0, 1), (1, 1), (2, 1), (3, 1), (2, 2), (0, 3)])
def test_every_validation_picture_is_scored_once(tmp_path, workers, world):
    """Ten pictures in two unequal shards."""
    write_shard(tmp_path / "train.tar", range(4))
    write_shard(tmp_path / "val-0.tar", range(7))
    write_shard(tmp_path / "val-1.tar", range(7, 10))
    (tmp_path / "classes.txt").write_text("even\nodd\n")
    val = open_dataset(DataConfig(path=tmp_path), "val")
    scored = []
    for rank in range(world):
        got, promised = batches(val, workers=workers, batch_size=4, shuffle=False, rank=rank, world=world)
        assert promised == len(got)
        scored += [number for batch in got for number in batch]
    assert sorted(scored) == list(range(10))
    assert len(val) == 10


@pytest.mark.parametrize("world", [2, 3, 4, 7])
def test_ranks_train_on_equally_many(shards, world):
    """Up to four ranks divide the four shards; seven read all of them and together have every picture."""
    train = open_dataset(DataConfig(path=shards), "train")
    parts = [numbers(train, rank=rank, world=world) for rank in range(world)]
    assert {len(part) for part in parts} == {-(-34 // world)}
    assert len(train) == 34
    seen = {number for part in parts for number in part}
    if world > 4:
        assert seen == set(numbers(train))
        assert [part[0] for part in parts] == numbers(train)[:world]
    else:
        files = [{number // 10 for number in part} for part in parts]
        assert sum(map(len, files)) == len(set.union(*files)) == 4


def test_an_epoch_goes_on_where_it_stopped(shards):
    train = open_dataset(DataConfig(path=shards), "train")
    assert numbers(train, 2, start=13) == numbers(train, 2)[13:]


def test_epochs_reach_persistent_workers(shards):
    transform = train_transform(AugmentConfig(), Preprocess(size=(8, 8)))
    transformed = TransformedShards(open_dataset(DataConfig(path=shards), "train"), transform)
    loader = build_loader(transformed, batch_size=34, workers=1, shuffle=True)
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


def test_a_command_that_gives_a_shard(shards):
    """What comes through a pipe cannot seek, so it is read in another way."""
    config = DataConfig(path=shards, shards=f"pipe:cat {shards}/train-0.tar", samples=10)
    assert sorted(numbers(open_dataset(config, "train"))) == list(range(10))
    path = shards / "train-0.tar"
    path.write_bytes(path.read_bytes()[: 2 * 2048])
    with pytest.raises(InputError, match=r"train-0\.tar could not be read to its end"):
        numbers(open_dataset(config, "train"))


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


@pytest.mark.parametrize("size", [2 * 2048, 2 * 2048 + 100])
def test_a_shard_cut_between_or_inside_headers_is_named(shards, size):
    """A picture and its label take 2,048 bytes, so what is left looks like a whole tar of two samples."""
    path = shards / "train-0.tar"
    dataset = open_dataset(DataConfig(path=shards), "train")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"train-0\.tar could not be read to its end .*replace it"):
        numbers(dataset)
    with pytest.raises(InputError, match=r"train-0\.tar is not a readable tar file .*end"):
        open_dataset(DataConfig(path=shards), "train")


@pytest.mark.parametrize(("promised", "words"), [(7, "only 5 of 7 pictures are in"), (4, "more than the 4")])
def test_a_wrong_count_is_an_error(shards, promised, words):
    config = DataConfig(
        path=shards,
        shards=str(shards / "train-0.tar"),
        val_shards=str(shards / "val-0.tar"),
        val_samples=promised,
    )
    with pytest.raises(InputError, match=rf"{words}.*correct"):
        numbers(open_dataset(config, "val"), shuffle=False)


def test_damaged_pictures_are_left_out_of_their_batch(tmp_path):
    write_shard(tmp_path / "0.tar", range(4), bad=2)
    (tmp_path / "classes.txt").write_text("even\nodd\n")
    dataset = open_dataset(DataConfig(path=tmp_path, bad_pictures="skip"), "all")
    assert batches(dataset, workers=0, batch_size=2, shuffle=False)[0] == [[0, 1], [3]]
    assert batches(dataset, workers=2, batch_size=1, shuffle=False)[0] == [[0], [1], [3]]
    with pytest.raises(InputError, match="every picture of a training batch is damaged"):
        batches(dataset, workers=0, batch_size=1)
