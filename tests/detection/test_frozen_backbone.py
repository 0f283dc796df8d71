"""ResNets as the published detectors train them: stem and first stage fixed, batch norms as they came."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import swinkit
from detector_jobs import job
from swinkit.backbones import DeitPyramid, SwinConfig, TimmBackbone
from swinkit.errors import InputError
from swinkit.train import train
from swinkit.train.config import OptimizerConfig, TrainerConfig
from swinkit.train.detection_config import DetectConfig, DetectorOptions
from swinkit.train.optim import parameter_groups
from swinkit.train.prepare_detection import prepare_detection
from swinkit.weights import read_state_dict

STATISTICS = ("running_mean", "running_var")
FIXED = ("conv1.", "bn1.", "layer1.")


def fixed_resnet(count: int = 2, out_indices: tuple[int, ...] = (1, 2, 3, 4)) -> TimmBackbone:
    torch.manual_seed(0)
    model = TimmBackbone("resnet18", out_indices)
    model.freeze_stages(count)
    return model


def parts(model: TimmBackbone) -> dict[str, nn.Module]:
    return dict(model.model.named_children())


def resnet_job(data: Path, out: Path, **settings: Any) -> DetectConfig:
    options = DetectorOptions(
        name="timm/resnet18",
        head="atss",
        channels=32,
        short_side=64,
        long_side=96,
        freeze_stages=2,
        norm_eval=True,
    )
    trainer = TrainerConfig(device="cpu", log_every=1, validate_every=9, sync_batchnorm=True, **settings)
    return job(data, out, model=options, trainer=trainer, optimizer=OptimizerConfig(lr=1e-2))


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.parametrize(
    ("count", "fixed"),
    [(0, ""), (1, "conv1 bn1 act1 maxpool"), (2, "conv1 bn1 act1 maxpool layer1")],
)
@pytest.mark.parametrize("out_indices", [(1, 2, 3, 4), (2, 3, 4)])
def test_frozen_stages_are_those_of_the_published_code(
    count: int, fixed: str, out_indices: tuple[int, ...]
) -> None:
    """frozen_stages 1 of the published code, which is 2 here, fixes the stem and the stage of stride 4."""
    model = fixed_resnet(count, out_indices)
    for mode in (True, False, True):
        model.train(mode)
        kept = {name for name, part in parts(model).items() if not part.training}
        assert kept == (set(fixed.split()) if mode else set(parts(model)))
    asleep = {name.split(".")[1] for name, value in model.named_parameters() if not value.requires_grad}
    assert asleep == {name for name in fixed.split() if name not in ("act1", "maxpool")}


def test_fixed_parts_get_no_gradient_no_group_and_no_new_statistics() -> None:
    model = fixed_resnet().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.randn(2, 3, 64, 64))[-1].sum().backward()
    moved = changed(before, model.state_dict())
    assert moved
    assert not [name for name in moved if name.removeprefix("model.").startswith(FIXED)]
    named = dict(model.named_parameters())
    assert {name for name, value in named.items() if value.grad is None} == {
        name for name in named if name.removeprefix("model.").startswith(FIXED)
    }
    grouped = {
        name for group in parameter_groups(model, OptimizerConfig(), lr=1.0) for name in group["names"]
    }
    assert grouped == {name for name, value in named.items() if value.grad is not None}


def test_norms_keep_their_statistics_and_learn_their_weights() -> None:
    torch.manual_seed(0)
    model = TimmBackbone("resnet18").train()
    images = torch.randn(2, 3, 64, 64)
    model.keep_norm_statistics()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(images)
    found = model.train()(images)[-1]
    assert changed(before, model.state_dict()) == set()
    torch.testing.assert_close(model.eval()(images)[-1], found)
    found.sum().backward()
    norm = model.model["layer1"][0].bn2  # the last of a block, which starts at 0
    assert norm.weight.grad is not None
    assert norm.weight.grad.abs().sum() > 0


def test_norms_synchronised_over_devices_are_fixed_too() -> None:
    """Training on several devices puts other batch norms in their place, after the model was made ready."""
    model = fixed_resnet()
    model.keep_norm_statistics()
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model).train()
    norms = [module for module in model.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert len(norms) == 20
    assert not any(norm.training for norm in norms)
    assert {norm.weight.requires_grad for norm in norms[:5]} == {False}
    assert {norm.weight.requires_grad for norm in norms[5:]} == {True}


def test_a_run_keeps_what_is_fixed_over_validation_resume_and_processes(
    object_folder, run_job, tmp_path: Path
) -> None:
    data, run = object_folder(4), tmp_path / "run"
    start = prepare_detection(resnet_job(data, run), None).model.state_dict()
    done = run_job(resnet_job(data, run, devices=2, strategy="ddp", max_steps=1))
    assert done.returncode == 0, done.stderr
    train(resnet_job(data, run, max_steps=3), resume=True)
    end, _ = read_state_dict(run / "checkpoints" / "last.ckpt")
    prefix = next(iter(end)).partition("backbone.")[0]
    moved = {name for name in start if not torch.equal(start[name], end[prefix + name])}
    assert any(name.startswith("backbone.model.layer2") for name in moved)
    assert any(name.startswith("backbone.model.layer4.1.bn2") for name in moved)
    assert not [name for name in moved if name.removeprefix("backbone.model.").startswith(FIXED)]
    assert not [name for name in moved if name.startswith("backbone.") and name.endswith(STATISTICS)]


def test_random_parts_that_stay_random_are_warned_of(object_folder, tmp_path: Path) -> None:
    config = resnet_job(object_folder(4), tmp_path / "run")
    assert any("starts from random weights" in line for line in prepare_detection(config, None).remarks)
    free = dataclasses.replace(config.model, freeze_stages=0, norm_eval=False)
    remarks = prepare_detection(dataclasses.replace(config, model=free), None).remarks
    assert not any("random" in line for line in remarks)


def test_what_cannot_be_fixed_is_refused() -> None:
    for count in (-1, 6):
        with pytest.raises(InputError, match=f"takes 0 to 5 of resnet18; got {count}"):
            fixed_resnet(count)
    with pytest.raises(InputError, match="takes 0 only of vit_tiny_patch16_224; got 1"):
        TimmBackbone("vit_tiny_patch16_224", (10, 11)).freeze_stages(1)
    with pytest.raises(InputError, match="convnext_atto has none"):
        TimmBackbone("convnext_atto", (0, 1, 2, 3)).keep_norm_statistics()
    with pytest.raises(InputError, match="takes 0, got 1"):
        DeitPyramid("deit_tiny_patch16_224").freeze_stages(1)
    swin = SwinConfig(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4)
    with pytest.raises(InputError, match=r"norm_eval is for the batch norms of a timm model"):
        swinkit.create_detector(swin, num_classes=3, norm_eval=True)
    model = swinkit.create_detector("timm/resnet18", num_classes=3, frozen_stages=2, norm_eval=True)
    assert isinstance(model.backbone, TimmBackbone)
    assert (model.backbone.frozen_stages, model.backbone.norm_eval) == (2, True)
