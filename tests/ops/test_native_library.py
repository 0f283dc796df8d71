"""Compiling and loading the kernels for a CPU."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from swinkit.ops.native import library

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in library.COMPILERS), reason="needs a C++ compiler"
)


@needs_compiler
def test_a_library_is_compiled_once_and_kept(tmp_path, monkeypatch):
    path = library.build(library.native_options(), tmp_path)
    assert path.parent == tmp_path
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    commands = []
    real = library._run
    monkeypatch.setattr(library, "_run", lambda words: commands.append(words) or real(words))
    assert library.build(library.native_options(), tmp_path) == path
    assert [words[1:] for words in commands] == [["--version"]]


@needs_compiler
def test_another_processor_gets_another_library(tmp_path, monkeypatch):
    def run(words: list[str]) -> str:
        if "-o" in words:
            Path(words[words.index("-o") + 1]).write_bytes(b"a library")
        return "a version"

    monkeypatch.setattr(library, "_run", run)
    first = library.build(library.native_options(), tmp_path)
    assert library.build(library.native_options(), tmp_path) == first
    monkeypatch.setattr(library, "cpu_facts", lambda field: [f"another {field}"])
    second = library.build(library.native_options(), tmp_path)
    assert first != second
    assert first.is_file()
    assert second.is_file()


def test_without_a_compiler_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(library.shutil, "which", lambda name: None)
    with pytest.raises(library.Missing, match=r"no C\+\+ compiler: install one of g\+\+, clang\+\+, c\+\+"):
        library.build((), tmp_path)


@needs_compiler
def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(tmp_path):
    with pytest.raises(library.Missing, match=r"failed: .*error"):
        library.build(("-march=nonsense",), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_broken_file_is_removed_so_that_it_is_compiled_again(tmp_path):
    path = tmp_path / "broken.so"
    path.write_bytes(b"not a library")
    with pytest.raises(library.Missing, match="do not load"):
        library.open_library(path)
    assert not path.exists()


def write(words: list[str]) -> str:
    """A compiler that writes the same again and again."""
    if "-o" in words:
        Path(words[words.index("-o") + 1]).write_bytes(bytes(1000))
    return "a version"


@needs_compiler
def test_a_file_that_was_cut_off_is_compiled_again(tmp_path, monkeypatch):
    """Loading it would end the process."""
    monkeypatch.setattr(library, "_run", write)
    path = library.build((), tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    assert library.build((), tmp_path) == path
    assert path.read_bytes() == whole


@needs_compiler
def test_a_library_without_our_functions_is_a_reason(tmp_path, monkeypatch):
    path = Path(shutil.copy(library.build(library.native_options()), tmp_path))
    monkeypatch.setitem(library._SIGNATURES, "no_such_function", (None, ()))
    with pytest.raises(library.Missing, match=r"do not load: .*no_such_function"):
        library.open_library(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", "do not load"),
        ("printf '\\351 error' >&2; exit 1", "failed: .* error"),
        ("read line || exit 7; exit 0", "failed: exit code 7"),
        ("printf '%s error' $LC_ALL >&2; exit 1", "failed: C error"),
    ],
    ids=["writes nothing", "not utf-8", "reads", "in another language"],
)
@pytest.mark.skipif(os.name != "posix", reason="the compiler is a shell script")
def test_a_compiler_that_is_none_is_a_reason(script, reason, tmp_path, monkeypatch):
    compiler = tmp_path / "g++"
    compiler.write_text(f'#!/bin/sh\n[ "$1" = --version ] && {{ printf "\\351"; exit 0; }}\n{script}\n')
    compiler.chmod(0o755)
    monkeypatch.setattr(library.shutil, "which", lambda name: str(compiler))
    with pytest.raises(library.Missing, match=reason):
        library.open_library(library.build((), tmp_path / "cache"))
    assert not list((tmp_path / "cache").iterdir())


@needs_compiler
def test_a_user_without_a_home_is_a_reason(monkeypatch):
    monkeypatch.setenv("SWINKIT_CACHE", "~no-such-user/cache")
    with pytest.raises(library.Missing, match=r"no folder to keep files in: .* Set SWINKIT_CACHE"):
        library.build(library.native_options())


@needs_compiler
def test_a_cache_that_cannot_be_written_to_is_a_reason(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(library.Missing, match="could not write"):
        library.build(library.native_options(), tmp_path / "file" / "native")


PROGRAM = """
import logging, torch
logging.basicConfig(level=logging.INFO, format="%(message)s")
from swinkit.ops.window_attention import can_run, window_attention
qkv = torch.randn(1, 8, 8, 3, 1, 16)
print(can_run("native", qkv))
print(tuple(window_attention(qkv, None, window=(4, 4)).shape))
"""


def test_a_machine_without_a_compiler_attends_in_chunks(tmp_path: Path):
    environment = {**os.environ, "PATH": str(tmp_path), "SWINKIT_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    assert "no C++ compiler" in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[1] == "(1, 8, 8, 16)"
    assert '"auto" chose "chunked"' in done.stderr


def test_the_kernels_gelu_is_as_close_as_their_readme_says():
    text = (Path(library.__file__).parent / "rows.h").read_text()
    body = text[text.index("inline Vec rough_gelu") :]
    first, *rest = re.findall(r"(?:splat\(|u )([+-]? ?0\.\d+)f", body[body.index("Vec q") :])
    x = torch.linspace(-8, 8, 20001, dtype=torch.float64)
    t = x.clamp(-4, 4)
    u, q = t * t / 8 - 1, torch.full_like(x, float(first))
    for coefficient in rest:
        q = q * u + float(coefficient.replace(" ", ""))
    assert len(rest) == 6
    assert (x * (t * q + 0.5) - F.gelu(x)).abs().max() < 2e-4
