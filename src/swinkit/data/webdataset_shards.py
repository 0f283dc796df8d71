"""WebDataset tar shards (NAME.jpg or NAME.png beside NAME.cls), read in order, for data that outgrows a disk.

There is no random access: an epoch is a shuffled order of shards and a shuffle buffer within them. The
process that trains or evaluates reads each tar once and forms the batches; workers decode and transform what
they are handed. So neither the order nor the batches depend on the number of workers. Class names come from
classes.txt, one a line, beside the shards or in the folder above.
"""

import logging
import random
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple, Self

from PIL import Image
from torch.utils.data import Sampler

from swinkit.data.config import DataConfig, Split
from swinkit.data.folder import SPLIT_FOLDERS
from swinkit.data.pictures import EXTENSIONS, decode_picture
from swinkit.data.sampling import FollowsEpoch, derive_seed, rank_length
from swinkit.errors import InputError

try:
    import webdataset as wds
    from webdataset.gopen import gopen
except ImportError:
    wds = gopen = None

LAYOUT = "expected train/*.tar and val/*.tar, or train-*.tar and val-*.tar, or *.tar, with a classes.txt"
SAMPLE_LAYOUT = "each sample needs NAME.jpg and NAME.cls"
_log = logging.getLogger("swinkit")
BUFFER = 1000
"""Pictures in the shuffle buffer."""


class Sample(NamedTuple):
    """One picture as it stands in a shard."""

    name: str
    picture: bytes
    label: bytes


class ShardDataset:
    """Labelled pictures in tar shards.

    Attributes:
        classes: class names.
        shards: files, URLs or "pipe:" commands, as webdataset takes them.
        samples: pictures in all shards together.
    """

    def __init__(
        self, shards: Sequence[str], classes: Sequence[str], *, samples: int, skip_bad: bool = False
    ) -> None:
        """Args:
        shards: what to read.
        classes: class names; a .cls is a position in them.
        samples: pictures in all shards together.
        skip_bad: name damaged pictures in the log and go on, instead of stopping.
        """
        self.shards, self.classes = tuple(shards), tuple(classes)
        self.samples, self.skip_bad = samples, skip_bad

    def __len__(self) -> int:
        """Pictures in all shards together, whatever the number of processes; damaged ones count too."""
        return self.samples

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        for sample in _read(self.shards):
            decoded = self.decode(sample)
            if decoded is not None:
                yield decoded

    def decode(self, sample: Sample) -> tuple[Image.Image, int] | None:
        """Return (RGB picture, label), or None for a damaged picture that is to be skipped.

        Raises:
            InputError: the label is not one of the classes, or the picture is damaged.
        """
        label = _label(sample.label, sample.name, len(self.classes))
        try:
            return decode_picture(sample.picture, sample.name), label
        except InputError:
            if not self.skip_bad:
                raise
            _log.warning("left out: %s is damaged", sample.name)
            return None

    def sampler(
        self,
        *,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        follower: FollowsEpoch | None = None,
    ) -> "ShardSampler":
        """Return what reads one rank's part of each epoch."""
        return ShardSampler(self, shuffle=shuffle, seed=seed, rank=rank, world=world, follower=follower)


