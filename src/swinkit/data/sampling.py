"""Which picture comes when, and the randomness it meets: pure functions of (seed, epoch, index).

That is what makes a training run the same for any number of workers, and a resumed run the same as one that
never stopped in between.
"""

import hashlib
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

Transform = Callable[[Image.Image], Tensor]


class FollowsEpoch(Protocol):
    """Something that changes from epoch to epoch."""

    def set_epoch(self, epoch: int) -> None: ...


class ResumableSampler(Sampler[int]):
    """Indices of one rank's epoch, in an order that depends on (seed, epoch) alone.

    Rank r of w gets every w-th index from r on, so that the ranks' k-th batches together are the k-th batch
    of a single process with w times the batch size. Shuffled epochs are filled up from their own beginning
    until all ranks have equally many; unshuffled ones (evaluation) are not, so nothing is scored twice.
    """

    def __init__(
        self,
        length: int,
        *,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        follower: FollowsEpoch | None = None,
    ) -> None:
        """Args:
        length: items of the data set.
        shuffle: a new order every epoch, or 0, 1, 2, ...
        seed: of the order.
        rank: of this process, 0 to world - 1.
        world: number of processes.
        follower: is told every epoch this sampler is told (the data set, for its augmentation).
        """
        assert 0 <= rank < world
        self.length, self.shuffle, self.seed, self.rank, self.world = length, shuffle, seed, rank, world
        self.epoch = 0
        self._follower = follower
        self._start = 0

    def __len__(self) -> int:
        return rank_length(self.length, shuffle=self.shuffle, rank=self.rank, world=self.world)

    def __iter__(self) -> Iterator[int]:
        start, self._start = self._start, 0
        yield from self._order()[start:]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass, here and in the follower."""
        self.epoch = epoch
        if self._follower is not None:
            self._follower.set_epoch(epoch)

    def start_at(self, index: int) -> None:
        """Let the next pass begin at position `index` of this rank's epoch; later passes are whole again."""
        self._start = index

    def _order(self) -> list[int]:
        if not self.shuffle:
            return list(range(self.rank, self.length, self.world))
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch))
        order = torch.randperm(self.length, generator=generator)
        needed = len(self) * self.world
        order = order.repeat(-(-needed // max(self.length, 1)))[:needed]
        return order[self.rank :: self.world].tolist()


class TransformedDataset(Dataset[tuple[Tensor, int]]):
    """A data set with a transform whose randomness is a pure function of (seed, epoch, index)."""

    def __init__(self, dataset: Any, transform: Transform, seed: int = 0) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        # In shared memory, because workers that outlive an epoch never see an attribute change.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return self.dataset.classes

    @property
    def paths(self) -> tuple[Any, ...] | None:
        """One file per item, or None when the pictures are not files."""
        return getattr(self.dataset, "paths", None)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        index = range(len(self))[index]
        picture, label = self.dataset[index]
        with seeded(derive_seed(self.seed, int(self._epoch), index)):
            return self.transform(picture), label

    def sampler(self, *, shuffle: bool, seed: int = 0, rank: int = 0, world: int = 1) -> ResumableSampler:
        """Return what chooses one rank's pictures of each epoch; it tells this data set the epoch."""
        return ResumableSampler(len(self), shuffle=shuffle, seed=seed, rank=rank, world=world, follower=self)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the augmentation, in this process and in running workers."""
        self._epoch.fill_(epoch)


class TransformedShards(Dataset[tuple[Tensor, int]]):
    """As `TransformedDataset`, for data that can only be read in order.

    Its sampler reads the samples and hands them, still encoded, to the workers. The randomness is of (seed,
    epoch, name of the sample).
    """

    def __init__(self, dataset: Any, transform: Transform, seed: int = 0) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return self.dataset.classes

    def __len__(self) -> int:
        """Pictures in all shards together, whatever the number of processes."""
        return len(self.dataset)

    def __getitems__(self, samples: Sequence[Any]) -> list[tuple[Tensor, int]]:
        """Decode and transform a batch, without the damaged pictures that are to be skipped."""
        items = []
        for sample in samples:
            decoded = self.dataset.decode(sample)
            if decoded is not None:
                with seeded(derive_seed(self.seed, int(self._epoch), sample.name)):
                    items.append((self.transform(decoded[0]), decoded[1]))
        return items

    def sampler(self, *, shuffle: bool, seed: int = 0, rank: int = 0, world: int = 1) -> Any:
        """Return what reads one rank's part of each epoch; it tells this data set the epoch."""
        return self.dataset.sampler(shuffle=shuffle, seed=seed, rank=rank, world=world, follower=self)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the augmentation, in this process and in running workers."""
        self._epoch.fill_(epoch)


def rank_length(length: int, *, shuffle: bool, rank: int, world: int) -> int:
    """Items of one rank's epoch: in training as many for every rank, in evaluation every w-th from r on."""
    return math.ceil(length / world) if shuffle else len(range(rank, length, world))


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from numbers and names, the same in every process; any difference gives another."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator, random and numpy inside, and put back what they were after.

    Worker processes draw nothing else, so they leave out the putting back: a tenth of a small picture's time.
    """
    before = None
    if torch.utils.data.get_worker_info() is None:
        before = (torch.get_rng_state(), random.getstate(), np.random.get_state())
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    try:
        yield
    finally:
        if before is not None:
            torch.set_rng_state(before[0])
            random.setstate(before[1])
            np.random.set_state(before[2])
