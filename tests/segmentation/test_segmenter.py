"""UperNet on every kind of backbone, its losses, and its ways of reading a picture."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import swinkit
from swinkit.backbones import DeitPyramidConfig, SwinConfig, TimmConfig, build_trunk
from swinkit.errors import InputError
from swinkit.segmentation.config import IGNORE, InferenceConfig, LossConfig, SegmenterConfig
from swinkit.segmentation.inference import mask_by_tiles, mask_of_scores, probabilities, slide
from swinkit.segmentation.losses import SegmentationLoss, counted_weights, cross_entropy, dice
from swinkit.segmentation.segmenter import HeadLogits, Segmenter
from swinkit.spec import from_dict, to_dict
from swinkit.weights import load, save

TINY = SwinConfig(embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), drop_path_rate=0.0)


def tiny(num_classes: int = 3, **changes) -> Segmenter:
    return swinkit.create_segmenter(
        TINY, num_classes=num_classes, channels=8, auxiliary_channels=8, crop=(64, 64), **changes
    )


@pytest.mark.parametrize(
    "config", [TimmConfig(name="resnet18"), DeitPyramidConfig(name="deit_tiny_patch16_224"), TINY], ids=str
)
@pytest.mark.parametrize("size", [(64, 96), (70, 101)])
def test_every_backbone_gives_logits_of_the_picture_s_size(config, size: tuple[int, int]) -> None:
    model: Any = swinkit.create_segmenter(config, num_classes=4, channels=8, auxiliary_channels=8).eval()
    with torch.inference_mode():
        assert model(torch.randn(1, 3, *size)).shape == (1, 4, *size)
        maps = model.backbone(torch.randn(1, 3, *size))
    for x, channels, stride in zip(maps, model.backbone.channels, model.backbone.strides, strict=True):
        assert x.shape == (1, channels, math.ceil(size[0] / stride), math.ceil(size[1] / stride))


def test_timm_models_with_channels_last_come_out_channels_first() -> None:
    config = TimmConfig(name="swin_tiny_patch4_window7_224", out_indices=(0, 1, 2, 3))
    with torch.inference_mode():
        maps = build_trunk(config)(torch.randn(1, 3, 224, 224))
    assert [x.shape[1] for x in maps] == [96, 192, 384, 768]


@pytest.mark.parametrize("config", [TimmConfig(name="resnet18"), TINY], ids=["timm", "swin"])
def test_saving_and_loading_gives_the_same_model(config, tmp_path) -> None:
    names = ("road", "sky", "tree")
    model = swinkit.create_segmenter(config, class_names=names, channels=8, auxiliary_channels=8).eval()
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.spec == model.spec
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(again(image), model(image))


def test_a_specification_survives_json() -> None:
    spec = tiny(palette=((1, 2, 3), (4, 5, 6), (7, 8, 9))).spec
    assert from_dict(to_dict(spec)) == spec


def test_pretrained_takes_a_classifier_s_trunk_and_a_segmenter_s_heads(tmp_path) -> None:
    classifier = swinkit.create_model(TINY, num_classes=5)
    save(classifier, tmp_path / "classifier.safetensors")
    model = tiny(pretrained=tmp_path / "classifier.safetensors")
    key = "stages.2.blocks.1.attn.qkv.weight"
    assert torch.equal(model.backbone.state_dict()[key], classifier.backbone.state_dict()[key])

    save(model, tmp_path / "segmenter.safetensors")
    again = tiny(num_classes=7, pretrained=tmp_path / "segmenter.safetensors")
    assert torch.equal(again.decode_head.fuse.conv.weight, model.decode_head.fuse.conv.weight)
    assert again.decode_head.classify.weight.shape[0] == 7


def test_unknown_names_say_what_to_do() -> None:
    with pytest.raises(InputError, match="did you mean 'swin_tiny_patch4_window7_224'"):
        swinkit.create_segmenter("upernet_swin_tiny_patch4_window7_22")
    with pytest.raises(InputError, match="timm cannot build"):
        swinkit.create_segmenter("timm/resnet1010")
    with pytest.raises(InputError, match="2 to 254 classes"):
        tiny(num_classes=255)


def test_bf16_and_checkpointing_change_no_more_than_rounding() -> None:
    model, image = tiny().eval(), torch.randn(1, 3, 64, 64)
    wanted = model(image)
    model.backbone.set_grad_checkpointing(True)
    got = model(image)
    torch.testing.assert_close(got, wanted)
    got.sum().backward()
    assert all(p.grad is not None for p in model.backbone.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(image).detach().float()
    assert float((rounded - wanted.detach()).abs().max() / wanted.detach().abs().max()) < 0.05


# Losses


def masks() -> tuple[Tensor, Tensor]:
    logits, target = torch.randn(2, 3, 8, 9), torch.randint(0, 3, (2, 8, 9))
    target[0, :2] = IGNORE
    return logits, target


def test_cross_entropy_averages_over_what_is_asked() -> None:
    logits, target = masks()
    wanted = F.cross_entropy(logits, target, ignore_index=IGNORE)
    torch.testing.assert_close(cross_entropy(logits, target), wanted)
    share = float((target != IGNORE).float().mean())
    torch.testing.assert_close(cross_entropy(logits, target, mean_over="all"), wanted * share)
    weights = torch.tensor([0.5, 1.0, 4.0])
    wanted = F.cross_entropy(logits, target, weights, ignore_index=IGNORE)
    torch.testing.assert_close(cross_entropy(logits, target, weights), wanted)


def test_dice_is_the_overlap_of_the_classes_present() -> None:
    logits, target = masks()
    target[target == 2] = 1
    p = logits.softmax(dim=1).permute(0, 2, 3, 1)[target != IGNORE]
    kept = target[target != IGNORE]
    overlaps = []
    for k in (0, 1):
        t = (kept == k).float()
        overlaps.append(2 * (p[:, k] * t).sum() / (p[:, k].sum() + t.sum()))
    torch.testing.assert_close(dice(logits, target), 1 - torch.stack(overlaps).mean())


def test_a_batch_without_labels_gives_zero_and_finite_gradients() -> None:
    logits, target = torch.randn(1, 3, 4, 4, requires_grad=True), torch.full((1, 4, 4), IGNORE)
    loss = cross_entropy(logits, target) + dice(logits, target)
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_counted_weights_raise_the_rare_class_and_keep_the_scale() -> None:
    weights = counted_weights([990, 10])
    assert float(weights[1] / weights[0]) == pytest.approx(math.log(1.02 + 0.99) / math.log(1.02 + 0.01))
    assert weights[1] / weights[0] > 10
    torch.testing.assert_close((weights * torch.tensor([0.99, 0.01])).sum(), torch.tensor(1.0))
    softer, halved = (
        counted_weights([990, 10], 0.5),
        LossConfig(class_weights="counted", counted_power=0.5),
    )
    torch.testing.assert_close(softer[1] / softer[0], (weights[1] / weights[0]).sqrt())
    torch.testing.assert_close((softer * torch.tensor([0.99, 0.01])).sum(), torch.tensor(1.0))
    torch.testing.assert_close(SegmentationLoss(halved, 2, [990, 10]).class_weights, softer)
    with pytest.raises(InputError, match="no pixel"):
        counted_weights([0, 0])
    with pytest.raises(InputError, match="counted_power"):
        LossConfig(counted_power=2.0)


def test_both_heads_count_at_the_mask_s_size() -> None:
    decode, auxiliary = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 2, 2)
    target = torch.randint(0, 3, (1, 16, 16))
    config = LossConfig(cross_entropy=1.0, dice=0.5, auxiliary=0.4)
    losses = SegmentationLoss(config, 3)
    parts = losses.of_head(decode, target) + 0.4 * losses.of_head(auxiliary, target)
    torch.testing.assert_close(losses(HeadLogits(decode, auxiliary), target), parts)
    with pytest.raises(InputError, match="2 class weights for 3 classes"):
        SegmentationLoss(LossConfig(class_weights=(1.0, 2.0)), 3)


@pytest.mark.parametrize(
    "settings", [{"class_weights": "counted"}, {"class_weights": "counted", "dice": 1.0}], ids=str
)
def test_a_rare_class_is_learned(settings: dict) -> None:
    """One pixel in 64: plain cross-entropy at first says "never", with weights it must not."""
    torch.manual_seed(0)
    images, target = torch.randn(4, 3, 64, 64) * 0.1, torch.zeros(4, 64, 64, dtype=torch.long)
    for picture, (row, column) in enumerate([(8, 40), (44, 20), (20, 16), (4, 8)]):
        target[picture, row : row + 8, column : column + 8] = 1
        images[picture, :, row : row + 8, column : column + 8] += 2
    model = tiny(num_classes=2)
    losses = SegmentationLoss(LossConfig(**settings), 2, pixels=(4 * 64 * 64 - 256, 256))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        losses(model.forward_heads(images), target).backward()
        optimizer.step()
    found = model.eval()(images).argmax(dim=1)
    assert float((found[target == 1] == 1).float().mean()) > 0.9


# Reading pictures


def test_one_crop_over_the_whole_picture_is_one_pass() -> None:
    model, image = tiny().eval(), torch.randn(1, 3, 64, 80)
    torch.testing.assert_close(slide(model, image, (64, 80), (32, 40)), model(image))


def test_overlapping_crops_are_averaged() -> None:
    def model(x: Tensor) -> Tensor:
        return torch.full((1, 2, *x.shape[2:]), float(x[0, 0, 0, 0]))

    image = torch.arange(6.0).view(1, 1, 1, 6)
    got = slide(model, image, (1, 4), (1, 2))
    assert got[0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]
    # The last crop ends with the picture: it begins at 3, not at 4.
    got = slide(model, torch.arange(7.0).view(1, 1, 1, 7), (1, 4), (1, 2))
    assert got[0, 0, 0].tolist() == pytest.approx([0, 0, 1, 5 / 3, 2.5, 2.5, 3])


def test_mirrors_are_turned_back() -> None:
    def model(x: Tensor) -> Tensor:
        return torch.cat([x, -x], dim=1)

    image = torch.randn(1, 1, 4, 6)
    got = probabilities(model, image, (4, 6), InferenceConfig(flip=True))
    torch.testing.assert_close(got, model(image).softmax(dim=1))


def test_a_scale_leaves_at_least_a_pixel() -> None:
    def model(x: Tensor) -> Tensor:
        return torch.cat([x, -x], dim=1)

    config = InferenceConfig(scales=(0.01,))
    assert probabilities(model, torch.randn(1, 1, 4, 6), (4, 6), config).shape == (1, 2, 4, 6)


def test_tiles_agree_with_one_pass_for_a_model_that_sees_only_nearby() -> None:
    weight = torch.randn(4, 3, 3, 3)
    image = torch.randn(1, 3, 50, 67)

    def model(x: Tensor) -> Tensor:
        return F.conv2d(x, weight, padding=1)

    def read(rows: slice, columns: slice) -> Tensor:
        return image[:, :, rows, columns]

    config = InferenceConfig(crop=(20, 24), stride=(14, 17))
    calls: list[tuple[int, int]] = []
    got = mask_by_tiles(model, read, (50, 67), config, on_tile=lambda *now: calls.append(now))
    assert torch.equal(got, model(image)[0].argmax(dim=0).to(torch.uint8))
    assert calls[-1] == (len(calls), len(calls))


@pytest.mark.parametrize("size", [(40, 60), (5, 7), (8, 12)])
def test_resizing_in_bands_is_resizing_at_once(size: tuple[int, int]) -> None:
    scores = torch.randn(5, 8, 12)
    wanted = F.interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0].argmax(dim=0)
    assert torch.equal(mask_of_scores(scores, size, band_pixels=130).long(), wanted)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="a stride must be"):
        InferenceConfig(crop=(64, 64), stride=(65, 64))
    with pytest.raises(InputError, match="scales"):
        InferenceConfig(scales=())
    with pytest.raises(InputError, match="short_side must be at least 1 pixel; got 0"):
        InferenceConfig(short_side=0)
    with pytest.raises(InputError, match="loss weights"):
        LossConfig(cross_entropy=0.0)
    for weights in ((1.0, -2.0), (0.0, 0.0), (1.0, math.inf)):
        with pytest.raises(InputError, match="class weights must be numbers above 0"):
            LossConfig(class_weights=weights)
    refused: tuple[dict[str, Any], ...] = (
        {"channels": 0},
        {"auxiliary_channels": -1},
        {"pool_scales": (0, 1)},
    )
    for sizes in refused:
        with pytest.raises(InputError, match="channels and pool_scales must be 1 or more"):
            SegmenterConfig(**sizes)
    model = tiny()
    other = dataclasses.replace(model.config, backbone=SwinConfig())
    assert isinstance(other, SegmenterConfig)
    with pytest.raises(InputError, match="different models"):
        Segmenter(model.backbone, other)


def test_a_backbone_of_two_stages_has_no_map_for_the_auxiliary_head() -> None:
    config = dataclasses.replace(TINY, depths=(1, 1), num_heads=(1, 2), out_indices=(0, 1))
    with pytest.raises(InputError, match=r"reads map 2 .* gives 2: .*auxiliary_channels=0"):
        swinkit.create_segmenter(config, num_classes=4, channels=8)
    model = swinkit.create_segmenter(config, num_classes=4, channels=8, auxiliary_channels=0).eval()
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 4, 32, 32)
