"""What training and evaluation do to pictures with objects: the objects follow, all of it repeatable."""

import numpy as np
import pytest
import torch
from PIL import Image

from swinkit.data.grouped_sampler import GroupedSampler
from swinkit.data.object_config import ObjectAugmentConfig
from swinkit.data.object_transforms import (
    ObjectEvalTransform,
    ObjectTrainTransform,
    TransformedObjects,
    follow,
    pad_batch,
)
from swinkit.data.objects import ObjectDataset, ObjectRecord, make_record
from swinkit.detection.structures import Targets
from swinkit.errors import InputError
from swinkit.spec import Preprocess

RAW = Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def record(
    tmp_path, name: str = "x.png", size: tuple[int, int] = (90, 120), *, code: bool = False
) -> ObjectRecord:
    """A white rectangle on black, its box and its outline, and a crowd."""
    picture = np.zeros((*size, 3), dtype=np.uint8)
    picture[20:60, 30:80] = 255
    Image.fromarray(picture).save(tmp_path / name)
    mask = picture[..., 0] > 0
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], mask.T.ravel(), [0]])) != 0), prepend=0)
    counts = [*runs.tolist(), size[0] * size[1] - int(runs.sum())]
    outline = {"size": list(size), "counts": counts} if code else [[30.0, 20, 80, 20, 80, 60, 30, 60]]
    rows = [
        {"box": (30, 20, 80, 60), "label": 1, "area": 2000, "segment": outline},
        {"box": (0, 0, 120, 90), "label": 0, "area": 10, "crowd": True, "segment": outline},
    ]
    return make_record(tmp_path / name, name, size, rows)


def dataset(*records: ObjectRecord) -> ObjectDataset:
    return ObjectDataset(("a", "b"), (1, 2), records)


@pytest.mark.parametrize("code", [False, True])
@pytest.mark.parametrize(
    "augment",
    [
        ObjectAugmentConfig(short_sides=(64, 128), crop_sides=(80, 100), crop_range=(60, 90), vflip=0.5),
        ObjectAugmentConfig(ratio=(0.5, 2.0), size=(100, 110), vflip=0.5),
    ],
    ids=["sides", "ratio"],
)
def test_boxes_and_masks_follow_the_pixels(augment: ObjectAugmentConfig, code: bool, tmp_path) -> None:
    """The only object is the only white: after any augmentation its mask is where white is."""
    own = record(tmp_path, code=code)
    data = TransformedObjects(dataset(own), ObjectTrainTransform(augment, RAW, masks=True))
    seen = set()
    for epoch in range(12):
        data.set_epoch(epoch)
        image, targets, info = data[0]
        seen.add((image.shape[1], image.shape[2]))
        assert info.size == image.shape[1:]
        assert len(targets.labels) <= 1, "crowds are not trained"
        if len(targets.labels) == 0:
            assert float((image[0] > 0.5).float().mean()) < 0.02
            continue
        assert targets.labels.tolist() == [1]
        assert targets.masks is not None
        white, mask = image[0] > 0.5, targets.masks[0].bool()
        assert float((white != mask).float().mean()) < 0.02
        rows, columns = torch.nonzero(white, as_tuple=True)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert targets.boxes[0].tolist() == pytest.approx([float(v) for v in found], abs=1.6)
    if augment.ratio is None:
        assert len(seen) > 3
    else:
        assert seen == {(100, 110)}


def test_a_sample_is_a_function_of_seed_epoch_and_index(tmp_path) -> None:
    augment = ObjectAugmentConfig(short_sides=(64, 96, 128), crop_sides=(80,), crop_range=(40, 70))
    make = ObjectTrainTransform(augment, RAW, masks=True)

    def sample(seed: int, epoch: int) -> torch.Tensor:
        data = TransformedObjects(dataset(record(tmp_path)), make, seed)
        data.set_epoch(epoch)
        torch.rand(7)
        return data[0][0]

    assert torch.equal(sample(1, 2), sample(1, 2))
    different = [sample(1, epoch).shape for epoch in range(8)]
    assert len(set(different)) > 1


def test_what_a_cut_leaves_out_is_not_trained(tmp_path) -> None:
    own = record(tmp_path)
    left = follow(own, (79.5, 0, 120, 90), (90, 40), (False, False), masks=True)
    assert len(left.labels) == 0
    part = follow(own, (55, 40, 115, 90), (50, 60), (False, False), masks=True)
    assert part.boxes.tolist() == [[0, 0, 25, 20]]
    assert part.masks is not None
    assert int(part.masks.sum()) == 500


