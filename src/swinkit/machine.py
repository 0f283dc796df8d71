"""What the machine says about its processor."""

from pathlib import Path


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
