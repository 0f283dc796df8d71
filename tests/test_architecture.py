"""ARCHITECTURE.md, kept true: which way imports run, how light `import swinkit` is, how long a file is."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import swinkit

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "swinkit"
MAX_LINES = 450

CORE = {"errors", "files", "machine"}
"""Base of the house: everyone may use these."""
TASKS = {"classification", "detection", "segmentation", "backbones"}

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "machine": set(),
    "ops": CORE,
    "layers": CORE | {"ops"},
    "backbones": CORE | {"ops", "layers"},
    "spec": CORE | TASKS,
    "classification": CORE | TASKS | {"ops", "layers", "spec"},
    "detection": CORE | TASKS | {"ops", "layers", "spec"},
    "segmentation": CORE | TASKS | {"ops", "layers", "spec"},
    "build": CORE | TASKS | {"ops", "spec"},
    "data": CORE | {"spec", "detection", "segmentation", "ops"},
    "weights": CORE | TASKS | {"build", "ops", "layers", "spec"},
    "deploy": CORE | TASKS | {"ops", "layers", "spec"},
    "evaluate": CORE | TASKS | {"ops", "layers", "spec", "data"},
    "viz": CORE | {"ops", "evaluate", "data", "spec"},
}
"""Room -> rooms it may import, for the lower storeys (ARCHITECTURE.md, "Rooms")."""

STOREYS = [
    "models",
    "models_segmentation",
    "models_detection",
    "predictor",
    "predictor_masks",
    "predictor_objects",
    "train",
    "recipes",
    "bench",
    "cli",
]
"""The upper storeys: each may import everything in ALLOWED and the storeys before it."""
for _room in STOREYS:
    ALLOWED[_room] = set(ALLOWED) | {_room}
ALLOWED["cli"].add("")  # the commands stand on the public names too

HEAVY = (
    "lightning",
    "pytorch_lightning",
    "triton",
    "matplotlib",
    "transformers",
    "timm",
    "torchmetrics",
    "sklearn",
)

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """Second part of a dotted name: "swinkit.ops.windows" -> "ops"; "" for the package's public names."""
    room = module.split(".")[1] if "." in module else ""
    return "" if room in swinkit.__all__ else room


def imports_of(source: str, module: str) -> set[str]:
    """Full names of the swinkit modules that a file imports anywhere, type-only imports included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], base]).rstrip(".")
            found |= {f"{base}.{alias.name}" for alias in node.names} if base == "swinkit" else {base}
    return {name for name in found if name.split(".")[0] == "swinkit"}


def module_of(path: Path) -> str:
    return ".".join(["swinkit", *path.relative_to(PACKAGE).with_suffix("").parts])


def upward_imports(source: str, module: str) -> set[str]:
    """Rooms that a file imports and may not."""
    room = room_of(module)
    return {room_of(name) for name in imports_of(source, module)} - ALLOWED[room] - {room}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_run_downwards(path):
    if path == PACKAGE / "__init__.py":
        return  # the public names come from every storey
    module = module_of(path)
    assert room_of(module) in ALLOWED, "a new room: give it a place in ARCHITECTURE.md and in ALLOWED"
    assert not upward_imports(path.read_text(), module)


def test_the_check_sees_an_upward_import():
    assert upward_imports("from swinkit.layers import Mlp", "swinkit.ops.windows") == {"layers"}
    assert upward_imports("import swinkit.train.loop", "swinkit.weights.load") == {"train"}
    assert upward_imports("from swinkit import models", "swinkit.data.folder") == {"models"}
    assert upward_imports("from ..layers import Mlp", "swinkit.ops.windows") == {"layers"}
    assert upward_imports("def f():\n    from swinkit.cli import main", "swinkit.train.loop") == {"cli"}
    assert upward_imports("from swinkit import load", "swinkit.train.loop") == {""}
    assert not upward_imports("from swinkit import load", "swinkit.cli.info")
    assert not upward_imports("from swinkit.ops.windows import merge", "swinkit.layers.block")


def test_operators_do_not_import_one_another_s_implementations():
    """Design: kernels never import the reference, and the reference imports no kernel."""
    kernels = {"sdpa", "chunked", "chunked_op", "native", "native_op"} | {
        path.stem for path in (PACKAGE / "ops").rglob("triton*.py")
    }
    assert len(kernels) > 1
    for path in (PACKAGE / "ops").rglob("*.py"):
        names = {name.split(".")[-1] for name in imports_of(path.read_text(), module_of(path))}
        if path.stem in kernels:
            assert "reference" not in names, path.name
        if path.stem == "reference":
            assert not names & kernels, path.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_stay_readable(path):
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{path.name} has {lines} lines: one concept per file"


def test_every_room_is_in_the_document():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`(\w+)(?:/|\.py)`", text))
    rooms = {
        path.stem for path in PACKAGE.iterdir() if path.name not in {"__init__.py", "__pycache__", "py.typed"}
    }
    assert rooms <= named, f"ARCHITECTURE.md lacks {sorted(rooms - named)}"


def test_import_is_light():
    code = (
        "import sys, swinkit, swinkit.errors\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
        "torch = sys.modules.get('torch')\n"
        "print(bool(torch) and torch.cuda.is_initialized())\n"
    )
    assert run_python(code) == ["[]", "False"]


def test_public_names_are_light():
    """Building and loading a model needs torch, and neither the training loop nor a GPU context."""
    ours = [name for name in HEAVY if name != "triton"]  # torchvision brings triton, through torch._dynamo
    code = (
        "import sys, swinkit, torch\n"
        "[getattr(swinkit, name) for name in swinkit.__all__]\n"
        f"print([name for name in {ours!r} if name in sys.modules])\n"
        "print(torch.cuda.is_initialized())\n"
    )
    assert run_python(code) == ["[]", "False"]


def run_python(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
