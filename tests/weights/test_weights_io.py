"""Files: what is read, what is refused and with which sentence, and that saving never leaves half a file."""

import json
import os
import pickle
import sys
import types
import warnings
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import swinkit
from swinkit.backbones.config import SwinConfig
from swinkit.classification import Classifier, build_classifier
from swinkit.spec import ClassifierConfig, ModelSpec, to_dict
from swinkit.weights import io as weights_io
from swinkit.weights import load, read_checkpoint, read_state_dict, save

SMALL = SwinConfig(
    img_size=(32, 32), embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4, out_indices=(1,)
)
SPEC = ModelSpec(
    name="mine", config=ClassifierConfig(backbone=SMALL, num_classes=3), class_names=("ant", "bee", "cat")
)


class Evil:
    """Runs a command when unpickled without care."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("echo broken in",))


def test_load_rebuilds_what_save_wrote(tmp_path: Path) -> None:
    model = build_classifier(SPEC).eval()
    save(model, tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert isinstance(again, Classifier)
    assert again.spec == SPEC
    assert not again.training
    image = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(image), model(image))


def test_load_takes_a_run_folder(tmp_path: Path) -> None:
    save(build_classifier(SPEC), tmp_path / "run" / "model.safetensors")
    model = swinkit.load(tmp_path / "run")
    assert isinstance(model, Classifier)
    assert model.spec.class_names == ("ant", "bee", "cat")


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state", None])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod."])
def test_wrappers_and_prefixes_are_taken_off(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    state = {f"{prefix}a": torch.ones(2), f"{prefix}b": torch.zeros(1)}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "x.ckpt")
    read, _ = read_state_dict(tmp_path / "x.ckpt")
    assert read.keys() == {"a", "b"}
    assert torch.equal(read["a"], torch.ones(2))


def test_configuration_beside_the_weights_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Official training checkpoints hold a yacs node and numpy numbers, which need not be installed here."""
    module = types.ModuleType("yacs.config")

    class CfgNode(dict[str, Any]):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.__dict__["frozen"] = True

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    vars(module)["CfgNode"] = CfgNode
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    extras = {"config": CfgNode({"A": CfgNode()}), "best": np.float64(0.5), "args": Namespace(lr=np.zeros(2))}
    torch.save({"model": {"a": torch.ones(1)}, **extras}, tmp_path / "x.pth")
    monkeypatch.undo()
    assert read_state_dict(tmp_path / "x.pth")[0].keys() == {"a"}


def test_pickled_code_is_refused_and_not_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": {"a": torch.ones(1)}, "hook": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(
        swinkit.InputError, match=r"evil\.pth contains pickled code \(posix\.system\).*refused"
    ):
        read_state_dict(tmp_path / "evil.pth")
    assert "broken in" not in capfd.readouterr().out


def _half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _truncated_torch(path: Path) -> None:
    torch.save({"model": {"a": torch.ones(1000)}}, path)
    _half(path)


def _truncated_safetensors(path: Path) -> None:
    save_file({"a": torch.ones(1000)}, path)
    _half(path)


@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        ("cut.pth", _truncated_torch, "damaged or truncated"),
        ("cut.safetensors", _truncated_safetensors, "may be truncated"),
        ("text.pth", lambda path: path.write_text("hello, this is a letter"), "not a checkpoint"),
        ("text.safetensors", lambda path: path.write_text("hello, this is a letter"), "not a readable"),
        ("empty.pth", lambda path: path.touch(), "not a checkpoint"),
        ("empty.safetensors", lambda path: path.touch(), "not a readable"),
        ("list.pth", lambda path: torch.save([1, 2], path), "holds a list"),
        ("words.pth", lambda path: torch.save({"a": "b"}, path), r"no named tensors \(it holds a\)"),
        ("folder", lambda path: path.mkdir(), "folder without weights"),
    ],
)
def test_what_is_no_checkpoint_is_said_in_one_sentence(
    name: str, make: Any, sentence: str, tmp_path: Path
) -> None:
    make(tmp_path / name)
    with pytest.raises(swinkit.InputError, match=sentence) as caught:
        load(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def _random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def _tail_cut_off(path: Path) -> None:
    torch.save({"model": {"a": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:-30])


def _hole_in_the_pickle(path: Path) -> None:
    torch.save({"model": {"a": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes().replace(b"_rebuild_tensor_v2", b"\xff" * 18))


def _cut_of_old_torch(path: Path) -> None:
    torch.save({"model": {"a": torch.ones(1000)}}, path, _use_new_zipfile_serialization=False)
    _half(path)


def _zip_of_letters(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("hello.txt", "hello")


NO_CHECKPOINT = "is not a checkpoint: expected a .safetensors file or one written by torch.save."
DAMAGED = "is damaged or truncated: download or copy it again."


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_random_bytes, NO_CHECKPOINT),
        (lambda path: path.write_text("hello"), NO_CHECKPOINT),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), NO_CHECKPOINT),
        (_zip_of_letters, NO_CHECKPOINT),
        (_truncated_torch, DAMAGED),
        (_tail_cut_off, DAMAGED),
        (_hole_in_the_pickle, DAMAGED),
        (_cut_of_old_torch, DAMAGED),
    ],
)
def test_nothing_of_torchs_own_words_is_repeated(make: Any, sentence: str, tmp_path: Path) -> None:
    make(tmp_path / "x.pth")
    with pytest.raises(swinkit.InputError) as caught:
        read_state_dict(tmp_path / "x.pth")
    assert str(caught.value) == f"{tmp_path / 'x.pth'} {sentence}"


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_raw_pickle_of_code_is_refused_without_warnings(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"a": Evil()}, protocol=protocol))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with pytest.raises(swinkit.InputError, match=r"contains pickled code \(posix\.system\)"):
            read_state_dict(tmp_path / "evil.pth")
    assert heard == []


