"""`swinkit doctor`: what this machine has, what is missing, and whether a small model computes right."""

import os
import platform
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from swinkit.cli.common import CommonArgs, parse, pick_device, print_table, stdout
from swinkit.files import cache_folder

Status = Literal["ok", "missing", "wrong"]

EXTRAS = {
    "timm": ("timm", "comparison with timm's models"),
    "webdataset": ("webdataset", "training from tar shards"),
    "pyarrow": ("parquet", "embeddings as Parquet"),
    "onnxruntime": ("deploy", "export, and a fast engine for CPUs"),
    "openvino": ("deploy", "export, and a fast engine for CPUs"),
}
"""Optional package -> (extra of swinkit that brings it, what it is for)."""

REQUIRED = ("torch", "torchvision", "lightning", "torchmetrics", "safetensors", "huggingface_hub")

TOLERANCE = 1e-5
"""Allowed difference from the reference in float32, relative to the largest output."""


@dataclass(frozen=True, kw_only=True)
class DoctorArgs(CommonArgs):
    """Options of `swinkit doctor`."""


def main(argv: list[str]) -> int:
    """Print the findings; return 0, or 1 when a required part is missing or computes wrongly."""
    args = parse(
        DoctorArgs,
        argv,
        prog="swinkit doctor",
        description="Check this machine: versions, devices, optional parts, a small model.",
        examples=["swinkit doctor", "swinkit doctor --device cuda:0"],
    )
    findings = [*_versions(), *_devices(), _cache(), _kernels(), *_extras()]
    findings.append(_self_check(args.device, args.seed))
    print_table(("", "part", "finding"), findings)
    wrong = [part for status, part, _ in findings if status == "wrong"]
    stdout().print("Everything needed works." if not wrong else f"Not working: {', '.join(wrong)}.")
    return 1 if wrong else 0


Finding = tuple[Status, str, str]


def _versions() -> list[Finding]:
    findings: list[Finding] = [("ok", "python", f"{platform.python_version()} at {sys.executable}")]
    for name in ("swinkit", *REQUIRED):
        found = _version(name)
        advice = "not installed: pip install swinkit brings it"
        findings.append(("ok", name, found) if found else ("wrong", name, advice))
    return findings


def _devices() -> list[Finding]:
    import torch

    threads = f"{torch.get_num_threads()} thread(s) of {os.cpu_count()} processor(s)"
    findings: list[Finding] = [
        ("ok", "cpu", f"{platform.machine()}, {threads}, {torch.backends.cpu.get_cpu_capability()}")
    ]
    for index in range(torch.cuda.device_count()):
        info = torch.cuda.get_device_properties(index)
        major, minor = info.major, info.minor
        precision = "bf16" if major >= 8 else "no bf16 in hardware: train with fp32 or fp16"
        text = f"{info.name}, {info.total_memory / 2**30:.0f} GiB, compute {major}.{minor}, {precision}"
        findings.append(("ok", f"cuda:{index}", text))
    if len(findings) == 1:
        findings.append(
            ("missing", "cuda", "no GPU that torch can use: everything runs on the CPU, training slowly")
        )
    return findings


def _cache() -> Finding:
    """Where downloaded checkpoints and compiled kernels go."""
    folder = cache_folder()
    present = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(present, os.W_OK):
        return ("wrong", "cache", f"{folder} cannot be written to: set SWINKIT_CACHE to a folder that can")
    return (
        "ok",
        "cache",
        f"{folder} ({'set by SWINKIT_CACHE' if os.environ.get('SWINKIT_CACHE') else 'default'})",
    )


def _kernels() -> Finding:
    """Whether our kernels for a CPU are there; compiles them."""
    from swinkit.ops.native.library import library, why_not

    reason = why_not()
    if reason is not None:
        return ("missing", "cpu kernels", f"window attention on a CPU is slower without: {reason}")
    unit = "with" if library().has_matrix_unit() else "without"
    return ("ok", "cpu kernels", f"compiled, {unit} a matrix unit for bfloat16 (AMX)")


def _extras() -> list[Finding]:
    findings: list[Finding] = []
    for name, (extra, purpose) in EXTRAS.items():
        found = _version(name)
        advice = f"for {purpose}: pip install 'swinkit[{extra}]'"
        findings.append(("ok", name, f"{found}, {purpose}") if found else ("missing", name, advice))
    return findings


def _self_check(device_name: str, seed: int) -> Finding:
    """Run a tiny Swin with the implementation used here and with the reference; they have to agree."""
    import torch

    from swinkit.backbones import SwinConfig, build_backbone

    device = pick_device(device_name)
    config = SwinConfig(img_size=(56, 56), embed_dim=32, depths=(2, 2), num_heads=(1, 2), out_indices=(0, 1))
    start = time.perf_counter()
    torch.manual_seed(seed)
    reference = build_backbone(config, attention_impl="reference").eval()
    model = build_backbone(config, attention_impl="auto").eval()
    model.load_state_dict(reference.state_dict())
    images = torch.randn(2, 3, 61, 56)
    with torch.inference_mode():
        expected = reference(images)
        got = model.to(device)(images.to(device))
    errors = [((a - b.cpu()).abs().max() / a.abs().max()).item() for a, b in zip(expected, got, strict=True)]
    seconds = time.perf_counter() - start
    tolerance = TOLERANCE if device.type == "cpu" else 1e-2  # a GPU may use TF32
    text = f"on {device}: {max(errors):.0e} off the reference (allowed {tolerance:.0e}), {seconds:.1f} s"
    return ("ok" if max(errors) <= tolerance else "wrong", "self-check", text)


def _version(name: str) -> str:
    """Installed version, or "" when there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
