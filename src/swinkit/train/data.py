"""The training and validation pictures of a job, and where in them a resumed run goes on."""

import math
from collections.abc import Iterator
from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from swinkit.data import TransformedDataset, TransformedShards
from swinkit.data.loader import build_loader, choose_workers
from swinkit.errors import InputError
from swinkit.train.config import JobConfig

PictureData = TransformedDataset | TransformedShards


class JobData(L.LightningDataModule):
    """Loaders whose rank shards of batch k are together what one process would see as batch k.

    Args:
        train: `TransformedDataset` or `TransformedShards`.
        val: the same, for validation; None for none.
        config: the job.
        val_batch_size: pictures of a validation batch; None: as in training.

    Attributes:
        position: (epoch, batch) of the next batch this run needs; part of every checkpoint.
    """

    def __init__(
        self,
        train: PictureData,
        val: PictureData | None,
        config: JobConfig,
        *,
        val_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.val_batch_size = val_batch_size or config.data.batch_size
        self.train_set, self.val_set, self.config = train, val, config
        self.position = (0, 0)

    @property
    def batches_per_epoch(self) -> int:
        """Training batches of an epoch, for each process; the last one is left out unless it is full or the
        only one.
        """
        per_rank = math.ceil(len(self.train_set) / self.config.trainer.world_size)
        return max(1, per_rank // self.config.data.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        return math.ceil(self.batches_per_epoch / self.config.trainer.accumulate)

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
        sampler = None
        if not isinstance(self.train_set, TransformedShards):
            sampler = self.train_set.sampler(shuffle=True, seed=settings.seed, rank=rank, world=world)
            sampler.start_at(batch * data.batch_size)
        loader = build_loader(
            self.train_set,
            batch_size=data.batch_size,
            shuffle=True,
            seed=settings.seed,
            rank=rank,
            world=world,
            sampler=sampler,
            workers=self._workers(),
            drop_last=math.ceil(len(self.train_set) / world) >= data.batch_size,
        )
        loader.set_epoch(epoch)
        return loader if sampler is not None else _SkipOnce(loader, batch)

    def val_dataloader(self) -> Any:
        """Return the validation loader, or no loader when there is nothing to validate on."""
        if self.val_set is None:
            return []
        assert self.trainer is not None
        return build_loader(
            self.val_set,
            batch_size=self.val_batch_size,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
            workers=self._workers(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return where the run stands."""
        return {"epoch": self.position[0], "batch": self.position[1]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint was written."""
        self.position = (state_dict["epoch"], state_dict["batch"])

    def _workers(self) -> int:
        asked = self.config.data.workers
        return asked if asked >= 0 else max(1, choose_workers(-1) // self.config.trainer.devices)


class _SkipOnce:
    """A loader over shards, which can only be read from their beginning, whose first pass passes over
    `batches`.
    """

    def __init__(self, loader: DataLoader[Any], batches: int) -> None:
        self.loader, self.batches = loader, batches

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        skip, self.batches = self.batches, 0
        for number, batch in enumerate(self.loader):
            if number >= skip:
                yield batch

    @property
    def sampler(self) -> DataLoader[Any]:
        """What Lightning tells the epoch."""
        return self.loader
