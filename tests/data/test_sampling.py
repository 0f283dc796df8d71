"""Order and augmentation are pure functions of (seed, epoch, index): workers and restarts change nothing."""

import random

import numpy as np
import pytest
import torch

from swinkit.data import (
    AugmentConfig,
    DataConfig,
    ResumableSampler,
    TransformedDataset,
    build_loader,
    choose_workers,
    open_dataset,
    train_transform,
)
from swinkit.data.sampling import derive_seed
from swinkit.errors import InputError
from swinkit.spec import Preprocess


def test_order_is_a_function_of_seed_and_epoch():
    sampler = ResumableSampler(50, shuffle=True, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(50))
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert list(ResumableSampler(50, shuffle=True, seed=2)) != first
    assert list(ResumableSampler(5, shuffle=False)) == [0, 1, 2, 3, 4]


def test_ranks_share_each_batch_of_a_single_process():
    whole = list(ResumableSampler(23, shuffle=True, seed=3))
    parts = [list(ResumableSampler(23, shuffle=True, seed=3, rank=rank, world=4)) for rank in range(4)]
    assert [len(part) for part in parts] == [6] * 4
    for start in range(0, 20, 4):
        assert [part[start // 4] for part in parts] == whole[start : start + 4]
    assert set().union(*parts) == set(range(23))
    uneven = [list(ResumableSampler(23, shuffle=False, rank=rank, world=4)) for rank in range(4)]
    assert sorted(index for part in uneven for index in part) == list(range(23))
    assert [len(ResumableSampler(23, shuffle=False, rank=rank, world=4)) for rank in range(4)] == [6, 6, 6, 5]
    assert len(list(ResumableSampler(2, shuffle=True, rank=4, world=5))) == 1


def test_start_at_skips_in_one_pass_only():
    sampler = ResumableSampler(10, shuffle=True, seed=0)
    whole = list(sampler)
    sampler.set_epoch(0)
    sampler.start_at(4)
    sampler.set_epoch(0)  # Lightning says it again
    assert len(sampler) == 10
    assert list(sampler) == whole[4:]
    assert list(sampler) == whole


def digits(seed=0):
    transform = train_transform(AugmentConfig(), Preprocess(size=(16, 16)))
    return TransformedDataset(open_dataset(DataConfig(kind="digits"), "test"), transform, seed)


def test_a_sample_is_a_function_of_seed_epoch_and_index():
    dataset = digits()
    first = dataset[3][0]
    torch.manual_seed(99)
    dataset[4]
    assert torch.equal(dataset[3][0], first)
    dataset.set_epoch(1)
    assert not torch.equal(dataset[3][0], first)
    dataset.set_epoch(0)
    assert torch.equal(dataset[3][0], first)
    assert not torch.equal(digits(seed=1)[3][0], first)
    assert derive_seed(1, 23) != derive_seed(12, 3)


def test_the_callers_random_state_is_untouched():
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    digits()[0]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert str(np.random.get_state()) == states[2]


def test_other_libraries_randomness_is_seeded_too():
    dataset = TransformedDataset(
        open_dataset(DataConfig(kind="digits"), "test"),
        lambda _: torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()]),
    )
    assert torch.equal(dataset[0][0], dataset[0][0])
    assert (dataset[0][0] != dataset[1][0]).all()


def epoch_of(loader, epoch):
    loader.set_epoch(epoch)
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_persistent_workers_see_the_epoch_and_give_what_one_process_gives():
    alone = build_loader(digits(), batch_size=100, shuffle=True, workers=0)
    workers = build_loader(digits(), batch_size=100, shuffle=True, workers=2)
    assert workers.persistent_workers
    epochs = [epoch_of(workers, epoch) for epoch in (0, 1, 0)]
    for epoch, (images, labels) in zip((0, 1, 0), epochs, strict=True):
        expected = epoch_of(alone, epoch)
        assert torch.equal(images, expected[0])
        assert torch.equal(labels, expected[1])
    assert not torch.equal(epochs[0][0], epochs[1][0])


def test_a_loader_resumes_in_the_middle():
    loader = build_loader(digits(), batch_size=64, shuffle=True, workers=2)
    whole, _ = epoch_of(loader, 2)
    assert isinstance(loader.sampler, ResumableSampler)
    loader.sampler.start_at(128)
    rest, _ = epoch_of(loader, 2)
    assert torch.equal(rest, whole[128:])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_picture_stops_training_with_its_name(picture_folder, workers):
    root = picture_folder()
    bad = root / "red" / "001.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    dataset = open_dataset(DataConfig(path=root), "all")
    transformed = TransformedDataset(dataset, train_transform(AugmentConfig(), Preprocess(size=(8, 8))))
    with pytest.raises(InputError, match=r"^\S*001\.jpg is truncated.*remove it\.$"):
        list(build_loader(transformed, batch_size=4, workers=workers))


def test_workers_follow_the_machine(monkeypatch):
    assert choose_workers(3) == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert choose_workers(-1) == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert choose_workers(-1) == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert choose_workers(-1) == 1
