"""The wheel that people install: built here, and looked into."""

import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import swinkit

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "swinkit"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def metadata(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_string(wheel.read(name).decode())


def test_holds_every_file_of_the_package_and_nothing_else(wheel):
    expected = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == expected
    assert "swinkit/py.typed" in found


def test_every_folder_is_a_package():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_versions_agree(wheel):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert metadata(wheel)["Version"] == project["version"] == swinkit.__version__


def test_carries_licence_readme_and_program(wheel):
    names = wheel.namelist()
    assert metadata(wheel)["License-Expression"] == "Apache-2.0"
    assert any(name.endswith("LICENSE") for name in names)
    assert str(metadata(wheel).get_payload()).startswith("# swinkit")
    (entry,) = (name for name in names if name.endswith("entry_points.txt"))
    assert "swinkit = swinkit.cli.main:main" in wheel.read(entry).decode()


def test_requirements_are_ordinary_ranges(wheel):
    requirements = metadata(wheel).get_all("Requires-Dist") or []
    assert requirements
    for line in requirements:
        assert "@" not in line, line
        assert re.match(r"^[A-Za-z0-9._-]+(\[[\w,]+\])?(>=[\d.]+)?( ?;.*)?$", line), line


def test_the_changelog_knows_this_version():
    assert f"## {swinkit.__version__}" in (ROOT / "CHANGELOG.md").read_text()
