"""Packages that only some engines need: whether they are here, what to install if not, how to open them."""

from functools import cache
from importlib.util import find_spec
from typing import Any

from swinkit.errors import InputError

EXTRA = "pip install 'swinkit[deploy]'"


def missing(package: str) -> str | None:
    """Return what to install when `package` is not there, None when it is."""
    return None if find_spec(package) is not None else f"{package} is not installed: {EXTRA}"


def require(package: str, purpose: str) -> None:
    """Raise InputError, with what to install, unless `package` is there."""
    if missing(package) is not None:
        raise InputError(f"{purpose} needs the {package} package: {EXTRA}.")


@cache
def openvino_core() -> Any:
    """The one `openvino.Core` of this process.

    A core with a compiled network gives its thread another stack for signals, and gives the earlier one back
    when it goes (seen in OpenVINO 2026.4). When one core goes before a later one does, a freed stack stays
    behind, and the next signal that Python handles (Ctrl-C, the end of a child process) kills the process
    without a word. One that stays avoids that.
    """
    import openvino  # noqa: PLC0415 (optional)

    return openvino.Core()