class ShardSampler(Sampler[Sample]):
    """Samples of one rank's epoch, in an order that depends on (seed, epoch) and the rank alone.

    In evaluation, and where there are fewer shards than ranks, every rank reads all shards and rank r of w
    keeps every w-th sample from r on, so that in evaluation each is had exactly once. Otherwise the ranks
    divide whole shards to spare the disk or the network; as shards differ in size, a rank whose shards are
    exhausted begins them again until it has as many samples as the others.
    """

    def __init__(
        self,
        dataset: ShardDataset,
        *,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        follower: FollowsEpoch | None = None,
    ) -> None:
        """Args:
        dataset: the shards.
        shuffle: training: another order each epoch, and equally many samples a rank.
        seed: of the order.
        rank: of this process, 0 to world - 1.
        world: number of processes.
        follower: is told every epoch this sampler is told (for the augmentation).
        """
        assert 0 <= rank < world
        self.dataset, self.shuffle, self.seed, self.rank, self.world = dataset, shuffle, seed, rank, world
        self.epoch = 0
        self._follower = follower
        self._start = 0

    def __len__(self) -> int:
        return rank_length(len(self.dataset), shuffle=self.shuffle, rank=self.rank, world=self.world)

    def __iter__(self) -> Iterator[Sample]:
        """Read on from where `start_at` said.

        Raises:
            InputError: a shard cannot be read to its end, or there are fewer samples than promised (in
                evaluation: or more). Of shards divided among ranks only the first is noticed, because the
                count of one rank's shards is not known.
        """
        start, self._start = self._start, 0
        shards, epoch_seed = list(self.dataset.shards), derive_seed(self.seed, self.epoch)
        divided = self.shuffle and 1 < self.world <= len(shards)
        if self.shuffle:
            random.Random(epoch_seed).shuffle(shards)
        if divided:
            stream = self._passes(shards[self.rank :: self.world], derive_seed(epoch_seed, self.rank), None)
        else:
            passes = self._passes(shards, derive_seed(epoch_seed, 0), len(self.dataset))
            stream = islice(passes, self.rank, None, self.world)
        yield from islice(stream, start, len(self))
        if not self.shuffle and next(stream, None) is not None:
            raise InputError(
                f"{self.dataset.shards[0]} and the other shards hold more than the {len(self.dataset)} "
                f"pictures of {self._setting}: correct it, or some would not be scored."
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass, here and in the follower."""
        self.epoch = epoch
        if self._follower is not None:
            self._follower.set_epoch(epoch)

    def start_at(self, index: int) -> None:
        """Let the next pass begin at position `index` of this rank's epoch; later passes are whole again."""
        self._start = index

    @property
    def _setting(self) -> str:
        return "samples" if self.shuffle else "val_samples"

    def _passes(self, shards: Sequence[str], seed: int, promised: int | None) -> Iterator[Sample]:
        """One pass over the shards, or when shuffling as many as are asked for."""
        draw = random.Random(seed)
        while True:
            found = 0
            for sample in _shuffled(_read(shards), draw) if self.shuffle else _read(shards):
                found += 1
                yield sample
            if not found:
                raise InputError(f"no labelled pictures in {shards[0]}: {SAMPLE_LAYOUT}.")
            if promised is not None and found < promised:
                raise InputError(
                    f"only {found} of {promised} pictures are in {shards[0]} and the {len(shards) - 1} other "
                    f"shards: replace those cut short, or correct {self._setting}."
                )
            if not self.shuffle:
                return


def open_shards(config: DataConfig, split: Split) -> ShardDataset:
    """Open a split.

    Without validation shards, val_fraction of the shards are held out: at least one, unless it is 0.

    Raises:
        InputError: webdataset is not installed, there are no shards or no classes.txt, or the number of
            pictures in shards that are not local files was not given.
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
        skip_bad=config.bad_pictures == "skip",
    )


def has_val_shards(config: DataConfig) -> bool:
    """Whether there are shards that are for validation only."""
    if config.shards is not None or config.val_shards is not None:
        return config.val_shards is not None
    return config.path is not None and bool(_tars(Path(config.path), "val"))


def _find_shards(config: DataConfig, split: Split) -> tuple[list[str], int | None]:
    if split == "val" and config.val_shards is not None:
        return _expand(config.val_shards), config.val_samples
    if config.shards is not None and split in ("train", "all"):
        return _expand(config.shards), config.samples
    if config.shards is not None:
        raise InputError(f"no shards for {split}: set val_shards, or val_fraction 0 to train without.")
    root = config.path
    if root is None or not Path(root).is_dir():
        raise InputError(f"the folder of shards {root} does not exist: {LAYOUT}.")
    named = {name: _tars(Path(root), name) for name in ("train", "val", "test")}
    if split == "all" or not any(named.values()):
        flat = sorted(str(path) for path in Path(root).rglob("*.tar"))
        named["train"] = flat
    if not named["val"] and (split == "val" or (split == "train" and config.val_fraction > 0)):
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
            with tarfile.open(shard, tarinfo=_Header) as tar:
                total += sum(member.isfile() and member.name.lower().endswith(".cls") for member in tar)
        except (tarfile.TarError, EOFError) as error:
            raise InputError(
                f"{shard} is not a readable tar file ({error}): replace or remove it."
            ) from error
    if not total:
        raise InputError(f"no labelled pictures in {shards[0]}: {SAMPLE_LAYOUT}.")
    return total


class _Header(tarfile.TarInfo):
    """A header that must be whole: tarfile takes a file cut between or inside headers for one that ends."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it stops without the mark of a tar file's end")
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):  # zeros are the mark
                raise tarfile.ReadError(f"a damaged header: {error}") from error
            raise


def _read(shards: Sequence[str]) -> Iterator[Sample]:
    """Every sample of the shards in turn; the files of one have one name up to the first dot."""
    assert gopen is not None  # open_shards checked
    for shard in shards:
        stream: Any
        try:
            with closing(gopen(shard)) as stream, _open_tar(stream) as tar:
                for key, files in groupby(_files(tar), key=lambda file: file[0]):
                    yield _sample(f"{key} in {shard}", {ending: data for _, ending, data in files})
        except (tarfile.TarError, OSError, EOFError) as error:
            reason = str(error.args[0] if error.args else error)
            raise InputError(f"{shard} could not be read to its end ({reason}): replace it.") from error


def _open_tar(stream: Any) -> tarfile.TarFile:
    # Where it can seek, tarfile reads pictures whole instead of in pieces of 10 kB.
    seekable = hasattr(stream, "seekable") and stream.seekable()
    return tarfile.open(fileobj=stream, mode="r:*" if seekable else "r|*", tarinfo=_Header)


def _files(tar: tarfile.TarFile) -> Iterator[tuple[str, str, bytes]]:
    for member in tar:
        folder, slash, base = member.name.rpartition("/")
        name, dot, ending = base.partition(".")
        content = tar.extractfile(member) if member.isfile() and name and dot else None
        if content is not None:
            yield folder + slash + name, f".{ending.lower()}", content.read()


def _sample(name: str, files: dict[str, bytes]) -> Sample:
    picture = next((data for ending, data in files.items() if ending in EXTENSIONS), None)
    if picture is None or ".cls" not in files:
        raise InputError(f"{name} lacks a picture or a .cls file: {SAMPLE_LAYOUT}.")
    return Sample(name, picture, files[".cls"])


def _shuffled(samples: Iterator[Sample], draw: random.Random) -> Iterator[Sample]:
    buffer: list[Sample] = []
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
