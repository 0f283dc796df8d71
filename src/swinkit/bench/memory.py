"""Peak memory of one candidate, in a process of its own: `python -m swinkit.bench.memory` is that process.

On a CPU the number is the process's largest resident set while the call runs (Linux resets that mark on
request), less what was resident before the model was built and after the libraries were loaded: weights,
workspace and what a compiler keeps count, the libraries' code does not. On a GPU it is what torch's allocator
held at most.
"""

import base64
import ctypes
import dataclasses
import gc
import importlib
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

from swinkit.bench.compare import prepare
from swinkit.bench.outcome import Unavailable
from swinkit.bench.workload import TOY, Workload

STATUS = Path("/proc/self/status")
CALLS = 3
"""Calls during which the mark is watched, after one that is not."""


def peak_memory(name: str, workload: Workload) -> int:
    """Bytes of a candidate at its peak, see above.

    Raises:
        Unavailable: it could not run, or this system does not tell.
    """
    task = base64.b64encode(pickle.dumps((name, workload))).decode()
    done = subprocess.run(
        [sys.executable, "-m", "swinkit.bench.memory", task],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": str(workload.threads)},
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise Unavailable(f"its memory could not be measured: {reason}")
    found = json.loads(lines[-1])
    return int(found["peak"] - found["before"])


def watch(call: Callable[[], object], device: torch.device) -> int:
    """Largest memory of this process (CPU) or of torch's allocator (GPU) while `call` runs, in bytes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    trim()
    if _reset_mark():
        call()
        return _status("VmHWM")
    return _sampled(call)


def resident(device: torch.device) -> int:
    """Bytes this process (CPU) or torch's allocator (GPU) holds now."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    trim()
    return _status("VmRSS")


def trim() -> None:
    """Give freed memory back, so that what is resident is in use."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return  # another libc: the mark then includes what it keeps


def _reset_mark() -> bool:
    """Set the kernel's peak mark back to what is resident; False where it does not let us."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(field: str) -> int:
    try:
        lines = STATUS.read_text().splitlines()
    except OSError as error:
        raise Unavailable("this system does not tell what a process holds") from error
    (line,) = [line for line in lines if line.startswith(f"{field}:")]
    return int(line.split()[1]) * 1024


def _sampled(call: Callable[[], object]) -> int:
    """The largest of readings a millisecond apart."""
    done = threading.Event()
    peak = _status("VmRSS")

    def read() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, _status("VmRSS"))
            time.sleep(0.001)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        call()
    finally:
        done.set()
        thread.join()
    return peak


def main() -> None:
    """Read a candidate and a workload, print {"before", "peak"} in bytes."""
    name, workload = pickle.loads(base64.b64decode(sys.argv[1]))
    torch.set_num_threads(workload.threads)
    device = torch.device(workload.device)
    _load_code(name, workload)
    before = resident(device)
    call, _ = prepare(name, workload, workload.build(), None)
    call()

    def several() -> None:
        for _ in range(CALLS):
            call()

    print(json.dumps({"before": before, "peak": watch(several, device)}))


def _load_code(name: str, workload: Workload) -> None:
    """Run the candidate once on a toy, so that its libraries are loaded before anything is measured."""
    library, _, engine = name.partition("/")
    quick = engine if engine in {"onnxruntime", "openvino"} else "eager"
    if engine not in {"eager", quick}:
        importlib.import_module("torch._inductor.compile_fx")
    toy = dataclasses.replace(workload, model="toy", batch=1, size=TOY.img_size, window=None)
    prepare(f"{library}/{quick}", toy, toy.build(), None)


if __name__ == "__main__":
    main()
