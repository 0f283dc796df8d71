"""Folders of classes, digits, CIFAR: layouts, splits, and one clear sentence for what is wrong."""

import pickle
import shutil
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from swinkit.data import DataConfig, open_dataset
from swinkit.data.cache import CachedDataset, with_cache
from swinkit.data.splitting import stratified_split
from swinkit.errors import InputError


def test_flat_folder_holds_out_a_share_of_every_class(picture_folder):
    root = picture_folder(("ant", "bee", "cat"), count=10)
    config = DataConfig(path=root, val_fraction=0.2)
    train, val = open_dataset(config, "train"), open_dataset(config, "val")
    assert train.classes == val.classes == ("ant", "bee", "cat")
    assert [val.labels.count(label) for label in range(3)] == [2, 2, 2]
    assert len(train) == 24
    assert not set(train.paths) & set(val.paths)
    assert open_dataset(config, "val").paths == val.paths
    assert open_dataset(DataConfig(path=root, val_fraction=0.2, split_seed=1), "val").paths != val.paths
    picture, label = train[0]
    assert picture.mode == "RGB"
    assert train.paths[0].parent.name == train.classes[label]
    assert len(open_dataset(config, "all")) == 30


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_split_folders(picture_folder, name):
    root = picture_folder(root="d/train", count=5).parent
    picture_folder(root=f"d/{name}", count=2)
    picture_folder(root="d/test", count=3)
    config = DataConfig(path=root)
    assert [len(open_dataset(config, split)) for split in ("train", "val", "test")] == [10, 4, 6]


def test_train_and_test_without_val_holds_out_of_train(picture_folder):
    root = picture_folder(root="d/train", count=10).parent
    picture_folder(root="d/test", count=3)
    assert [len(open_dataset(DataConfig(path=root), split)) for split in ("train", "val", "test")] == [
        18,
        2,
        6,
    ]


def test_val_path(picture_folder):
    config = DataConfig(
        path=picture_folder(root="one", count=5), val_path=picture_folder(root="two", count=3)
    )
    assert [len(open_dataset(config, split)) for split in ("train", "val")] == [10, 6]


def test_missing_empty_and_shapeless_folders(tmp_path, make_picture):
    with pytest.raises(InputError, match=r"no data folder was given: use --data"):
        open_dataset(DataConfig(), "train")
    with pytest.raises(InputError, match=r"nowhere does not exist: expected CLASS/picture\.jpg"):
        open_dataset(DataConfig(path=tmp_path / "nowhere"), "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty is empty: expected CLASS"):
        open_dataset(DataConfig(path=tmp_path / "empty"), "train")
    loose = make_picture("loose/a.jpg").parent
    with pytest.raises(InputError, match=r"loose has no class folders: expected CLASS"):
        open_dataset(DataConfig(path=loose), "train")
    with pytest.raises(InputError, match="not a folder"):
        open_dataset(DataConfig(path=loose / "a.jpg"), "train")


def test_class_without_pictures_is_named(picture_folder):
    root = picture_folder(("ant", "bee"))
    (root / "cow").mkdir()
    with pytest.raises(InputError, match=r"no pictures in class 'cow'"):
        open_dataset(DataConfig(path=root), "train")


def test_differing_classes_are_named(picture_folder):
    root = picture_folder(("ant", "bee"), root="d/train").parent
    picture_folder(("bee", "cow"), root="d/val")
    with pytest.raises(InputError, match=r"'ant' only in .*train; class 'cow' only in .*val"):
        open_dataset(DataConfig(path=root), "val")


def test_missing_split_is_named(picture_folder):
    with pytest.raises(InputError, match=r"has no test folder \(folders there: blue, red\)"):
        open_dataset(DataConfig(path=picture_folder()), "test")


def test_truncated_picture_stops_or_is_left_out_once(picture_folder, caplog):
    root = picture_folder(count=4)
    bad = root / "red" / "002.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    dataset = open_dataset(DataConfig(path=root), "all")
    with pytest.raises(InputError, match=r"002\.jpg"):
        [dataset[index] for index in range(len(dataset))]
    dataset = open_dataset(DataConfig(path=root, bad_pictures="skip"), "all")
    assert len([dataset[index] for index in range(len(dataset))]) == 7
    assert bad not in dataset.paths
    assert sum("002.jpg" in record.message for record in caplog.records) == 1


