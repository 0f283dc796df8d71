"""What a job trains and validates on: its parts, and that shards lose no step to the workers."""

import io
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swinkit.data import DataConfig
from swinkit.train import TrainConfig, train
from swinkit.train.build import open_data


def write_shard(path: Path, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            stream = io.BytesIO()
            pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(stream, "PNG")
            for ending, data in (("png", stream.getvalue()), ("cls", str(number % 2).encode())):
                member = tarfile.TarInfo(f"{number:04d}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    (path.parent / "classes.txt").write_text("even\nodd\n")


def sizes(config: TrainConfig) -> tuple[int, int | None]:
    training, validation = open_data(config)
    return len(training), None if validation is None else len(validation)


def test_validation_pictures_of_their_own_need_no_fraction(
    small_job: TrainConfig, tmp_path: Path, picture_folder: Callable[..., Path]
) -> None:
    flat = picture_folder(count=4)
    picture_folder(count=3, root="split/train")
    root = tmp_path / "split"

    def job(path: Path, val_path: Path | None = None) -> TrainConfig:
        return replace(small_job, data=DataConfig(path=path, val_path=val_path, val_fraction=0.0))

    assert sizes(job(flat)) == (8, None)
    assert sizes(job(root)) == (6, None)
    assert sizes(job(flat, val_path=root / "train")) == (8, 6)
    shutil.copytree(flat, root / "val")
    assert sizes(job(root)) == (6, 8)


def test_shards_without_validation_are_all_trained_on(small_job: TrainConfig, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    config = replace(small_job, data=DataConfig(path=tmp_path, val_fraction=0.0))
    write_shard(tmp_path / "train-0.tar", 3)
    assert sizes(config) == (3, None)
    write_shard(tmp_path / "val-0.tar", 2)
    assert sizes(config) == (3, 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_job_on_shards_does_every_step_and_validates(
    small_job: TrainConfig, tmp_path: Path, workers: int
) -> None:
    """A hundred pictures in batches of 32 are three steps for any number of workers."""
    pytest.importorskip("webdataset")
    write_shard(tmp_path / "data" / "train-0.tar", 60)
    write_shard(tmp_path / "data" / "train-1.tar", 40)
    write_shard(tmp_path / "data" / "val-0.tar", 10)
    result = train(
        replace(
            small_job,
            data=DataConfig(path=tmp_path / "data", batch_size=32, workers=workers),
            schedule=replace(small_job.schedule, epochs=1),
            trainer=replace(small_job.trainer, accumulate=1),
            out=tmp_path / "run",
        )
    )
    assert result.steps == 3
    assert result.top1 is not None
