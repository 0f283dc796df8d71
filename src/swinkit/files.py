"""Writing files so that a crash, a full disk or Ctrl-C never leaves half of one; where files are kept."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swinkit.errors import InputError


def cache_folder() -> Path:
    """Return $SWINKIT_CACHE, or ~/.cache/swinkit.

    Raises:
        InputError: the user has no home folder.
    """
    try:
        return Path(os.environ.get("SWINKIT_CACHE") or Path.home() / ".cache" / "swinkit").expanduser()
    except RuntimeError as error:
        raise InputError(f"there is no folder to keep files in: {error} Set SWINKIT_CACHE to one.") from error


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the name `path`, on failure it is removed.

    Raises:
        InputError: the folder cannot be written to, or the disk is full. What stood at `path` is untouched.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(
            f"could not write {path}: {error.strerror or error}. The file that was there before, if any, is "
            "unchanged; free some space or choose another place."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
