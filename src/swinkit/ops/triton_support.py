"""Whether Triton kernels can run here, and how ours multiply float32. This module imports no Triton."""

import importlib.util
import os

import torch

DTYPES = (torch.float16, torch.bfloat16, torch.float32)


@torch.compiler.assume_constant_result
def missing(device: str) -> str | None:
    """Why a tensor on this kind of device cannot be served, or None. Constant while a process lives."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if device == "cpu":
        return None if os.environ.get("TRITON_INTERPRET") == "1" else "there is no GPU under this tensor"
    if device != "cuda":
        return f"it has no kernels for {device}"
    if torch.version.hip is None and torch.cuda.get_device_capability() < (8, 0):
        return "it needs a GPU of compute capability 8.0 or newer"
    return None


@torch.compiler.assume_constant_result
def tf32() -> bool:
    """Whether float32 may be multiplied as TF32. torch.compile itself compiles again when this is changed."""
    return torch.get_float32_matmul_precision() != "highest"