def test_evaluation_resizes_to_the_short_side_and_no_further_than_the_long_one(tmp_path) -> None:
    transform = ObjectEvalTransform(RAW, short_side=45, long_side=1000)
    picture = Image.open(record(tmp_path).path).convert("RGB")
    image, targets = transform(picture, record(tmp_path))
    assert image.shape == (3, 45, 60)
    assert targets.boxes.tolist() == [[15, 10, 40, 30]]
    assert ObjectEvalTransform(RAW, short_side=900, long_side=240).image(picture).shape == (3, 180, 240)
    assert ObjectEvalTransform(RAW, short_side=9, long_side=9, scale=2.0).image(picture).shape == (
        3,
        180,
        240,
    )


def test_batches_are_padded_with_zeros_to_32() -> None:
    batch = pad_batch([torch.ones(3, 33, 20), torch.ones(3, 10, 40)])
    assert batch.shape == (2, 3, 64, 64)
    assert float(batch.sum()) == 3 * (33 * 20 + 10 * 40)
    images, targets, info = TransformedObjects.collate(
        [(torch.ones(3, 33, 20), Targets(torch.zeros(0, 4), torch.zeros(0)), None)] * 2  # type: ignore[list-item]  # not read
    )
    assert images.shape == (2, 3, 64, 32)
    assert (len(targets), len(info)) == (2, 2)


def test_a_damaged_picture_is_named_or_replaced_by_the_next(tmp_path, caplog) -> None:
    good, bad = record(tmp_path), record(tmp_path, "bad.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG not a picture")
    transform = ObjectEvalTransform(RAW, short_side=45, long_side=100)
    with pytest.raises(InputError, match=r"bad\.png"):
        TransformedObjects(dataset(bad, good), transform)[0]
    _, _, info = TransformedObjects(dataset(bad, good), transform, skip_bad=True)[0]
    assert info.number == -1  # stands in, and must not count twice
    assert "bad.png" in caplog.text
    with pytest.raises(InputError, match="not one of the pictures"):
        TransformedObjects(dataset(bad), transform, skip_bad=True)[0]


def test_batches_are_of_one_shape_and_lose_no_picture() -> None:
    groups = [int(i % 3 == 0) for i in range(50)]
    ranks = [GroupedSampler(groups, batch_size=4, seed=3, rank=rank, world=2) for rank in range(2)]
    orders = []
    for epoch in (0, 1):
        for sampler in ranks:
            sampler.set_epoch(epoch)
        orders.append([list(sampler) for sampler in ranks])
        assert sorted(orders[-1][0] + orders[-1][1]) == list(range(50))
        mixed = 0
        for start in range(0, 24, 4):
            batch = [index for own in orders[-1] for index in own[start : start + 4]]
            mixed += len({groups[index] for index in batch}) > 1
        assert mixed <= 1, "only what is left of the groups is mixed"
    assert orders[0] != orders[1]
    ranks[0].set_epoch(0)
    ranks[0].start_at(8)
    assert list(ranks[0]) == orders[0][0][8:]


def test_upright_and_lying_pictures_are_told_apart(tmp_path) -> None:
    wide, high = record(tmp_path, "wide.png", (90, 120)), record(tmp_path, "high.png", (120, 90))
    transform = ObjectEvalTransform(RAW, short_side=45, long_side=100)
    data = TransformedObjects(dataset(wide, high, wide, high), transform, group=2)
    order = list(data.sampler(shuffle=True))
    assert {order[0] % 2, order[1] % 2} in ({0}, {1})
    assert sorted(order) == [0, 1, 2, 3]
    assert list(data.sampler(shuffle=False)) == [0, 1, 2, 3]


def test_the_part_is_cut_from_a_picture_whose_long_side_is_limited() -> None:
    """As published: a very long picture is not enlarged to the crop's short side before the cut."""
    augment = ObjectAugmentConfig(
        short_sides=(50,), long_side=200, crop_probability=1.0, crop_sides=(100,), crop_range=(90, 100)
    )
    transform = ObjectTrainTransform(augment, Preprocess(), masks=False)
    torch.manual_seed(0)
    cut, _ = transform._choose((100, 400))
    # 200 pixels long at most, so 50 high: the whole height is taken, and about half of the width.
    assert (cut[1], cut[3]) == (0, 100)
    assert 180 <= cut[2] - cut[0] <= 200
