"""Candidates on one workload: built with the same weights, compared, then timed in turns."""

import gc
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor

from swinkit.bench import libraries
from swinkit.bench.engines import INFERENCE, TRAINING, Noted, Output, inference_call, training_call
from swinkit.bench.outcome import Disagreement, Unavailable
from swinkit.bench.timing import Spread, interleave, speedup, threads
from swinkit.bench.workload import Workload
from swinkit.classification import Classifier
from swinkit.errors import InputError
from swinkit.weights import to_swinkit

CANDIDATES: tuple[str, ...] = (
    "swinkit/eager",
    "swinkit/compile",
    "swinkit/frozen",
    "swinkit/max-autotune",
    "swinkit/reduce-overhead",
    "swinkit/optimize",
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

LIMITS = {"float32": 1e-4, "bfloat16": 8e-2, "float16": 2e-2}
"""Largest error of an output in the given precision, against float32, relative to the largest output."""


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
        check = _Check(workload, ours)
        calls, errors, missing = _prepare_all(names, workload, ours, check, say)
        if not calls:
            return Comparison(workload=workload, baseline="", rows=[], missing=missing)
        baseline = baseline if baseline in calls else next(iter(calls))
        notes = {name: call.note for name, call in calls.items() if isinstance(call, Noted)}
        say("timing")
        times = interleave(calls, rounds=rounds, device=torch.device(workload.device))
        calls.clear()
    peaks: dict[str, int | None] = dict.fromkeys(times)
    for name in times if memory is not None else ():
        assert memory is not None
        say(f"memory of {name}")
        peaks[name] = memory(name, workload)
    rows = [
        Row(
            name=name,
            seconds=seconds,
            error=errors[name],
            speedup=speedup(times[baseline], seconds),
            memory=peaks[name],
            note=notes.get(name, ""),
        )
        for name, seconds in times.items()
    ]
    return Comparison(workload=workload, baseline=baseline, rows=rows, missing=missing)


def _prepare_all(
    names: Sequence[str],
    workload: Workload,
    ours: Classifier,
    check: "_Check",
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
    name: str, workload: Workload, ours: Classifier, check: "_Check | None"
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
    if check is None:
        step()
        return step, float("nan")
    return step, check.training(name, library, model, step)


class _Check:
    """What a right answer is: our model in float32, eager, on the workload's device.

    Args:
        workload: the setting.
        ours: the weights.
    """

    def __init__(self, workload: Workload, ours: Classifier) -> None:
        self.workload = workload
        self.spec = ours.spec
        device = torch.device(workload.device)
        images = workload.pictures().to(device)
        model = libraries.build("swinkit", workload, ours).to(device)
        if workload.step == "training":
            model.train()
            loss = torch.nn.functional.cross_entropy(model(images), workload.labels().to(device))
            loss.backward()
            self.loss = float(loss.detach())
            self.gradients = libraries.named_gradients("swinkit", model)
        else:
            with torch.inference_mode():
                self.expected = [x.float().cpu() for x in _list(model(images))]

    def output(self, name: str, output: Output) -> float:
        """Largest relative error of logits or maps.

        Raises:
            Disagreement: it is above `LIMITS`.
        """
        found = _list(output)
        if [x.shape for x in found] != [x.shape for x in self.expected]:
            shapes = [tuple(x.shape) for x in found]
            raise Disagreement(f"{name} gives shapes {shapes} on {self.workload.label}: nothing was timed.")
        error = max(relative_error(x, y) for x, y in zip(found, self.expected, strict=True))
        return self._judge(name, error, "its output")

    def training(self, name: str, library: str, model: torch.nn.Module, step: Callable[[], Tensor]) -> float:
        """Largest relative error of the loss and the gradients, as norms of differences over norms.

        In float32 of each parameter's gradient; in half precisions, where the small gradients are mostly
        rounding, of all of them as one vector.

        Raises:
            Disagreement: it is above `LIMITS`, or parameters are missing.
        """
        loss = float(step())
        found = {key: value.float() for key, value in libraries.named_gradients(library, model).items()}
        if library != "swinkit":
            found = to_swinkit(found, library, self.spec)
        if found.keys() != self.gradients.keys():
            raise Disagreement(f"{name} trains other parameters than ours: nothing was timed.")
        errors = [abs(loss - self.loss) / max(abs(self.loss), 1e-12)]
        if self.workload.dtype == "float32":
            errors += [_distance([found[key]], [wanted]) for key, wanted in self.gradients.items()]
        else:
            errors.append(_distance([found[key] for key in self.gradients], [*self.gradients.values()]))
        return self._judge(name, max(errors), "its loss or a gradient")

    def _judge(self, name: str, error: float, what: str) -> float:
        limit = LIMITS[self.workload.dtype]
        if not error <= limit:  # nan too
            raise Disagreement(
                f"{what} differs, {name}: relative error {error:.1e}, allowed {limit:.0e}, on "
                f"{self.workload.label}; nothing was timed."
            )
        return error


def _distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Norm of the difference over the norm of what was wanted, all tensors as one vector."""
    difference = sum(float((x - y).double().square().sum()) for x, y in zip(found, wanted, strict=True))
    return math.sqrt(difference / max(sum(float(y.double().square().sum()) for y in wanted), 1e-24))


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """Largest difference, relative to the largest wanted value."""
    difference = (found.detach().float().cpu() - wanted.float().cpu()).abs().max()
    return float(difference / wanted.abs().max().clamp_min(1e-12))


def _list(output: Output | tuple[Tensor, ...]) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else list(output)
