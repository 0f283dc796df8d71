"""Getting published files: with progress, resumed after a break, checked, and kept in a cache.

A file is checked against the hash prefix its publisher gives. Files on the Hugging Face hub are checked
against the hub's own SHA-256. For the rest the SHA-256 of the first download is written beside the file
(NAME.sha256) and compared at every later use, so that a damaged or exchanged file is noticed.
"""

import contextlib
import hashlib
import http.client
import logging
import os
import re
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from swinkit.errors import InputError
from swinkit.files import atomic_path, cache_folder
from swinkit.weights.catalog import Entry, Source, get

CHUNK = 1 << 20
TIMEOUT = 30.0
"""Seconds without an answer before a connection counts as broken."""
ATTEMPTS = 3
"""Connections tried in one call, each going on where the one before broke off."""


class DownloadError(InputError):
    """A published file is not here and could not be fetched."""


def fetch(name: str, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the local file of a published checkpoint, downloading it once.

    Args:
        name: a name of `swinkit.weights.catalog.CATALOG`, with or without tag, or a published file name.
        cache_dir: where files are kept; `cache_folder()` when None.

    Raises:
        InputError: unknown name, no connection (a `DownloadError`, which says what to do), or a file that is
            not what was published.
    """
    entry = get(name)
    folder = Path(cache_dir) if cache_dir is not None else cache_folder()
    cached = cached_file(entry, folder)
    if cached is not None:
        source, path = cached
        _verify(path, source)
        return path
    failures: list[str] = []
    for source in entry.sources:
        try:
            return (
                _from_hub(source, folder)
                if source.repo
                else download(source.url, folder / source.files[0], source)
            )
        except ConnectionError as error:
            failures.append(f"{source.repo or source.url}: {error}")
    raise DownloadError(
        f"could not download {entry.name} ({'; '.join(failures)}): go online, or put the file at "
        f"{folder / entry.sources[0].files[0]}, or pass the path of a copy instead of the name."
    )


def cached_file(entry: Entry, cache_dir: str | os.PathLike[str] | None = None) -> tuple[Source, Path] | None:
    """Return where an entry's file already lies, if anywhere. Touches no network."""
    folder = Path(cache_dir) if cache_dir is not None else cache_folder()
    for source in entry.sources:
        if not source.repo and (folder / source.files[0]).is_file():
            return source, folder / source.files[0]
        for file in source.files if source.repo else ():
            path = _cached_on_hub(source.repo, file, folder)
            if path is not None:
                return source, path
    return None


def download(url: str, path: Path, source: Source | None = None) -> Path:
    """Download an http(s) or file address to `path`, through `path`.part, going on with what is there.

    Raises:
        ConnectionError: the address could not be reached, or kept breaking off; the .part file stays for next
            time.
        InputError: the file is not what was published, or cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(ATTEMPTS):
            try:
                _receive(url, part)
                break
            except (http.client.HTTPException, ConnectionError, TimeoutError, urllib.error.URLError) as error:
                if attempt == ATTEMPTS - 1 or isinstance(error, urllib.error.HTTPError):
                    raise ConnectionError(_reason(error)) from error
        _verify(part, source, remembered=path)
        os.replace(part, path)
    except ConnectionError:
        raise
    except OSError as error:
        raise InputError(
            f"could not write {path}: {error.strerror or error}; set SWINKIT_CACHE elsewhere."
        ) from error
    if source is None or source.sha256 is None:
        with atomic_path(_note(path)) as temporary:
            temporary.write_text(sha256(path) + "\n")
    return path


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _receive(url: str, part: Path) -> None:
    """Append what is missing of `url` to `part`, or start over where the server does not resume."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "swinkit"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have and _total(error.headers) == have:  # nothing is missing
            return
        if error.code == 416 and have:
            part.unlink()
            return _receive(url, part)
        raise
    with answer:
        resumed = have > 0 and getattr(answer, "status", None) == 206
        length = answer.headers.get("Content-Length")
        done = have if resumed else 0
        total = done + int(length) if length else None
        with part.open("ab" if resumed else "wb") as file, _progress() as bar:
            task = bar.add_task(part.name.removesuffix(".part"), total=total, completed=done)
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                bar.advance(task, len(chunk))
                done += len(chunk)
    if total is not None and done < total:
        raise ConnectionError(f"broke off after {done:,} of {total:,} bytes")


def _verify(path: Path, source: Source | None, remembered: Path | None = None) -> None:
    """Raise InputError, and remove the file, when it is not what was published or downloaded first."""
    expected = source.sha256 if source is not None else None
    note = _note(remembered or path)
    if expected is None and source is not None and source.repo:
        blob = path.resolve().name
        expected = blob if re.fullmatch(r"[0-9a-f]{64}", blob) else None
    if expected is None and note.is_file():
        expected = note.read_text().strip()
    if expected is None:
        return
    got = sha256(path)
    if not got.startswith(expected):
        path.unlink()
        raise InputError(
            f"{path} is not the published file: expected SHA-256 {expected}..., got "
            f"{got[: max(8, len(expected))]}; it was removed, run the command again to download it anew."
        )


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _total(headers: Message) -> int | None:
    found = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    reason = getattr(error, "reason", None)
    return str(reason or error) or type(error).__name__


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )


def _from_hub(source: Source, folder: Path) -> Path:
    """Download from the Hugging Face hub into its own cache layout below `folder`."""
    _require_host(constants.ENDPOINT)
    reason = "no weights file in the repository"
    for file in source.files:
        try:
            with _only_errors("huggingface_hub"):
                path = Path(hf_hub_download(source.repo, file, cache_dir=folder / "hub"))
            _verify(path, source)
            return path
        except LocalEntryNotFoundError:
            raise ConnectionError("the hub cannot be reached") from None
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, OSError) as error:
            raise ConnectionError(str(error).splitlines()[0]) from error
    raise ConnectionError(reason)


def _require_host(url: str) -> None:
    """Raise ConnectionError at once where the hub's client would try for a minute: its host has no address.

    Behind a proxy the host's address is the proxy's business.
    """
    host = urllib.parse.urlsplit(url).hostname
    if host is None or {"http", "https", "all"} & set(urllib.request.getproxies()):
        return
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        raise ConnectionError(f"{host} cannot be found, so this machine seems to be offline") from None


@contextlib.contextmanager
def _only_errors(name: str) -> Iterator[None]:
    """Keep a logger from telling of every attempt; what fails in the end is our own message."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _cached_on_hub(repo: str, file: str, folder: Path) -> Path | None:
    """Return where the hub's cache layout below `folder` has a file, without importing the hub's client."""
    snapshots = folder / "hub" / f"models--{repo.replace('/', '--')}" / "snapshots"
    with contextlib.suppress(OSError):
        return next((path for path in sorted(snapshots.glob(f"*/{file}")) if path.is_file()), None)
    return None
