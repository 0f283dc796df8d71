"""Cases of outputs of the published code, as the models of this library they are of.

A case is a folder with case.json (source and configuration), weights.safetensors (original keys) and
io.safetensors (inputs, outputs, gradients). Cases come from SWINKIT_GOLDEN and from tests/golden, which a
plain clone has.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from swinkit.backbones.config import BackboneConfig, SwinConfig, SwinMixerConfig
from swinkit.ops.window_attention import IMPLEMENTATIONS, can_run
from swinkit.ops.windows import to_pair
from swinkit.spec import ClassifierConfig, ModelSpec
from swinkit.weights import from_swinkit

ROOT = Path(__file__).resolve().parent
TOLERANCE = 1e-5
"""Largest difference relative to the tensor's largest value, float32."""
IMPLS: tuple[Any, ...] = tuple(
    name
    for name in IMPLEMENTATIONS
    if name != "triton" and can_run(name, torch.zeros(1, 1, 1, 3, 1, 1)) is None
)
"""Implementations of window attention that run on this CPU; "native" needs a compiler."""


@dataclass(frozen=True)
class Case:
    """One folder: `kind` is "classifier", "dense" or "mmdet3"."""

    path: Path
    kind: str
    source: dict[str, Any]

    @property
    def weights(self) -> dict[str, Tensor]:
        return load_file(self.path / "weights.safetensors")

    @property
    def io(self) -> dict[str, Tensor]:
        return load_file(self.path / "io.safetensors")

    def spec(self) -> ModelSpec:
        """The model that case.json describes."""
        config = self.source["config"]
        if self.kind == "classifier":
            backbone = _classifier_backbone(config, self.source["cls"])
            return ModelSpec(config=ClassifierConfig(backbone=backbone, num_classes=config["num_classes"]))
        return ModelSpec(config=ClassifierConfig(backbone=_dense_backbone(config), num_classes=0))


def cases(*kinds: str) -> list[Any]:
    """Parameters for the cases of these kinds; one that skips where there are none."""
    shared = Path(os.environ.get("SWINKIT_GOLDEN") or ROOT.parent.parent / "shared" / "golden")
    found = []
    for label, root in (("slim", ROOT / "golden"), ("golden", shared)):
        for path in sorted(root.glob("*/case.json")):
            source = json.loads(path.read_text())
            kind = _kind(source)
            if kind in kinds:
                found.append(pytest.param(Case(path.parent, kind, source), id=f"{label}-{path.parent.name}"))
    reason = "no such cases here: set SWINKIT_GOLDEN to their folder"
    return found or [pytest.param(None, marks=pytest.mark.skip(reason=reason))]


def assert_close(got: Tensor, wanted: Tensor, what: str) -> None:
    """Compare to TOLERANCE of the largest value."""
    assert got.shape == wanted.shape, f"{what}: shape {tuple(got.shape)}, expected {tuple(wanted.shape)}"
    error = (got - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12)
    assert error <= TOLERANCE, f"{what}: relative error {error:.2e}"


def assert_gradients(model: nn.Module, fmt: str, spec: ModelSpec, io: dict[str, Tensor]) -> None:
    """Compare the gradients a case lists, by their original names."""
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    theirs = from_swinkit({name: grad for name, grad in ours.items() if grad is not None}, fmt, spec)
    for key, wanted in io.items():
        if key.startswith("grad:"):
            assert_close(theirs[key.removeprefix("grad:")].view_as(wanted), wanted, key)


def meta_state(path: Path) -> tuple[dict[str, Tensor], int]:
    """Key file of a full-size checkpoint: tensors without data, and the number of parameters."""
    content = json.loads(path.read_text())
    state = {key: torch.empty(shape, device="meta") for key, shape in content["keys"].items()}
    return state, content["parameters"]


def _kind(source: dict[str, Any]) -> str | None:
    if source.get("cls") in ("SwinTransformer", "SwinMLP") and "models/swin" in source["source"]:
        return "classifier"
    text = source["source"]
    if "backbones/swin_transformer.py" in text:
        return "dense"
    return "mmdet3" if "backbones/swin.py" in text else None


def _classifier_backbone(config: dict[str, Any], cls: str) -> BackboneConfig:
    depths = tuple(config["depths"])
    if cls == "SwinMLP":
        return SwinMixerConfig(
            img_size=to_pair(config["img_size"]),
            patch_size=config["patch_size"],
            in_chans=config["in_chans"],
            embed_dim=config["embed_dim"],
            depths=depths,
            num_heads=tuple(config["num_heads"]),
            window_size=config["window_size"],
            mlp_ratio=config["mlp_ratio"],
            patch_norm=config.get("patch_norm", True),
            absolute_pos_embed=config.get("ape", False),
            out_indices=(len(depths) - 1,),
        )
    return SwinConfig(
        img_size=to_pair(config["img_size"]),
        patch_size=config["patch_size"],
        in_chans=config["in_chans"],
        embed_dim=config["embed_dim"],
        depths=depths,
        num_heads=tuple(config["num_heads"]),
        window_size=config["window_size"],
        mlp_ratio=config["mlp_ratio"],
        qkv_bias=config.get("qkv_bias", True),
        patch_norm=config.get("patch_norm", True),
        position="both" if config.get("ape") else "relative",
        out_indices=(len(depths) - 1,),
    )


def _dense_backbone(config: dict[str, Any]) -> SwinConfig:
    """Official names, or mmdetection 3.x's (embed_dims, use_abs_pos_embed)."""
    depths = tuple(config["depths"])
    absolute = config.get("ape", config.get("use_abs_pos_embed", False))
    return SwinConfig(
        img_size=to_pair(config["pretrain_img_size"]),
        patch_size=config["patch_size"],
        in_chans=config.get("in_chans", config.get("in_channels", 3)),
        embed_dim=config["embed_dim" if "embed_dim" in config else "embed_dims"],
        depths=depths,
        num_heads=tuple(config["num_heads"]),
        window_size=config["window_size"],
        mlp_ratio=config["mlp_ratio"],
        qkv_bias=config.get("qkv_bias", True),
        patch_norm=config.get("patch_norm", True),
        position="both" if absolute else "relative",
        window_policy="pad",
        out_indices=tuple(config.get("out_indices", range(len(depths)))),
    )
