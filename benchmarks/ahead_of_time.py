"""What the scripts that compile kernels ahead of time share: chips, and how to read machine code."""

import argparse
import hashlib
import json
import re
import subprocess
import tempfile
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import triton
from rich.console import Console
from rich.table import Table
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler import compile as compile_kernel

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
SHARED_LIMIT = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024, "gfx942": 64 * 1024}
"""Bytes of shared memory one program may take, as the makers document them."""

TENSOR_INSTRUCTION = r"\bHMMA|\bHGMMA|\bUTC\w*MMA|v_mfma"

Row = dict[str, Any]

FOUND = ("registers", "spills", "shared", "tensor_instructions", "loads_of_16_bytes")
"""What of `inspect` the scripts show."""


def source(
    kernel: Any, constants: dict[str, Any], types: dict[str, str], round_sizes: tuple[str, ...] = ()
) -> ASTSource:
    """A kernel as Triton takes it. An argument in neither table is a 32-bit integer; pointers are aligned,
    and `round_sizes` are multiples of 16.
    """
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    aligned: dict[Any, Any] = {
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(names)
        if signature[name].startswith("*") or (name in round_sizes and name not in constants)
    }
    return ASTSource(kernel, signature, {n: v for n, v in constants.items() if n in names}, aligned)


def build(code: ASTSource, target: str, options: dict[str, Any]) -> Any:
    """Compile; needs no device."""
    return compile_kernel(code, target=TARGETS[target], options=options)


def digest(code: ASTSource, target: str, options: dict[str, Any]) -> str:
    """Of all that machine code depends on: the kernel and what it calls, constants, options, Triton."""
    known = (code.hash(), target, options, version("triton"))
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def inspect(binary: Any, target: str, *, exact: bool) -> Row:
    """Read machine code; "problems" is empty when all that is asked holds. `exact` float32 has no tensor
    instruction on NVIDIA's chips.
    """
    amd = TARGETS[target].backend == "hip"
    row = _read_amd(binary) if amd else _read_nvidia(binary)
    row["shared"] = binary.metadata.shared
    problems = []
    if row["spills"]:
        problems.append(f"{row['spills']} spills")
    if row["shared"] > SHARED_LIMIT[target]:
        problems.append(f"{row['shared']} bytes of shared memory")
    if not row["tensor_instructions"] and not (exact and not amd):
        problems.append("no tensor instruction")
    if not row["loads_of_16_bytes"]:
        problems.append("no 16-byte load")
    return row | {"problems": problems}


def _read_nvidia(binary: Any) -> Row:
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        usage = _output([str(tools / "cuobjdump"), "--dump-resource-usage", file.name])
        code = _output([str(tools / "nvdisasm"), "-c", file.name])
    used = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    return {
        "registers": used["REG"],
        "spills": used["LOCAL"] + len(re.findall(r"\b(?:LDL|STL)\b", code)),
        "stack": used["STACK"],
        "tensor_instructions": len(re.findall(TENSOR_INSTRUCTION, code)),
        "loads_of_16_bytes": len(re.findall(r"\bLDG(?:STS)?\S*\.128", code)),
        "stores_of_16_bytes": len(re.findall(r"\bSTG\S*\.128", code)),
    }


def _read_amd(binary: Any) -> Row:
    code = binary.asm["amdgcn"]
    used = {name: int(value) for name, value in re.findall(r"\.(\w+):\s+(\d+)", code)}
    return {
        "registers": used["vgpr_count"],
        "spills": used["vgpr_spill_count"] + used["private_segment_fixed_size"] // 4,
        "scalars_in_vector_lanes": used["sgpr_spill_count"],  # moved to other registers, not to memory
        "tensor_instructions": len(re.findall(TENSOR_INSTRUCTION, code)),
        "loads_of_16_bytes": len(re.findall(r"(?:global|buffer)_load_dwordx4", code)),
        "stores_of_16_bytes": len(re.findall(r"(?:global|buffer)_store_dwordx4", code)),
    }


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def arguments(description: str | None, choices: Collection[str], kind: str) -> argparse.Namespace:
    """The options of a script; `choices` are what --only takes, each a `kind`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=choices, help=f"one {kind}")
    parser.add_argument("--target", choices=TARGETS, help="one chip")
    parser.add_argument("--cases", type=int, default=None, help="the first so many only")
    parser.add_argument("--resume", action="store_true", help="go on where the results file ends")
    return parser.parse_args()


def rows_of(path: Path, fields: Sequence[str] = ()) -> list[Row]:
    """Rows of an earlier run that have these fields and say what they are made of. None without a file."""
    try:
        rows = json.loads(path.read_text())["results"]["rows"]
        return [row for row in rows if row.keys() >= {"digest", *fields}]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def show(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Print some columns of a table."""
    table = Table(*columns)
    for row in rows:
        values = (row[name] for name in columns)
        table.add_row(*(f"{value:.2f}" if isinstance(value, float) else str(value) for value in values))
    Console(width=220).print(table)
