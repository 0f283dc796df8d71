"""Packages that only some engines need: whether they are here, and what to install if not."""

from importlib.util import find_spec

from swinkit.errors import InputError

EXTRA = "pip install 'swinkit[deploy]'"


def missing(package: str) -> str | None:
    """Return what to install when `package` is not there, None when it is."""
    return None if find_spec(package) is not None else f"{package} is not installed: {EXTRA}"


def require(package: str, purpose: str) -> None:
    """Raise InputError, with what to install, unless `package` is there."""
    if missing(package) is not None:
        raise InputError(f"{purpose} needs the {package} package: {EXTRA}.")
