"""Every published classification checkpoint: what it is, where it lies, what it scored.

Names are timm's with their tag where timm has one. A name without tag means the tag timm prefers. Scores are
ImageNet-1K top-1 in percent as published by who made the file (the official model hub, torchvision's
documentation); None where we found none published. Hash prefixes are given where the publisher's file name
carries one, never otherwise; see `swinkit.weights.download` for how the others are checked.
"""

import difflib
from dataclasses import dataclass
from typing import Literal

from swinkit.backbones import VARIANTS
from swinkit.backbones.config import SwinConfig
from swinkit.errors import InputError
from swinkit.spec import Preprocess, evaluation_crop

_GITHUB = "https://github.com/SwinTransformer/storage/releases/download"
_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights"
_TORCHVISION = "https://download.pytorch.org/models"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place a checkpoint can be had from.

    Attributes:
        format: how its keys are named, as `swinkit.weights.detect_format` says.
        url: address of the file; "" for a file on the Hugging Face hub.
        repo: repository on the Hugging Face hub; "" otherwise.
        files: names of the file; on the hub the first that exists.
        sha256: first hexadecimal digits of the file's SHA-256, where published.
    """

    format: Literal["official", "official_mlp", "timm", "torchvision", "huggingface"]
    url: str = ""
    repo: str = ""
    files: tuple[str, ...]
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A published checkpoint.

    Attributes:
        name: what `swinkit.load` and `swinkit models` call it.
        variant: key of `VARIANTS` it is a model of.
        num_classes: 1000 or 21841.
        top1: published ImageNet-1K top-1 in percent, or None.
        preprocess: how pictures were prepared for that score.
        sources: where it can be had from, the preferred first.
    """

    name: str
    variant: str
    num_classes: int = 1000
    top1: float | None = None
    preprocess: Preprocess
    sources: tuple[Source, ...]


def find(name: str) -> Entry | None:
    """Return the entry of a name, with or without tag, or of a published file's name, or None."""
    if name in CATALOG:
        return CATALOG[name]
    if name in DEFAULT_TAGS:
        return CATALOG[f"{name}.{DEFAULT_TAGS[name]}"]
    for entry in CATALOG.values():
        if any(name in source.files for source in entry.sources if not source.repo):
            return entry
    return None


def get(name: str) -> Entry:
    """Return the entry of a name.

    Raises:
        InputError: no such entry; the message suggests close ones.
    """
    entry = find(name)
    if entry is None:
        close = difflib.get_close_matches(name, [*DEFAULT_TAGS, *CATALOG], n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(close)}?" if close else "`swinkit models` lists them."
        raise InputError(f"no published checkpoint is called {name!r}: {hint}")
    return entry


def _preprocess(variant: str) -> Preprocess:
    """As the official evaluation (A2.1)."""
    size = VARIANTS[variant].img_size
    return Preprocess(size=size, crop_ratio=evaluation_crop(size))


def _official(
    variant: str, release: str, file: str, top1: float | None, *, tag: str = "", classes: int = 1000
) -> Entry:
    """An official release file; with a `tag`, timm's hub has the same weights."""
    name = f"{variant}.{tag}" if tag else variant
    attention = isinstance(VARIANTS[variant], SwinConfig)
    here = Source(
        format="official" if attention else "official_mlp", url=f"{_GITHUB}/{release}/{file}", files=(file,)
    )
    hub = Source(format="timm", repo=f"timm/{name}", files=("model.safetensors", "pytorch_model.bin"))
    return Entry(
        name=name,
        variant=variant,
        num_classes=classes,
        top1=top1,
        preprocess=_preprocess(variant),
        sources=(here, hub) if tag else (here,),
    )


def _s3(size: str, file: str) -> Entry:
    variant = f"swin_s3_{size}_224"
    here = Source(
        format="official",
        url=f"{_TIMM}/{file}",
        files=(file,),
        sha256=file.removesuffix(".pth").split("-")[-1],
    )
    hub = Source(
        format="timm", repo=f"timm/{variant}.ms_in1k", files=("model.safetensors", "pytorch_model.bin")
    )
    return Entry(
        name=f"{variant}.ms_in1k",
        variant=variant,
        preprocess=_preprocess(variant),
        sources=(hub, here),
    )


def _torchvision(size: str, file: str, resize: int, top1: float) -> Entry:
    variant = f"swin_{size}_patch4_window7_224"
    source = Source(
        format="torchvision",
        url=f"{_TORCHVISION}/{file}",
        files=(file,),
        sha256=file.removesuffix(".pth").split("-")[-1],
    )
    return Entry(
        name=f"{variant}.tv_in1k",
        variant=variant,
        top1=top1,
        preprocess=Preprocess(crop_ratio=224 / resize),
        sources=(source,),
    )


