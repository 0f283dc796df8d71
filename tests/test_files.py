"""`atomic_path`: a file appears whole or not at all, whatever happens while it is written."""

import errno
import os
import stat

import pytest

from swinkit.errors import InputError
from swinkit.files import atomic_path


def test_success_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "deep" / "model.bin"
    for content in (b"first", b"second"):
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
            assert temporary.parent == path.parent
            assert temporary.suffix == path.suffix
        assert path.read_bytes() == content
    assert [item.name for item in path.parent.iterdir()] == ["model.bin"]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"half"


@pytest.mark.parametrize("error", [RuntimeError("defect"), KeyboardInterrupt()])
def test_a_crash_keeps_the_old_file(tmp_path, error):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), atomic_path(path) as temporary:  # noqa: PT012  (the body has to fail midway)
        temporary.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["model.bin"]


def test_a_disk_full_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="No space left on device") as caught, atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "unchanged" in str(caught.value)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["model.bin"]


def test_a_disk_full_at_the_rename_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")

    def fail(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="No space left"), atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["model.bin"]


def test_a_disk_full_at_the_start_is_bad_input(tmp_path):
    (tmp_path / "file").write_bytes(b"not a folder")
    with pytest.raises(InputError, match="could not write"), atomic_path(tmp_path / "file" / "model.bin"):
        raise AssertionError("there is no place to write to")


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "model.bin") as temporary:
            temporary.write_bytes(b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "model.bin").stat().st_mode) == 0o640