def test_class_of_damaged_pictures_only(picture_folder):
    root = picture_folder(count=1)
    (root / "red" / "000.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="class 'red' has no readable picture"):
        open_dataset(DataConfig(path=root, bad_pictures="skip"), "all")


def test_cache_reads_each_file_once(picture_folder):
    root = picture_folder(count=3, size=(20, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (9, 5), 80).save(root / "red" / "turned.jpg", exif=exif)
    plain = open_dataset(DataConfig(path=root, cache="off"), "all")
    cached = open_dataset(DataConfig(path=root), "all")
    assert isinstance(cached, CachedDataset)
    assert not isinstance(plain, CachedDataset)
    assert cached.paths == plain.paths
    first = [np.asarray(cached[index][0]) for index in range(len(cached))]
    shutil.rmtree(root)
    for index, pixels in enumerate(first):
        picture, label = cached[index]
        assert (np.asarray(picture) == pixels).all()
        assert label == plain.labels[index]
    assert first[-1].shape == (9, 5, 3)
    assert len(pickle.loads(pickle.dumps(cached))) == len(cached)


def test_cache_is_left_out_when_the_pictures_do_not_fit(picture_folder):
    plain = open_dataset(DataConfig(path=picture_folder(count=3, size=(20, 30)), cache="off"), "all")
    assert with_cache(plain, limit=6 * 20 * 30 * 3 - 1) is plain
    assert with_cache(plain, limit=6 * 20 * 30 * 3) is not plain


def test_digits():
    config = DataConfig(kind="digits")
    parts = {split: open_dataset(config, split) for split in ("train", "val", "test", "all")}
    assert len(parts["train"]) + len(parts["val"]) + len(parts["test"]) == len(parts["all"]) == 1797
    assert parts["test"].classes == tuple("0123456789")
    assert min(parts["test"].labels.count(digit) for digit in range(10)) >= 34
    picture, label = parts["train"][0]
    assert (picture.mode, picture.size, label) == ("RGB", (8, 8), parts["train"].labels[0])
    assert np.asarray(parts["all"][0][0]).max() == 239  # 15 of 16 grey levels
    again = open_dataset(config, "train")
    assert all((np.asarray(again[i][0]) == np.asarray(parts["train"][i][0])).all() for i in range(50))
    pixels = {split: {part[i][0].tobytes() for i in range(len(part))} for split, part in parts.items()}
    assert len(pixels["train"] & pixels["test"]) <= 1  # no picture is in both, a rare twin aside


def write_cifar(root, count=40):
    """A CIFAR-10 folder as the archive unpacks it, of random pictures."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        entry = {
            "data": draw.integers(0, 256, (count, 3072), dtype=np.uint8),
            "labels": [index % 10 for index in range(count)],
        }
        (folder / name).write_bytes(pickle.dumps(entry))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))


def test_cifar(tmp_path, monkeypatch):
    write_cifar(tmp_path)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    config = DataConfig(kind="cifar10", path=tmp_path, download=False)
    train, val, test = (open_dataset(config, split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (180, 20, 40)
    assert test.classes == tuple("abcdefghij")
    assert val.labels.count(3) == 2
    assert test[7][0].size == (32, 32)
    assert test[7][1] == 7


def test_cifar_offline_is_one_sentence(tmp_path, monkeypatch):
    def offline(*_args, **_kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(InputError, match=r"CIFAR-10 is not in .* could not be downloaded .*connect"):
        open_dataset(DataConfig(kind="cifar10", path=tmp_path), "train")


def test_imagenet_without_archives(tmp_path):
    with pytest.raises(InputError, match=r"ImageNet is not ready .*ILSVRC2012_devkit"):
        open_dataset(DataConfig(kind="imagenet", path=tmp_path), "val")


def test_stratified_split_keeps_at_least_one():
    kept, held = stratified_split([0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2], 0.1, seed=0)
    assert sorted(kept + held) == list(range(13))
    labels = np.array([0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    assert np.bincount(labels[held], minlength=3).tolist() == [1, 0, 1]
    assert stratified_split([0, 0], 0, seed=0) == ([0, 1], [])


def test_config_refuses_what_makes_no_sense():
    wrongs: dict[str, Any] = {"kind": "folders", "val_fraction": 2, "batch_size": 0, "workers": -2}
    for name, value in wrongs.items():
        with pytest.raises(InputError, match=name):
            DataConfig(**{name: value})
    with pytest.raises(InputError, match="unknown data setting 'pth'"):
        DataConfig.from_json({"pth": "x"})
    assert str(DataConfig.from_json({"kind": "folder", "path": "x"}).path) == "x"
