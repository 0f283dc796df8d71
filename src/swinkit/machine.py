"""What the machine says about its processor, and about the checkout that this package is in."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, if the package is in one."""


def cpuinfo() -> str:
    """The system's description of its processors, "" where it gives none."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def cpu_facts(field: str) -> list[str]:
    """Values of the fields of `cpuinfo` that start with `field`, one a core."""
    lines = cpuinfo().splitlines()
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith(field) and ":" in line]


def commit() -> str | None:
    """The checkout's commit, "+" behind it when tracked files differ; None outside a checkout of ours."""
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return None  # installed into another project's folder
        changed = _git("status", "--porcelain", "--untracked-files=no")
        return _git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*words: str) -> str:
    command = ["git", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
