"""Compiling and loading the kernels: once a machine, kept in the cache folder.

There is nothing to compile at install. The sources come with the package; the first call that wants a kernel
runs the compiler (a few seconds) and the library is kept under a name made of the sources, the compiler, the
options and the processor. Without a compiler everything else works, and `why_not` says what is missing.
"""

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from swinkit.errors import InputError
from swinkit.files import atomic_path, cache_folder
from swinkit.machine import cpu_facts
from swinkit.ops.native import structs

logger = logging.getLogger(__name__)

COMPILERS = ("g++", "clang++", "c++")
SECONDS = 120
"""After which the compiler is given up."""

WHOLE = b"swinkit: this library is whole"
"""What a library's file ends with: one that was cut off would end the process when it is loaded."""

_HERE = Path(__file__).parent

_POINTER, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_SHAPE = ctypes.POINTER(structs.Shape)
_SIGNATURES: dict[str, tuple[type | None, Sequence[type]]] = {
    "has_matrix_unit": (_INT, ()),
    "attention_columns": (_INT, (_INT, _INT)),
    "expand_bias": (None, (_POINTER, _INT, _INT, _INT, _FLOAT, _FLOAT, _INT, _POINTER)),
    "attention": (None, (_SHAPE, *[_POINTER] * 5, _FLOAT)),
    "attention_backward": (None, (_SHAPE, *[_POINTER] * 8, _FLOAT)),
    "block": (None, (ctypes.POINTER(structs.Block), _FLOAT, _FLOAT, _FLOAT)),
    "merging": (None, (ctypes.POINTER(structs.Merging), _FLOAT)),
    "embedding": (None, (ctypes.POINTER(structs.Embedding), _FLOAT)),
}


class Missing(Exception):
    """The library cannot be had here; the message says why."""


def why_not() -> str | None:
    """Return why the kernels cannot be had here, None when they can. The first call may compile."""
    return _load()[1]


def library() -> ctypes.CDLL:
    """Return the loaded library.

    Raises:
        RuntimeError: there is none; ask `why_not` first.
    """
    found, reason = _load()
    if found is None:
        raise RuntimeError(f"the CPU kernels are not available: {reason}")
    return found


@functools.cache
def _load() -> tuple[ctypes.CDLL | None, str | None]:
    """The library, or the reason why there is none; asked once a process."""
    try:
        return open_library(build(native_options())), None
    except Missing as error:
        logger.info("no compiled CPU kernels: %s", error)
        return None, str(error)


def native_options() -> tuple[str, ...]:
    """Compiler options for this very processor."""
    arm = platform.machine().lower() in ("aarch64", "arm64")
    return ("-mcpu=native",) if arm else ("-march=native",)


def build(options: Sequence[str], folder: Path | None = None) -> Path:
    """Return the library's file for a processor, compiled if it is not there yet.

    Args:
        options: compiler options that name the processor.
        folder: where libraries are kept; `cache_folder()` / "native" when None.

    Raises:
        Missing: no compiler, it failed, or the folder cannot be written to.
    """
    compiler = next((path for path in map(shutil.which, COMPILERS) if path), None)
    if compiler is None:
        raise Missing(f"no C++ compiler: install one of {', '.join(COMPILERS)}")
    try:
        version = _run([compiler, "--version"])
    except (OSError, subprocess.SubprocessError) as error:
        raise Missing(f"{compiler} does not run: {error}") from error
    sources = sorted(_HERE.glob("*.cpp"))
    facts = [version, *options, platform.machine(), *cpu_facts("model name")[:1], *cpu_facts("flags")[:1]]
    facts += [path.read_text(encoding="utf-8") for path in sorted([*sources, *_HERE.glob("*.h")])]
    name = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32]
    command = [compiler, "-O3", *options, "-std=c++17", "-fopenmp", "-fPIC", "-shared", "-w"]
    try:
        path = (folder or cache_folder() / "native") / f"{name}.so"
        if path.is_file() and path.read_bytes().endswith(WHOLE):
            return path
        with atomic_path(path) as temporary:
            _run([*command, *map(str, sources), "-o", str(temporary)])
            with temporary.open("ab") as file:
                file.write(WHOLE)
    except subprocess.CalledProcessError as error:
        lines = [line for line in (error.stderr or "").splitlines() if "error" in line]
        raise Missing(
            f"{compiler} failed: {' '.join(lines[:1]) or f'exit code {error.returncode}'}"
        ) from error
    except (OSError, subprocess.SubprocessError, InputError) as error:
        raise Missing(str(error)) from error
    logger.info("compiled the CPU kernels")
    return path


def open_library(path: Path) -> ctypes.CDLL:
    """Load a library; a file that does not load is removed, so that the next process compiles it again.

    Raises:
        Missing: it does not load, or lacks a function.
    """
    try:
        found = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(found, name)
            function.restype, function.argtypes = result, list(arguments)
    except (OSError, AttributeError) as error:
        with contextlib.suppress(OSError):  # the folder may be another user's
            path.unlink()
        raise Missing(f"the compiled kernels do not load: {error}") from error
    return found


def _run(command: Sequence[str]) -> str:
    """What a command prints, in English; it is given nothing to read."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
        check=True,
        timeout=SECONDS,
    )
    return done.stdout
