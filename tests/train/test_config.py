import json
from dataclasses import replace
from pathlib import Path

import pytest

from swinkit.data import DataConfig
from swinkit.errors import InputError
from swinkit.recipes import RECIPES
from swinkit.train import ModelOptions, OptimizerConfig, ScheduleConfig, TrainConfig, TrainerConfig
from swinkit.train.jobs import job_from_json


@pytest.mark.parametrize("name", RECIPES)
def test_json_round_trip_gives_the_same_configuration(name: str) -> None:
    config = RECIPES[name]()
    assert job_from_json(config.to_json()) == config


def test_paths_come_back_as_paths_and_names_as_names() -> None:
    config = TrainConfig(
        data=DataConfig(path=Path("a/b")),
        out=Path("runs/x"),
        model=ModelOptions(pretrained="file.pth", depths=(1, 2)),
    )
    again = TrainConfig.from_json(config.to_json())
    assert again == config
    assert isinstance(again.data.path, Path)
    assert isinstance(again.model.pretrained, str)
    assert again.model.depths == (1, 2)


def test_unknown_key_is_an_error_that_names_it() -> None:
    data = json.loads(TrainConfig().to_json())
    data["optimizer"]["learning_rate"] = 1.0
    with pytest.raises(InputError, match=r"optimizer\.learning_rate"):
        TrainConfig.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["{", "[]", '{"optimizer": 3}'])
def test_not_a_configuration_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError):
        TrainConfig.from_json(text)


def test_impossible_values_are_refused() -> None:
    for build in (
        lambda: OptimizerConfig(lr=0),
        lambda: OptimizerConfig(layer_decay=1.5),
        lambda: OptimizerConfig(betas=(0.9, 1.0)),
        lambda: OptimizerConfig(eps=-1.0),
        lambda: OptimizerConfig(momentum=-0.1),
        lambda: ModelOptions(crop_ratio=0.0),
        lambda: ScheduleConfig(epochs=3, warmup_epochs=3),
        lambda: TrainerConfig(accumulate=0),
        lambda: replace(TrainerConfig(), max_steps=0),
        lambda: TrainerConfig(devices=0),
        lambda: ScheduleConfig(epochs=0, warmup_epochs=0),
        lambda: ScheduleConfig(min_lr=-1e-6),
        lambda: OptimizerConfig(lr=float("nan")),
        lambda: OptimizerConfig(lr_base_batch=0),
    ):
        with pytest.raises(InputError, match="must be"):
            build()


@pytest.mark.parametrize(
    ("cls", "values", "said"),
    [
        (OptimizerConfig, {"name": "lamb"}, r"optimizer\.name must be one of adamw, sgd; got 'lamb'"),
        (ScheduleConfig, {"kind": "cosin"}, r"schedule\.kind must be one of cosine, linear, constant"),
        (TrainerConfig, {"strategy": "dpp"}, r"trainer\.strategy must be one of auto, ddp, fsdp"),
        (TrainerConfig, {"precision": "fp8"}, r"trainer\.precision must be one of"),
        (TrainerConfig, {"device": "tpu"}, r"trainer\.device must be one of"),
        (ModelOptions, {"position": "relativ"}, r"model\.position must be one of"),
        (ModelOptions, {"init": "he"}, r"model\.init must be one of"),
        (ModelOptions, {"attention_impl": "flash"}, r"model\.attention_impl must be one of"),
        (ModelOptions, {"crop_ratio": "half"}, r"model\.crop_ratio must be one of auto, whole"),
    ],
)
def test_unknown_words_are_refused_with_those_there_are(cls: type, values: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        cls(**values)


def test_a_field_of_words_may_hold_its_other_types() -> None:
    assert ModelOptions(crop_ratio=0.9, position=None).crop_ratio == 0.9
    assert ModelOptions(crop_ratio=1).crop_ratio == 1
