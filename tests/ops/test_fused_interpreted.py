"""The fused Triton kernels' values in Triton's interpreter: no GPU is needed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

CASES = Path(__file__).parent / "fused_cases.py"


@pytest.mark.parametrize("group", ["values", "not values"])
def test_kernels_in_the_interpreter(group):
    """Groups, so that workers share them; each pays once for its process."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-k", group, str(CASES)]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
