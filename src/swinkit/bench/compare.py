"""Candidates on one workload: built with the same weights, compared, then timed in turns."""

import gc
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch

from swinkit.bench import libraries
from swinkit.bench.check import Check
from swinkit.bench.engines import INFERENCE, TRAINING, Noted, inference_call, named, training_call
from swinkit.bench.outcome import Unavailable
from swinkit.bench.timing import Spread, interleave, speedup, threads
from swinkit.bench.workload import Workload
from swinkit.classification import Classifier
from swinkit.errors import InputError

CANDIDATES: tuple[str, ...] = (
    "swinkit/eager",
    "swinkit/compile",
    "swinkit/frozen",
    "swinkit/max-autotune",
    "swinkit/reduce-overhead",
    "swinkit/fused",
    "swinkit/fused-graphs",
    "swinkit/optimize",
    "swinkit/float8",
    "timm/eager",
    "timm/compile",
    "timm/frozen",
    "timm/max-autotune",
    "timm/reduce-overhead",
    "timm/onnxruntime",
    "timm/openvino",
    "torchvision/eager",
    "torchvision/compile",
    "huggingface/eager",
    "huggingface/compile",
)
"""Library/engine, in the order of the table."""

QUICK = ("*/eager", "*/compile", "swinkit/optimize")
"""What is compared when nothing is asked for: the engines that are ready in seconds."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate's numbers.

    Attributes:
        name: library/engine.
        seconds: of each counted round, a call.
        error: largest difference from our float32 output, relative to the largest output.
        speedup: over the baseline, by neighbouring turns.
        memory: peak of a fresh process over what it held before the model was built, in bytes; None when not
            asked for.
        note: what the candidate says of itself, such as the engine it chose.
    """

    name: str
    seconds: list[float]
    error: float
    speedup: Spread
    memory: int | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """Median seconds a call."""
        return statistics.median(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything measured on one workload.

    Attributes:
        workload: the setting.
        baseline: the candidate whose time the others' are compared with.
        rows: candidates that ran.
        missing: candidates that could not -> why.
    """

    workload: Workload
    baseline: str
    rows: list[Row]
    missing: dict[str, str]

    def times(self) -> dict[str, list[float]]:
        """Seconds by candidate."""
        return {row.name: row.seconds for row in self.rows}


def choose(patterns: Sequence[str]) -> list[str]:
    """Candidates whose name fits one of the patterns, in the table's order.

    Raises:
        InputError: a pattern fits none.
    """
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in CANDIDATES):
            raise InputError(f"no candidate fits {pattern!r}: choose from {', '.join(CANDIDATES)}.")
    return [name for name in CANDIDATES if any(fnmatch(name, pattern) for pattern in patterns)]


def compare(
    workload: Workload,
    names: Sequence[str],
    *,
    rounds: int,
    baseline: str = "timm/eager",
    memory: Callable[[str, Workload], int] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Build, check and time candidates on a workload.

    Args:
        workload: the setting.
        names: of `CANDIDATES`.
        rounds: turns of each that count.
        baseline: what speed-ups are over; the first that runs when this one is not among them.
        memory: gives a candidate's peak memory, see `swinkit.bench.memory`; None leaves it out.
        say: gets a line for each candidate that is being prepared.

    Raises:
        Disagreement: a candidate's output, or a training step's gradients, differ.
    """
    with threads(workload.threads):
        torch._dynamo.reset()
        ours = workload.build()
        check = Check(workload, ours)
        calls, errors, missing = _prepare_all(names, workload, ours, check, say)
        if not calls:
            return Comparison(workload=workload, baseline="", rows=[], missing=missing)
        baseline = baseline if baseline in calls else next(iter(calls))
        notes = {name: _note(name, call, check) for name, call in calls.items()}
        say("timing")
        times = interleave(calls, rounds=rounds, device=torch.device(workload.device))
        calls.clear()
    peaks: dict[str, int | None] = dict.fromkeys(times)
    for name in times if memory is not None else ():
        assert memory is not None
        say(f"memory of {name}")
        try:
            peaks[name] = memory(name, workload)
        except Unavailable as reason:  # the times stand all the same
            notes[name] = ", ".join(text for text in (notes[name], str(reason)) if text)
    rows = [
        Row(
            name=name,
            seconds=seconds,
            error=errors[name],
            speedup=speedup(times[baseline], seconds),
            memory=peaks[name],
            note=notes[name],
        )
        for name, seconds in times.items()
    ]
    return Comparison(workload=workload, baseline=baseline, rows=rows, missing=missing)


def _prepare_all(
    names: Sequence[str],
    workload: Workload,
    ours: Classifier,
    check: Check,
    say: Callable[[str], None],
) -> tuple[dict[str, Callable[[], Any]], dict[str, float], dict[str, str]]:
    """Calls and errors of the candidates that run, and why the others do not."""
    calls: dict[str, Callable[[], Any]] = {}
    errors: dict[str, float] = {}
    missing: dict[str, str] = {}
    for name in names:
        say(name)
        try:
            calls[name], errors[name] = prepare(name, workload, ours, check)
        except Unavailable as reason:
            missing[name] = str(reason)
        gc.collect()
    return calls, errors, missing


def prepare(
    name: str, workload: Workload, ours: Classifier, check: Check | None
) -> tuple[Callable[[], Any], float]:
    """A candidate's call, ready to be timed, and its error; without a check, nan.

    Raises:
        Unavailable: it cannot run here.
        Disagreement: it computes something else.
    """
    library, _, engine = name.partition("/")
    training = workload.step == "training"
    if engine not in (TRAINING if training else INFERENCE):
        raise Unavailable("it does not train")
    model = libraries.to_device(libraries.build(library, workload, ours), workload)
    device = torch.device(workload.device)
    images = workload.pictures().to(device)
    if not training:
        call = inference_call(engine, model, images.to(workload.torch_dtype), workload)
        return call, float("nan") if check is None else check.output(name, call())
    step = training_call(engine, model, images, workload.labels().to(device), workload)
    first = named()(step)  # a failure is a reason; the steps that are timed are bare
    if check is None:
        first()
        return step, float("nan")
    return step, check.training(name, model, first)


def _note(name: str, call: Callable[[], Any], check: Check) -> str:
    """What the table says behind a candidate's name."""
    own = call.note if isinstance(call, Noted) else ""
    return ", ".join(text for text in (own, check.note(name)) if text)
