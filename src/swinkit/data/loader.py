"""DataLoaders with settings that suit the machine."""

import os
import traceback
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler, default_collate

from swinkit.data.sampling import ResumableSampler
from swinkit.data.workers import leave_signals_to_parent
from swinkit.errors import InputError


class PictureLoader(DataLoader[Any]):
    """A DataLoader that reports a damaged picture by its sentence, not by a worker's traceback."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a plain iterator is all callers need
        try:
            for batch in super().__iter__():
                if batch is not None:
                    yield batch
                elif getattr(self.sampler, "shuffle", False):
                    raise InputError(
                        "every picture of a training batch is damaged: replace what the log names above."
                    )
            return
        except InputError as error:
            # A worker's error is its whole traceback in one string, ending in "...InputError: sentence".
            sentence = str(error).rsplit("InputError: ", 1)[-1].strip()
            traceback.clear_frames(error.__traceback__)  # torch leaves a cycle there that keeps the workers
        # Raised out here, where nothing refers to the workers any more, so that they end at once.
        self._iterator = None
        raise InputError(sentence)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass, for the order and for the augmentation."""
        for part in (self.sampler, self.dataset):
            set_epoch = getattr(part, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)


def build_loader(
    dataset: Any,
    *,
    batch_size: int,
    shuffle: bool = False,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    sampler: Sampler[Any] | None = None,
    workers: int = -1,
    drop_last: bool = False,
) -> PictureLoader:
    """Build a loader over a `TransformedDataset` or `TransformedShards`.

    Args:
        dataset: what to load.
        batch_size: items a batch, for this process.
        shuffle: whether the sampler shuffles.
        seed: of the order.
        rank: of this process.
        world: number of processes.
        sampler: use this one instead of building one from shuffle, seed, rank and world.
        workers: loading processes; -1 chooses, see `choose_workers`.
        drop_last: leave out a last batch that is not full.
    """
    if sampler is None and hasattr(dataset, "sampler"):
        sampler = dataset.sampler(shuffle=shuffle, seed=seed, rank=rank, world=world)
    elif sampler is None:
        sampler = ResumableSampler(len(dataset), shuffle=shuffle, seed=seed, rank=rank, world=world)
    workers = choose_workers(workers)
    return PictureLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=getattr(dataset, "collate", _collate),
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
        drop_last=drop_last,
        worker_init_fn=leave_signals_to_parent,
    )


def choose_workers(workers: int) -> int:
    """Loading processes for this process: as asked, or for -1 its share of the cores less one, 1 to 8."""
    if workers >= 0:
        return workers
    sharing = max(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
    return min(8, max(1, cores // sharing - 1))


def _collate(items: list[Any]) -> Any:
    """A batch, or None when all of its pictures were damaged and left out."""
    return default_collate(items) if items else None
