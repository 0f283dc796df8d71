"""How cost grows with the picture: Swin against a vision transformer of its size (equations 1 and 2).

Each point is a fresh process that runs one model on one picture, so that time and peak memory belong to it
alone.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch

from swinkit.bench.memory import resident, watch
from swinkit.bench.outcome import Unavailable
from swinkit.bench.timing import synchronise
from swinkit.bench.workload import DTYPES, MODELS
from swinkit.models import create_model

SIZES = (224, 320, 448, 640, 896, 1280, 1792, 2048)
VIT = "vit_small_patch16_224"
"""timm's name; 22 M parameters and 4.6 GFLOPs at 224 pixels, Swin-T has 28 M and 4.5."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One model on one picture.

    Attributes:
        model: ours, or timm's with "timm:" before it.
        size: side of the picture in pixels.
        seconds: a forward pass, of each round.
        peak: bytes over what was held before the model was built.
    """

    model: str
    size: int
    seconds: list[float]
    peak: int

    @property
    def best(self) -> float:
        """Least seconds: a busy machine only adds."""
        return min(self.seconds)


def growth(
    models: Sequence[str],
    sizes: Sequence[int],
    *,
    rounds: int,
    dtype: str,
    device: torch.device,
    threads: int,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[list[Point], dict[str, str]]:
    """Measure every model at every size; returns the points and, by "model at size", what could not run.

    Sizes are visited from small to large with the models in turn, so that both meet the same machine.
    """
    points: list[Point] = []
    missing: dict[str, str] = {}
    for size in sorted(sizes):
        for model in models:
            say(f"{model} at {size}")
            task = {
                "model": model,
                "size": size,
                "rounds": rounds,
                "dtype": dtype,
                "device": str(device),
                "threads": threads,
            }
            try:
                points.append(_in_a_process(task))
            except Unavailable as reason:
                missing[f"{model} at {size}"] = str(reason)
    return points, missing


def exponent(values: Mapping[int, float]) -> float:
    """Slope of log(value) over log(image area): 1 is linear in the area, 2 quadratic.

    Args:
        values: side in pixels -> cost; at least two sides.
    """
    logs = [(2 * math.log(side), math.log(value)) for side, value in values.items()]
    mean_x = sum(x for x, _ in logs) / len(logs)
    mean_y = sum(y for _, y in logs) / len(logs)
    spread = sum((x - mean_x) ** 2 for x, _ in logs)
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / spread


def by_model(points: Sequence[Point]) -> dict[str, list[Point]]:
    """The points of each model, by size."""
    found: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda point: point.size):
        found.setdefault(point.model, []).append(point)
    return found


def run_point(model: str, size: int, *, rounds: int, dtype: str, device: torch.device, threads: int) -> Point:
    """One point, in this process.

    Raises:
        Unavailable: timm is not installed.
    """
    torch.set_num_threads(threads)
    _build(model, 64 if model.startswith("timm:") else MODELS[model].img_size[0])  # loads the code
    before = resident(device)
    built = _build(model, size).to(device, DTYPES[dtype])
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 3, size, size, generator=generator).to(device, DTYPES[dtype])

    def call() -> None:
        with torch.inference_mode():
            built(images)

    call()
    seconds = []
    for _ in range(rounds):
        synchronise(device)
        start = time.perf_counter()
        call()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    peak = watch(call, device) - before
    return Point(model=model, size=size, seconds=seconds, peak=peak)


def main() -> None:
    """Measure the point that the first argument describes as JSON, and print it as JSON."""
    task = json.loads(sys.argv[1])
    task["device"] = torch.device(task["device"])
    print(json.dumps(asdict(run_point(**task))))


def _in_a_process(task: dict[str, object]) -> Point:
    done = subprocess.run(
        [sys.executable, "-m", "swinkit.bench.linear", json.dumps(task)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": str(task["threads"])},
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise Unavailable(reason)
    return Point(**json.loads(lines[-1]))


def _build(model: str, size: int) -> torch.nn.Module:
    torch.manual_seed(0)
    if not model.startswith("timm:"):
        return create_model(MODELS[model], img_size=size).eval()
    try:
        import timm  # noqa: PLC0415  # an optional package
    except ImportError as error:
        raise Unavailable("timm is not installed") from error
    return timm.create_model(model.removeprefix("timm:"), img_size=size).eval()


if __name__ == "__main__":
    main()
