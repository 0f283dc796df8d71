"""The training and validation pictures of a job, and where in them a resumed run goes on."""

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Sampler

from swinkit.data import TransformedDataset, TransformedShards
from swinkit.data.loader import build_loader, choose_workers
from swinkit.data.sampling import rank_length
from swinkit.errors import InputError
from swinkit.train.config import JobConfig

PictureData = TransformedDataset | TransformedShards

SURPLUS = -1
"""Class of validation pictures that only fill up a process's share: losses and metrics leave them out."""


class JobData(L.LightningDataModule):
    """Loaders whose rank shards of batch k are together what one process would see as batch k.

    An epoch is as many full batches as make whole optimiser steps; only a lone batch need not be full. Every
    process has equally many validation batches, because under fsdp all of them take part in each. Tests show
    that with ddp on the CPU; fsdp itself has not been run on GPUs here.

    Args:
        train: `TransformedDataset` or `TransformedShards`.
        val: the same, for validation; None for none.
        config: the job.
        val_batch_size: pictures of a validation batch; None: as in training.
        surplus: class, or label of every pixel, of validation pictures that do not count.

    Attributes:
        batches_per_epoch: training batches of an epoch, for each process.
        steps_per_epoch: optimiser steps of an epoch.
        position: (epoch, batch) of the next batch this run needs; part of every checkpoint.

    Raises:
        InputError: an epoch has fewer batches than an optimiser step takes, or there are fewer validation
            pictures than processes.
    """

    def __init__(
        self,
        train: PictureData,
        val: PictureData | None,
        config: JobConfig,
        *,
        val_batch_size: int | None = None,
        surplus: int = SURPLUS,
    ) -> None:
        super().__init__()
        self.val_batch_size, self.surplus = val_batch_size or config.data.batch_size, surplus
        self.train_set, self.val_set, self.config = train, val, config
        self.position = (0, 0)
        world, size, accumulate = config.trainer.world_size, config.data.batch_size, config.trainer.accumulate
        mine = rank_length(len(train), shuffle=True, rank=0, world=world)
        batches = max(1, mine // size)
        if batches < accumulate:
            raise InputError(
                f"an epoch has {batches} batches of {size} pictures for each process, fewer than the "
                f"{accumulate} of an optimiser step: lower --trainer.accumulate or --data.batch-size."
            )
        if val is not None and len(val) < world:
            raise InputError(
                f"there are fewer validation pictures ({len(val)}) than processes ({world}): use fewer "
                "--trainer.devices, or raise --data.val-fraction."
            )
        self.steps_per_epoch = batches // accumulate
        self.batches_per_epoch = self.steps_per_epoch * accumulate
        self._items = min(mine, self.batches_per_epoch * size)

    def train_dataloader(self) -> Any:
        """Return the loader, set to begin at `position`."""
        assert self.trainer is not None
        epoch, batch = self.position
        data, settings = self.config.data, self.config.trainer
        rank, world = self.trainer.global_rank, self.trainer.world_size
        if world != settings.world_size:
            raise InputError(
                f"the job was started with {world} processes, but trainer.devices x trainer.num_nodes says "
                f"{settings.world_size}: make them equal."
            )
        sampler = self.train_set.sampler(shuffle=True, seed=settings.seed, rank=rank, world=world)
        loader = build_loader(
            self.train_set,
            batch_size=data.batch_size,
            sampler=_WholeSteps(sampler, self._items, start=batch * data.batch_size),
            workers=self._workers(),
        )
        loader.set_epoch(epoch)
        return loader

    def val_dataloader(self) -> Any:
        """Return the validation loader, or no loader when there is nothing to validate on."""
        if self.val_set is None:
            return []
        assert self.trainer is not None
        size, world = self.val_batch_size, self.trainer.world_size
        loader = build_loader(
            self.val_set,
            batch_size=size,
            rank=self.trainer.global_rank,
            world=world,
            workers=self._workers(),
        )
        most = rank_length(len(self.val_set), shuffle=False, rank=0, world=world)
        surplus = getattr(self.val_set, "surplus", self.surplus)
        return EqualBatches(loader, math.ceil(most / size), surplus)

    def state_dict(self) -> dict[str, Any]:
        """Return where the run stands."""
        return {"epoch": self.position[0], "batch": self.position[1]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint was written."""
        self.position = (state_dict["epoch"], state_dict["batch"])

    def _workers(self) -> int:
        asked = self.config.data.workers
        return asked if asked >= 0 else max(1, choose_workers(-1) // self.config.trainer.devices)


class EqualBatches:
    """A loader filled up to `batches` with repetitions of its last one that do not count.

    Args:
        loader: (pictures (B, C, H, W), class numbers (B,)) batches, or others with a function as `surplus`.
        batches: how many the process with the most has.
        surplus: class, or label of every pixel, of the repetitions; or what makes one from a batch.
    """

    def __init__(
        self, loader: DataLoader[Any], batches: int, surplus: int | Callable[[Any], Any] = SURPLUS
    ) -> None:
        self.loader, self.batches, self.surplus = loader, batches, surplus

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Any]:
        missing, last = self.batches, None
        for last in self.loader:
            missing -= 1
            yield last
        if last is None:
            raise InputError("every validation picture of a process is damaged: replace what the log names.")
        for _ in range(missing):
            yield self._uncounted(last)

    def _uncounted(self, batch: Any) -> Any:
        if callable(self.surplus):
            return self.surplus(batch)
        return batch[0], torch.full_like(batch[1], self.surplus)


class _WholeSteps(Sampler[Any]):
    """The first `items` of every epoch of a sampler; the first pass begins at `start`."""

    shuffle = True

    def __init__(self, sampler: Any, items: int, *, start: int) -> None:
        self.sampler, self.items, self.start = sampler, items, start
        sampler.start_at(start)

    def __len__(self) -> int:
        return self.items

    def __iter__(self) -> Iterator[Any]:
        start, self.start = self.start, 0
        yield from islice(self.sampler, self.items - start)

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)
