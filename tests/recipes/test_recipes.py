"""Every recipe builds and takes one step, its model shrunk and everything else as it is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from swinkit.backbones import VARIANTS
from swinkit.backbones.variants import SwinConfig
from swinkit.data import DataConfig
from swinkit.recipes import RECIPES
from swinkit.train import ClassificationModule, TrainConfig, train
from swinkit.weights import catalog

CARD = ("Paper:", "Published code:"), ("Measured here:",), ("Command: swinkit train ",)


def shrunk(config: TrainConfig, folder: Path, out: Path) -> TrainConfig:
    """The recipe on a folder of small pictures, in one process, with a two-stage model of a few channels."""
    model = replace(
        config.model,
        img_size=(32, 32),
        window_size=4,
        patch_size=4,
        embed_dim=8,
        depths=(1, 2),
        num_heads=(1, 2),
        pretrained=False,
    )
    data = replace(config.data, kind="folder", path=folder, batch_size=4, workers=0, val_fraction=0.25)
    trainer = replace(config.trainer, device="cpu", max_steps=1)
    return replace(config, model=model, data=data, trainer=trainer, out=out)


CLASSIFICATION = [name for name, recipe in RECIPES.items() if recipe().task == "classification"]
"""The recipes of the other tasks take their step in the tests of their rooms."""


def job(name: str) -> TrainConfig:
    """A recipe of classification."""
    config = RECIPES[name]()
    assert isinstance(config, TrainConfig)
    return config


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_recipe_takes_one_step(name: str, picture_folder: Any, tmp_path: Path) -> None:
    result = train(shrunk(job(name), picture_folder(count=8), tmp_path / "run"))
    assert result.steps == 1
    assert result.model.is_file()


@pytest.mark.parametrize("name", RECIPES)
def test_card_is_complete_and_its_command_is_the_recipe(name: str) -> None:
    card = " ".join((RECIPES[name].__doc__ or "").split())  # a phrase may be folded over two lines
    for alternatives in CARD:
        assert any(words in card for words in alternatives), alternatives
    assert f"swinkit train {name} " in card
    assert "Hardware:" in card


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("swin")])
def test_recipe_of_the_paper_scales_to_the_published_learning_rate(name: str) -> None:
    config = job(name)
    pictures = 4096 if "22k" in name and "to_1k" not in name else 1024
    peak = config.optimizer.lr * pictures / (config.optimizer.lr_base_batch or 1)
    scratch = config.model.pretrained is False
    assert peak == pytest.approx(1e-3 if scratch else 4e-5)
    assert config.schedule.epochs == (90 if pictures == 4096 else 300 if scratch else 30)
    assert config.schedule.warmup_epochs == (20 if config.schedule.epochs == 300 else 5)
    assert config.optimizer.weight_decay == (0.05 if scratch else 1e-8)
    assert config.model.name in VARIANTS
    assert config.model.drop_path_rate is not None


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_weights_to_start_from_are_published_and_of_the_right_data(name: str) -> None:
    pretrained = job(name).model.pretrained
    if not isinstance(pretrained, str):
        assert not pretrained or name == "finetune"  # which takes what the model's name means
        return
    entry = catalog.find(pretrained)
    assert entry is not None
    assert entry.num_classes == (21841 if "22k" in name else 1000)
    assert entry.name == f"{entry.variant}.{'ms_in22k' if '22k' in name else 'ms_in1k'}"
    assert pretrained == entry.name  # a bare name's tag may change its meaning


def test_ends_of_the_schedule_scale_as_in_the_published_code() -> None:
    """5e-7, 5e-4 and 5e-6 at 512 pictures; the card says what that is at 1,024."""
    config = job("swin_tiny_imagenet1k")
    config = replace(config, trainer=replace(config.trainer, devices=8))
    module = ClassificationModule(torch.nn.Linear(2, 2), config, num_classes=2, steps_per_epoch=10)
    module.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert module.pictures_per_step == 1024
    configured = module.configure_optimizers()
    scheduler = configured["lr_scheduler"]["scheduler"]
    rates = [scheduler.base_lrs[0] * scheduler.lr_lambdas[0](step) for step in (0, 20 * 10, 300 * 10)]
    assert rates == pytest.approx([1e-6, 1e-3, 1e-5])
    assert configured["optimizer"].param_groups[0]["lr"] == pytest.approx(1e-6)
    card = " ".join((RECIPES["swin_tiny_imagenet1k"].__doc__ or "").split())
    assert "1e-6 warmed up to 1e-3 and down to 1e-5" in card


def test_imagenet_augmentation_is_the_papers() -> None:
    augment = job("swin_tiny_imagenet1k").augment
    assert (augment.rand_magnitude, augment.rand_std, augment.rand_increasing) == (9, 0.5, True)
    assert (augment.mixup, augment.cutmix, augment.mix_probability, augment.switch_probability) == (
        0.8,
        1,
        1,
        0.5,
    )
    assert (augment.erasing, augment.label_smoothing, augment.color_jitter) == (0.25, 0.1, 0.4)
    assert augment.interpolation == "bicubic"


def test_ablations_change_one_thing() -> None:
    whole = job("swin_tiny_imagenet1k")
    for name, change in (
        ("swin_tiny_no_shift", {"shift": False}),
        ("swin_tiny_no_position", {"position": "none"}),
        ("swin_tiny_absolute_position", {"position": "absolute"}),
        ("swin_tiny_both_positions", {"position": "both"}),
        ("swin_tiny_no_appearance", {"position": "relative_without_appearance"}),
    ):
        assert job(name) == replace(whole, model=replace(whole.model, **change))


def test_small_recipes_describe_small_models() -> None:
    for name in ("digits", "cifar10"):
        model = job(name).model
        assert model.name == "custom"
        SwinConfig(
            embed_dim=model.embed_dim or 0,
            depths=model.depths or (),
            num_heads=model.num_heads or (),
            out_indices=(0,),
        )
    assert job("digits").data == DataConfig(
        kind="digits", batch_size=job("digits").data.batch_size, workers=0
    )