def test_other_warnings_of_torch_are_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(*_: object, **__: object) -> dict[str, torch.Tensor]:
        warnings.warn("something else", UserWarning, stacklevel=2)
        return {"a": torch.ones(1)}

    (tmp_path / "x.pth").touch()
    monkeypatch.setattr(torch, "load", warn)
    with pytest.warns(UserWarning, match="something else"):
        read_state_dict(tmp_path / "x.pth")


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_a_file_that_may_not_be_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / name).touch()
    monkeypatch.setattr(Path, "open", refuse)  # tests may run as root, whom no permissions stop
    with pytest.raises(swinkit.InputError, match=r"its permissions forbid it") as caught:
        read_state_dict(tmp_path / name)
    assert "download" not in str(caught.value)


def test_a_missing_file_or_misspelt_name(tmp_path: Path) -> None:
    with pytest.raises(swinkit.InputError, match="no file"):
        read_state_dict(tmp_path / "nowhere.pth")
    with pytest.raises(swinkit.InputError, match="did you mean swin_tiny_patch4_window7_224"):
        load("swin_tiny_patch4_window7_225")


def test_weights_of_something_else(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.ones(1)}, tmp_path / "resnet.safetensors")
    with pytest.raises(
        swinkit.InputError, match=r"resnet.safetensors: these are not weights of a Swin.*conv1"
    ):
        load(tmp_path / "resnet.safetensors")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    save(build_classifier(SPEC), path)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights_io, "save_file", full)
    with pytest.raises(swinkit.InputError, match="No space left"):
        save(build_classifier(SPEC), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_description(tmp_path: Path) -> None:
    save_file(build_classifier(SPEC).state_dict(), tmp_path / "m.safetensors", {"swinkit": "{oops"})
    with pytest.raises(swinkit.InputError, match="description in the file's metadata is damaged"):
        load(tmp_path / "m.safetensors")


def _description(**changes: Any) -> str:
    return json.dumps(to_dict(SPEC) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "5",
        "null",
        "[" * 100_000,
        json.dumps(to_dict(SMALL)),
        _description(kind=[1]),
        _description(class_names=5),
        _description(class_names="abc"),
        _description(class_names=[1, 2, 3]),
        _description(name=None),
        _description(name={"a": 1}),
        _description(config=to_dict(SPEC.config) | {"num_classes": "3"}),
        _description(config=to_dict(SPEC.config) | {"backbone": 1}),
        _description(config=to_dict(SPEC.config) | {"backbone": to_dict(SMALL) | {"depths": 2}}),
        _description(config=to_dict(SPEC.config) | {"backbone": to_dict(SMALL) | {"window_size": "4"}}),
        _description(config=to_dict(SPEC.config) | {"backbone": to_dict(SMALL) | {"shift": 1}}),
        _description(preprocess=to_dict(SPEC.preprocess) | {"size": [32]}),
    ],
)
def test_a_description_of_wrong_types(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(build_classifier(SPEC).state_dict(), path, {"swinkit": text})
    with pytest.raises(swinkit.InputError, match="description in the file's metadata is damaged"):
        read_checkpoint(path)


def test_save_needs_a_specification(tmp_path: Path) -> None:
    with pytest.raises(swinkit.InputError, match="has no `spec`"):
        save(torch.nn.Linear(1, 1), tmp_path / "m.safetensors")