def _microsoft(variant: str, suffix: str = "", top1: float | None = None) -> Entry:
    """A repository of microsoft on the hub; its processor resizes the whole picture."""
    repo = f"microsoft/{variant.replace('_', '-')}{suffix}"
    return Entry(
        name=repo,
        variant=variant,
        num_classes=21841 if suffix else 1000,
        top1=top1,
        preprocess=Preprocess(size=VARIANTS[variant].img_size, crop_ratio=None),
        sources=(Source(format="huggingface", repo=repo, files=("model.safetensors", "pytorch_model.bin")),),
    )


_T, _S = "swin_tiny_patch4_window7_224", "swin_small_patch4_window7_224"
_B, _B384 = "swin_base_patch4_window7_224", "swin_base_patch4_window12_384"
_L, _L384 = "swin_large_patch4_window7_224", "swin_large_patch4_window12_384"
_22K, _FT = "ms_in22k", "ms_in22k_ft_in1k"

_ENTRIES = (
    _official(_T, "v1.0.0", f"{_T}.pth", 81.2, tag="ms_in1k"),
    _official(_S, "v1.0.0", f"{_S}.pth", 83.2, tag="ms_in1k"),
    _official(_B, "v1.0.0", f"{_B}.pth", 83.5, tag="ms_in1k"),
    _official(_B384, "v1.0.0", f"{_B384}.pth", 84.5, tag="ms_in1k"),
    _official(_T, "v1.0.8", f"{_T}_22kto1k_finetune.pth", 80.9, tag=_FT),
    _official(_S, "v1.0.8", f"{_S}_22kto1k_finetune.pth", 83.2, tag=_FT),
    _official(_B, "v1.0.0", f"{_B}_22kto1k.pth", 85.2, tag=_FT),
    _official(_B384, "v1.0.0", f"{_B384}_22kto1k.pth", 86.4, tag=_FT),
    _official(_L, "v1.0.0", f"{_L}_22kto1k.pth", 86.3, tag=_FT),
    _official(_L384, "v1.0.0", f"{_L384}_22kto1k.pth", 87.3, tag=_FT),
    _official(_T, "v1.0.8", f"{_T}_22k.pth", None, tag=_22K, classes=21841),
    _official(_S, "v1.0.8", f"{_S}_22k.pth", None, tag=_22K, classes=21841),
    _official(_B, "v1.0.0", f"{_B}_22k.pth", None, tag=_22K, classes=21841),
    _official(_B384, "v1.0.0", f"{_B384}_22k.pth", None, tag=_22K, classes=21841),
    _official(_L, "v1.0.0", f"{_L}_22k.pth", None, tag=_22K, classes=21841),
    _official(_L384, "v1.0.0", f"{_L384}_22k.pth", None, tag=_22K, classes=21841),
    _official("swin_tiny_c24_patch4_window8_256", "v1.0.5", "swin_tiny_c24_patch4_window8_256.pth", 81.6),
    _official(
        "swin_mlp_tiny_c24_patch4_window8_256", "v1.0.5", "swin_mlp_tiny_c24_patch4_window8_256.pth", 79.4
    ),
    _official(
        "swin_mlp_tiny_c12_patch4_window8_256", "v1.0.5", "swin_mlp_tiny_c12_patch4_window8_256.pth", 79.6
    ),
    _official(
        "swin_mlp_tiny_c6_patch4_window8_256", "v1.0.5", "swin_mlp_tiny_c6_patch4_window8_256.pth", 79.7
    ),
    _official("swin_mlp_base_patch4_window7_224", "v1.0.5", "swin_mlp_base_patch4_window7_224.pth", 81.3),
    _s3("tiny", "s3_t-1d53f6a8.pth"),
    _s3("small", "s3_s-3bb4c69d.pth"),
    _s3("base", "s3_b-a1e95db4.pth"),
    _torchvision("tiny", "swin_t-704ceda3.pth", 232, 81.474),
    _torchvision("small", "swin_s-5e29d889.pth", 246, 83.196),
    _torchvision("base", "swin_b-68c6b09e.pth", 238, 83.582),
    _microsoft(_T),
    _microsoft(_S),
    _microsoft(_B),
    _microsoft(_B384),
    _microsoft(_L),
    _microsoft(_L384),
    _microsoft(_B, "-in22k"),
    _microsoft(_B384, "-in22k"),
    _microsoft(_L, "-in22k"),
    _microsoft(_L384, "-in22k"),
)

CATALOG: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""Name -> published checkpoint."""

DEFAULT_TAGS: dict[str, str] = {
    _T: "ms_in1k",
    _S: _FT,
    _B: _FT,
    _B384: _FT,
    _L: _FT,
    _L384: _FT,
    "swin_s3_tiny_224": "ms_in1k",
    "swin_s3_small_224": "ms_in1k",
    "swin_s3_base_224": "ms_in1k",
}
"""Variant -> the tag that its bare name means, as in timm."""
