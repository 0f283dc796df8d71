"""Mixup and CutMix: the mixture, its targets, and that the generator alone decides."""

import pytest
import torch

from swinkit.data import AugmentConfig, MixBatch
from swinkit.errors import InputError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(size=6):
    images = torch.arange(size, dtype=torch.float32)[:, None, None, None].expand(size, 3, 8, 10).clone()
    return images, torch.arange(size)


def test_mixup_blends_pictures_and_targets_alike():
    mix = MixBatch(AugmentConfig(cutmix=0, label_smoothing=0), 6)
    images, targets = batch()
    mixed, soft = mix(images, targets, generator())
    share = soft[0, 0].item()
    assert 0 < share < 1
    torch.testing.assert_close(mixed, images * share + images.flip(0) * (1 - share))
    torch.testing.assert_close(soft, torch.eye(6) * share + torch.eye(6).flip(0) * (1 - share))


def test_cutmix_pastes_a_rectangle_and_counts_its_area():
    mix = MixBatch(AugmentConfig(mixup=0, label_smoothing=0), 6)
    images, targets = batch()
    seen = set()
    for seed in range(30):
        mixed, soft = mix(images, targets, generator(seed))
        pasted = mixed[1, 0] == 4  # picture 1 meets picture 6 - 1 - 1
        assert ((mixed[1, 0] == 1) | pasted).all()
        rows, columns = pasted.any(dim=1).sum(), pasted.any(dim=0).sum()
        assert pasted.sum() == rows * columns
        torch.testing.assert_close(soft[1, 4].item(), pasted.float().mean().item())
        torch.testing.assert_close(soft.sum(dim=1), torch.ones(6))
        seen.add(int(pasted.sum()))
    assert len(seen) > 5
    assert images[1, 0, 0, 0] == 1  # the caller's pictures are left alone


def test_label_smoothing():
    mix = MixBatch(AugmentConfig(mixup=0, cutmix=0, label_smoothing=0.1), 5)
    images, _ = batch(2)
    same, soft = mix(images, torch.tensor([3, 0]), generator())
    assert same is images
    torch.testing.assert_close(soft[0], torch.tensor([0.02, 0.02, 0.02, 0.92, 0.02]))


def test_the_switch_and_the_share_of_mixed_batches():
    images, targets = batch()
    mix = MixBatch(AugmentConfig(mix_probability=0.8, switch_probability=0.25, label_smoothing=0), 6)
    kinds = {"none": 0, "mixup": 0, "cutmix": 0}
    draw = generator()
    for _ in range(1000):
        mixed, _ = mix(images, targets, draw)
        kind = "none" if mixed is images else ("mixup" if len(mixed[0, 0].unique()) == 1 else "cutmix")
        kinds[kind] += 1
    assert abs(kinds["none"] - 200) < 50
    assert abs(kinds["mixup"] - 600) < 70  # a CutMix whose rectangle is empty or everything counts here too


def test_only_the_generator_decides():
    mix = MixBatch(AugmentConfig(), 6)
    images, targets = batch()
    before = torch.get_rng_state()
    one, soft_one = mix(images, targets, generator(3))
    two, soft_two = mix(images, targets, generator(3))
    other, _ = mix(images, targets, generator(4))
    assert torch.equal(one, two)
    assert torch.equal(soft_one, soft_two)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_label_outside_the_model():
    images, targets = batch()
    with pytest.raises(InputError, match="labels from 0 to 5 for a model of 3 classes"):
        MixBatch(AugmentConfig(), 3)(images, targets, generator())


@pytest.mark.parametrize("alpha", [0.2, 0.8, 3.0])
def test_the_share_follows_the_symmetric_beta_distribution(alpha):
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1))."""
    mix = MixBatch(AugmentConfig(mixup=alpha, cutmix=0, label_smoothing=0), 6)
    images, targets = batch()
    shares = torch.tensor([mix(images, targets, generator(seed))[1][0, 0].item() for seed in range(2000)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
