"""Checkpoints that are whole or not there."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from swinkit.errors import InputError
from swinkit.files import atomic_path


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes under a temporary name, then renames; reads without running code from the file."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write the checkpoint to `path`.

        Raises:
            InputError: no right to write there, or the disk is full; what stood at `path` is untouched.
        """
        with atomic_path(path) as temporary, _full_disk_as_os_error(), temporary.open("wb") as stream:
            torch.save(checkpoint, stream)
            stream.flush()
            # Or a crash of the machine could leave an empty file under the final name.
            os.fsync(stream.fileno())

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Callable[..., Any] | None = lambda storage, _: storage,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint written by `save_checkpoint`.

        Raises:
            InputError: missing or damaged, or holding anything but plain data.
        """
        if not Path(path).is_file():
            raise InputError(f"no checkpoint at {path}: give the folder of a run that has written one.")
        try:
            return torch.load(path, map_location=map_location, weights_only=True)
        except Exception as error:
            raise InputError(
                f"{path} is not a readable training checkpoint ({type(error).__name__})."
            ) from error


@contextmanager
def _full_disk_as_os_error() -> Iterator[None]:
    """Raise what the system said where torch.save reports a failed write as an error of its own format."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
