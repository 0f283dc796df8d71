"""Where a job runs and how batches are shared out, without running it."""

import pytest
import torch

from swinkit.data import DataConfig, TransformedDataset
from swinkit.errors import InputError
from swinkit.train import TrainConfig, TrainerConfig
from swinkit.train.build import pick_device, pick_precision
from swinkit.train.data import SURPLUS, EqualBatches, JobData
from swinkit.train.module import ClassificationModule


class Numbers:
    """Items whose picture is their own number."""

    classes = ("even", "odd")

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[int, int]:
        return index, index % 2


def numbers(length: int) -> TransformedDataset:
    return TransformedDataset(Numbers(length), lambda picture: torch.tensor(float(picture)))  # type: ignore[arg-type]  # not a picture


def gpus(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("there", "device", "devices", "expected"),
    [
        (0, "auto", 1, "cpu"),
        (0, "cpu", 8, "cpu"),
        (2, "auto", 2, "cuda"),
        (2, "cuda", 1, "cuda"),
        (2, "cpu", 1, "cpu"),
    ],
)
def test_device(
    monkeypatch: pytest.MonkeyPatch, there: int, device: str, devices: int, expected: str
) -> None:
    gpus(there, monkeypatch)
    assert pick_device(TrainerConfig(device=device, devices=devices)) == expected  # type: ignore[arg-type]  # a literal


@pytest.mark.parametrize(
    ("there", "device", "devices"), [(0, "auto", 8), (0, "cuda", 1), (2, "auto", 4), (2, "cuda", 4)]
)
def test_more_gpus_than_there_are_is_an_error(
    monkeypatch: pytest.MonkeyPatch, there: int, device: str, devices: int
) -> None:
    gpus(there, monkeypatch)
    with pytest.raises(InputError, match=rf"devices {devices} .*torch sees {there}: .*--trainer\.device cpu"):
        pick_device(TrainerConfig(device=device, devices=devices))  # type: ignore[arg-type]  # a literal


def test_fp16_is_for_gpus() -> None:
    assert pick_precision(TrainerConfig(precision="fp16"), "cuda") == "fp16"
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        pick_precision(TrainerConfig(precision="fp16"), "cpu")


@pytest.mark.parametrize(
    ("length", "accumulate", "devices", "batches", "steps"),
    [(40, 1, 1, 10, 10), (43, 4, 1, 8, 2), (43, 4, 2, 4, 1), (3, 1, 1, 1, 1), (16, 4, 1, 4, 1)],
)
def test_an_epoch_is_whole_steps(
    length: int, accumulate: int, devices: int, batches: int, steps: int
) -> None:
    config = TrainConfig(
        data=DataConfig(batch_size=4), trainer=TrainerConfig(accumulate=accumulate, devices=devices)
    )
    data = JobData(numbers(length), None, config)
    assert (data.batches_per_epoch, data.steps_per_epoch) == (batches, steps)


class Process:
    """What a loader asks Lightning's trainer for."""

    def __init__(self, rank: int, world: int) -> None:
        self.global_rank, self.world_size = rank, world


@pytest.mark.parametrize("length", [9, 8, 3, 17])
def test_processes_validate_equally_many_batches_and_count_every_picture_once(length: int) -> None:
    config = TrainConfig(data=DataConfig(batch_size=4, workers=0), trainer=TrainerConfig(devices=2))
    data = JobData(numbers(20), numbers(length), config)
    counts, counted = set(), []
    for rank in range(2):
        data.trainer = Process(rank, 2)  # type: ignore[assignment]  # enough of one
        loader = data.val_dataloader()
        batches = list(loader)
        counts |= {len(batches), len(loader)}
        counted += [int(x) for images, targets in batches for x in images[targets != SURPLUS]]
    assert len(counts) == 1
    assert sorted(counted) == list(range(length))


def test_surplus_pictures_leave_the_scores_alone() -> None:
    model = torch.nn.Linear(3, 3)
    module = ClassificationModule(model, TrainConfig(), num_classes=3, steps_per_epoch=1)
    batches = [(torch.randn(4, 3), torch.tensor([0, 1, 2, 0])), (torch.randn(2, 3), torch.tensor([2, 2]))]

    def scores(loader: object) -> dict[str, float]:
        for number, batch in enumerate(loader):  # type: ignore[arg-type]  # any iterable
            module.validation_step(batch, number)
        module.on_validation_epoch_end()
        return module.validation

    plain = scores(batches)
    assert scores(EqualBatches(batches, 4)) == pytest.approx(plain)  # type: ignore[arg-type]  # any iterable
    logits = model(torch.cat([images for images, _ in batches])).detach()
    targets = torch.cat([targets for _, targets in batches])
    assert plain["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, targets)))
    assert plain["top1"] == pytest.approx(float((logits.argmax(dim=1) == targets).float().mean()))
