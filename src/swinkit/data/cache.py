"""Keeping the decoded pictures of a small data set in memory, so that each file is read and decoded once."""

import mmap
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
from PIL import Image

LIMIT_BYTES = 1 << 30


class CountsPixels(Protocol):
    """A data set that knows its pictures' sizes without decoding them."""

    classes: tuple[str, ...]

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> tuple[Image.Image, int]: ...
    def pixel_counts(self) -> Iterator[int]: ...


class CachedDataset:
    """A data set whose decoded pictures stay in memory after their first use.

    The memory is shared by worker processes that are forked (Linux); it is filled as pictures are asked for
    and costs nothing before. Workers that are spawned each fill their own.
    """

    def __init__(self, dataset: Any, offsets: np.ndarray) -> None:
        self.dataset = dataset
        self.classes = dataset.classes
        self._offsets = offsets
        self._allocate()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        index = range(len(self))[index]
        start, stop = int(self._offsets[index]), int(self._offsets[index + 1])
        width, height = (int(side) for side in self._sizes[index])
        if width:
            return Image.frombytes("RGB", (width, height), self._pixels[start:stop]), self.dataset.labels[
                index
            ]
        picture, label = self.dataset[index]
        if picture.width * picture.height * 3 == stop - start:
            self._pixels[start:stop] = picture.tobytes()
            self._sizes[index] = picture.size  # written last: other processes read it as "ready"
        return picture, label

    def __getattr__(self, name: str) -> Any:
        if name in ("paths", "labels"):
            return getattr(self.dataset, name)
        raise AttributeError(name)

    def __getstate__(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "offsets": self._offsets}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["dataset"], state["offsets"])

    def _allocate(self) -> None:
        # Anonymous shared memory, not /dev/shm, which containers often limit to 64 MB.
        self._pixels = mmap.mmap(-1, max(int(self._offsets[-1]), 1))
        sizes = mmap.mmap(-1, max(len(self.dataset) * 8, 1))
        self._sizes = np.frombuffer(sizes, dtype=np.int32, count=len(self.dataset) * 2).reshape(-1, 2)


def with_cache(dataset: Any, limit: int = LIMIT_BYTES) -> Any:
    """Wrap `dataset` in a cache if it reads files and all of its decoded pictures fit in `limit` bytes."""
    if not hasattr(dataset, "pixel_counts"):
        return dataset
    sizes: list[int] = []
    for total in accumulate(pixels * 3 for pixels in dataset.pixel_counts()):
        if total > limit:
            return dataset
        sizes.append(total)
    return CachedDataset(dataset, np.asarray([0, *sizes], dtype=np.int64))
