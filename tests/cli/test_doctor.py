"""`swinkit doctor` finds what is there, what is missing and what computes wrongly."""

import pytest
import torch

from swinkit import backbones
from swinkit.backbones import SwinConfig
from swinkit.cli import doctor
from swinkit.cli.main import main
from swinkit.ops.window_attention import Implementation


def test_a_healthy_machine(capsys):
    assert main(["doctor", "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    for part in ("python", "torch", "lightning", "cpu", "cache", "timm", "self-check"):
        assert part in text
    assert "Everything needed works." in text


def test_a_missing_extra_comes_with_its_pip_line(capsys, monkeypatch):
    found = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name == "webdataset" else found(name))
    assert main(["doctor", "--device", "cpu"]) == 0
    assert "pip install 'swinkit[webdataset]'" in capsys.readouterr().out


def test_the_compiled_kernels_are_named_or_what_they_lack(capsys, monkeypatch):
    assert main(["doctor", "--device", "cpu"]) == 0
    assert "cpu kernels" in capsys.readouterr().out
    monkeypatch.setattr("swinkit.ops.native.library.why_not", lambda: "no C++ compiler")
    assert main(["doctor", "--device", "cpu"]) == 0
    assert "no C++ compiler" in " ".join(capsys.readouterr().out.split())


def test_a_missing_requirement_is_wrong(capsys, monkeypatch):
    found = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name == "lightning" else found(name))
    assert main(["doctor", "--device", "cpu"]) == 1
    assert "Not working: lightning." in capsys.readouterr().out


def test_a_model_that_computes_wrongly_is_found(capsys, monkeypatch):
    build = backbones.build_backbone

    def spoil(module, inputs, maps: list[torch.Tensor]):
        return [x * 1.001 for x in maps]

    def broken(config: SwinConfig, *, attention_impl: Implementation = "auto"):
        model = build(config, attention_impl=attention_impl)
        if attention_impl == "auto":
            model.register_forward_hook(spoil)
        return model

    monkeypatch.setattr(backbones, "build_backbone", broken)
    assert main(["doctor", "--device", "cpu"]) == 1
    assert "Not working: self-check." in capsys.readouterr().out


def test_the_cache_follows_the_environment(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SWINKIT_CACHE", str(tmp_path / "deep" / "cache"))
    assert main(["doctor", "--device", "cpu"]) == 0
    assert "set by SWINKIT_CACHE" in capsys.readouterr().out


def test_an_unknown_device_is_bad_input(capsys):
    assert main(["doctor", "--device", "tpu"]) == 2
    assert "auto, cpu, cuda or cuda:N" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_gpu_is_listed_and_checked(capsys):
    assert main(["doctor", "--device", "cuda:0"]) == 0
    text = capsys.readouterr().out
    assert "cuda:0" in text
    assert "on cuda:0" in text
