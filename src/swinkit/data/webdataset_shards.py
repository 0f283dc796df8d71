"""WebDataset tar shards (NAME.jpg or NAME.png beside NAME.cls), read in order, for data that outgrows a disk.

Shards are read as streams, so there is no random access: an epoch is a shuffled order of shards and a shuffle
buffer within them, both drawn from (seed, epoch). Class names come from classes.txt, one a line, beside the
shards or in the folder above.
"""

import logging
import random
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import get_worker_info

from swinkit.data.config import DataConfig, Split
from swinkit.data.folder import SPLIT_FOLDERS
from swinkit.data.pictures import EXTENSIONS, decode_picture
from swinkit.data.sampling import derive_seed
from swinkit.errors import InputError

try:
    import webdataset as wds
    from webdataset.gopen import gopen
except ImportError:
    wds = gopen = None

LAYOUT = "expected train/*.tar and val/*.tar, or train-*.tar and val-*.tar, or *.tar, with a classes.txt"
_log = logging.getLogger("swinkit")
BUFFER = 1000
"""Pictures in the shuffle buffer."""


class ShardDataset:
    """Labelled pictures in tar shards, divided among ranks and workers.

    Attributes:
        classes: class names.
        shards: files, URLs or "pipe:" commands, as webdataset takes them.
    """

    def __init__(
        self,
        shards: Sequence[str],
        classes: Sequence[str],
        *,
        samples: int,
        shuffle: bool,
        seed: int = 0,
        skip_bad: bool = False,
    ) -> None:
        """Args:
        shards: what to read.
        classes: class names; a .cls is a position in them.
        samples: pictures in all shards together.
        shuffle: training: another order each epoch, and equally many pictures a rank.
        seed: of the order.
        skip_bad: name damaged pictures in the log and go on, instead of stopping.
        """
        self.shards, self.classes = tuple(shards), tuple(classes)
        self.samples, self.shuffle, self.seed, self.skip_bad = samples, shuffle, seed, skip_bad

    def __len__(self) -> int:
        """Pictures this rank reads in an epoch (in evaluation: about)."""
        return self.samples // _rank_and_world()[1]

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        for _, picture, label in self.read(0):
            yield picture, label

    def read(self, epoch: int) -> Iterator[tuple[str, Image.Image, int]]:
        """Yield (name, picture, label) of this rank's and worker's part of an epoch."""
        (rank, world), worker = _rank_and_world(), get_worker_info()
        worker_id, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        reader, readers = rank * workers + worker_id, world * workers
        quota = len(range(worker_id, len(self), workers)) if self.shuffle else None
        stream = self._part(epoch, reader, readers)
        for sample in islice(stream, quota):
            yield from self._decode(sample)

    def _part(self, epoch: int, reader: int, readers: int) -> Iterator[dict[str, Any]]:
        shards = list(self.shards)
        draw = random.Random(derive_seed(self.seed, epoch))
        if self.shuffle:
            draw.shuffle(shards)
        if len(shards) >= readers:
            mine, stride = shards[reader::readers], (0, 1)
        else:  # too few shards to divide: everyone reads all and keeps its share
            mine, stride = shards, (reader, readers)
        draw = random.Random(derive_seed(self.seed, epoch, reader))
        while True:
            samples = islice(_samples(mine), stride[0], None, stride[1])
            found = False
            for sample in _shuffled(samples, draw) if self.shuffle else samples:
                found = True
                yield sample
            # Shards differ in size: training goes round again until this reader has as many pictures as the
            # others.
            if not self.shuffle or not found:
                return

    def _decode(self, sample: dict[str, Any]) -> Iterator[tuple[str, Image.Image, int]]:
        name = f"{sample['__key__']} in {sample['__url__']}"
        picture = next((sample[key] for key in sample if f".{key.lower()}" in EXTENSIONS), None)
        if picture is None or "cls" not in sample:
            raise InputError(
                f"{name} lacks a picture or a .cls file: each sample needs NAME.jpg and NAME.cls."
            )
        label = _label(sample["cls"], name, len(self.classes))
        try:
            yield name, decode_picture(picture, name), label
        except InputError:
            if not self.skip_bad:
                raise
            _log.warning("left out: %s is damaged", name)


def open_shards(config: DataConfig, split: Split) -> ShardDataset:
    """Open a split. Without validation shards, val_fraction of the shards (at least one) are held out.

    Raises:
        InputError: webdataset is not installed, there are no shards or no classes.txt, or the number of
        pictures of
            shards that are not local files was not given.
    """
    if wds is None:
        raise InputError("tar shards need the webdataset package: pip install 'swinkit[webdataset]'.")
    train = split in ("train", "all")
    shards, samples = _find_shards(config, split)
    if samples is None:
        samples = _count(shards, "samples" if train else "val_samples")
    return ShardDataset(
        shards,
        _class_names(config, shards),
        samples=samples,
        shuffle=split == "train",
        seed=config.split_seed,
        skip_bad=config.bad_pictures == "skip",
    )


