"""Stuff maps beside pictures with objects: found, checked, and moved with the picture."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from swinkit.data.object_config import ObjectAugmentConfig
from swinkit.data.object_transforms import ObjectTrainTransform
from swinkit.data.objects import ObjectDataset, Problems, make_record
from swinkit.data.stuff import find_stuff, open_stuff, with_stuff
from swinkit.errors import InputError
from swinkit.spec import Preprocess


@pytest.fixture
def dataset(tmp_path) -> ObjectDataset:
    """Two pictures of COCO's layout, the left half sky (3), the right half unknown."""
    records = []
    for name in ("a", "b"):
        for folder in ("train2017", "stuffthingmaps/train2017"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((40, 60, 3), dtype=np.uint8)
        pixels[:, :30] = 255
        Image.fromarray(pixels).save(tmp_path / "train2017" / f"{name}.jpg", quality=100)
        stuff = np.full((40, 60), 255, dtype=np.uint8)
        stuff[:, :30] = 3
        Image.fromarray(stuff).save(tmp_path / "stuffthingmaps" / "train2017" / f"{name}.png")
        row = {"box": (5, 5, 20, 20), "label": 0, "area": 225}
        records.append(make_record(tmp_path / "train2017" / f"{name}.jpg", name, (40, 60), [row]))
    return ObjectDataset(("cat",), (1,), tuple(records))


def test_maps_are_found_in_the_published_layout(dataset: ObjectDataset, tmp_path) -> None:
    folder = find_stuff(dataset, tmp_path)
    assert folder is not None
    assert folder == tmp_path / "stuffthingmaps" / "train2017"
    found = with_stuff(dataset, folder, Problems("error"))
    assert found.has_stuff
    assert not dataset.has_stuff
    (folder / "b.png").unlink()
    with pytest.raises(InputError, match=r"b\.jpg has no stuff map .*b\.png"):
        with_stuff(dataset, folder, Problems("error"))
    assert len(with_stuff(dataset, folder, Problems("skip"))) == 1
    with pytest.raises(InputError, match="there is no folder"):
        with_stuff(dataset, tmp_path / "nowhere", Problems("error"))


def test_a_map_goes_where_the_picture_goes(dataset: ObjectDataset, tmp_path) -> None:
    record = replace(dataset.records[0], stuff=tmp_path / "stuffthingmaps" / "train2017" / "a.png")
    raw = Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    for augment in (
        ObjectAugmentConfig(short_sides=(64, 96), crop_sides=(50,), crop_range=(30, 45), vflip=0.5),
        ObjectAugmentConfig(ratio=(0.5, 2.0), size=(64, 70)),
    ):
        transform = ObjectTrainTransform(augment, raw, masks=False, stuff_classes=4)
        for seed in range(8):
            torch.manual_seed(seed)
            image, targets = transform(Image.open(record.path).convert("RGB"), record)
            assert targets.stuff is not None
            assert targets.stuff.shape == image.shape[1:]
            assert set(targets.stuff.unique().tolist()) <= {3, 255}
            assert float(((image[0] > 0.5) != (targets.stuff == 3)).float().mean()) < 0.06
            assert targets.to("cpu").stuff is not None


def test_wrong_maps_are_named(dataset: ObjectDataset, tmp_path) -> None:
    path = tmp_path / "stuffthingmaps" / "train2017" / "a.png"
    record = replace(dataset.records[0], stuff=path)
    with pytest.raises(InputError, match=r"a\.png has the class 3, but there are 3"):
        open_stuff(record, 3)
    with pytest.raises(InputError, match=r"a\.png is 60 x 40 pixels, its picture 40 x 60"):
        open_stuff(replace(record, size=(60, 40)), 4)
    Image.new("RGB", (60, 40)).save(path)
    with pytest.raises(InputError, match="colour picture"):
        open_stuff(record, 4)
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a\.png is damaged"):
        open_stuff(record, 4)