def _find_shards(config: DataConfig, split: Split) -> tuple[list[str], int | None]:
    if split == "val" and config.val_shards is not None:
        return _expand(config.val_shards), config.val_samples
    if config.shards is not None and split in ("train", "all"):
        return _expand(config.shards), config.samples
    if config.shards is not None:
        raise InputError(f"no shards for {split}: set val_shards.")
    root = config.path
    if root is None or not Path(root).is_dir():
        raise InputError(f"the folder of shards {root} does not exist: {LAYOUT}.")
    named = {name: _tars(Path(root), name) for name in ("train", "val", "test")}
    if split == "all" or not any(named.values()):
        flat = sorted(str(path) for path in Path(root).rglob("*.tar"))
        named["train"] = flat
    if split in ("train", "val") and not named["val"]:
        if len(named["train"]) < 2:
            raise InputError(f"{root} has no validation shards and too few to hold one out: {LAYOUT}.")
        held = max(1, round(config.val_fraction * len(named["train"])))
        named["train"], named["val"] = named["train"][:-held], named["train"][-held:]
    found = named["train" if split == "all" else split]
    if not found:
        raise InputError(f"{root} has no {split} shards: {LAYOUT}.")
    return found, None


def _tars(root: Path, split: str) -> list[str]:
    inside = [path for name in SPLIT_FOLDERS[split] for path in (root / name).glob("*.tar")]
    beside = [path for name in SPLIT_FOLDERS[split] for path in root.glob(f"{name}*.tar")]
    return sorted(str(path) for path in {*inside, *beside})


def _expand(pattern: str) -> list[str]:
    assert wds is not None  # open_shards checked
    return list(wds.shardlists.expand_urls(pattern))


def _class_names(config: DataConfig, shards: Sequence[str]) -> tuple[str, ...]:
    local = [Path(shard).parent for shard in shards if Path(shard).exists()][:1]
    roots = ([Path(config.path)] if config.path else []) + [
        up for path in local for up in (path, path.parent)
    ]
    for root in roots:
        file = root / "classes.txt"
        if file.is_file():
            return tuple(line.strip() for line in file.read_text("utf-8").splitlines() if line.strip())
    raise InputError(
        f"no classes.txt in {roots[0] if roots else 'the data path'}: write the class names, one a line."
    )


def _count(shards: Sequence[str], setting: str) -> int:
    total = 0
    for shard in shards:
        if not Path(shard).is_file():
            raise InputError(
                f"{shard} is not a local file, so its pictures cannot be counted: set {setting}."
            )
        try:
            with tarfile.open(shard) as tar:
                total += sum(member.name.endswith(".cls") for member in tar)
        except tarfile.TarError as error:
            raise InputError(
                f"{shard} is not a readable tar file ({error}): replace or remove it."
            ) from error
    if not total:
        raise InputError(f"no labelled pictures in {shards[0]}: each sample needs NAME.jpg and NAME.cls.")
    return total


def _samples(shards: Sequence[str]) -> Iterator[dict[str, Any]]:
    assert wds is not None  # open_shards checked
    assert gopen is not None
    for shard in shards:
        try:
            with closing(gopen(shard)) as stream:  # webdataset's own loop leaves files open
                members = wds.tariterators.tar_file_expander([{"url": shard, "stream": stream}])
                yield from wds.tariterators.group_by_keys(members)
        except (tarfile.TarError, OSError) as error:
            reason = str(error.args[0] if error.args else error)
            raise InputError(f"{shard} could not be read to its end ({reason}): replace it.") from error


def _shuffled(samples: Iterator[dict[str, Any]], draw: random.Random) -> Iterator[dict[str, Any]]:
    buffer: list[dict[str, Any]] = []
    for sample in samples:
        buffer.append(sample)
        if len(buffer) >= BUFFER:
            place = draw.randrange(len(buffer))
            buffer[place], buffer[-1] = buffer[-1], buffer[place]
            yield buffer.pop()
    draw.shuffle(buffer)
    yield from buffer


def _label(text: bytes, name: str, classes: int) -> int:
    digits = text.decode("utf-8", "replace").strip()
    if not digits.isdecimal() or int(digits) >= classes:
        raise InputError(f"the label of {name} is {digits!r}: a number from 0 to {classes - 1} was expected.")
    return int(digits)


def _rank_and_world() -> tuple[int, int]:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
