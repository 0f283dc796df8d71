"""How the rows of the bars table are measured: each function gives a row's measurement."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from swinkit.bench import attention, linear
from swinkit.bench.compare import Comparison, compare
from swinkit.bench.memory import peak_memory
from swinkit.bench.outcome import Unavailable
from swinkit.bench.profile import candidates
from swinkit.bench.report import comparison_data, site_data, spread_data
from swinkit.bench.timing import Spread, fastest, speedup
from swinkit.bench.workload import Workload

TINY, BASE = "swin_tiny_patch4_window7_224", "swin_base_patch4_window7_224"

OURS = ("swinkit/optimize", "swinkit/frozen", "swinkit/compile", "swinkit/eager")
"""Ours in an inference row: `swinkit.optimize` where there is one; else the fastest of the others."""
COMPILED = ("timm/compile", "timm/max-autotune", "timm/reduce-overhead")
ON_A_CPU = ("timm/eager", "timm/compile", "timm/frozen", "timm/max-autotune", "timm/openvino")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One number of a row.

    Attributes:
        label: which of the row's settings, "" for the only one.
        value: the ratio; an exponent for the row about growth.
        ours: our candidate.
        against: the peer.
        note: what else to say, such as a second condition that was missed.
        kept: whether the row's further conditions hold.
        profile: gives tables of where the time goes, for a row that is missed; None where time is not the
            question.
    """

    label: str
    value: Spread
    ours: str
    against: str
    note: str = ""
    kept: bool = True
    profile: Callable[[], str] | None = None

    def text(self) -> str:
        """As the table shows it."""
        words = [self.label, self.value.text(), f"[{self.ours} / {self.against}]", self.note]
        return " ".join(word for word in words if word)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a row.

    Attributes:
        name: of the row.
        parts: its numbers; none when it was not measured.
        reason: why it was not measured, or what is left out of it.
        data: everything behind the numbers, as JSON types.
        refused: candidates compute different things, so nothing was timed.
    """

    name: str
    parts: list[Part] = field(default_factory=list)
    reason: str = ""
    data: list[dict[str, Any]] = field(default_factory=list)
    refused: bool = False


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How to measure.

    Attributes:
        threads: CPU threads.
        rounds: turns that count; slow candidates take fewer, see `swinkit.bench.timing.BUDGET`.
        quick: fewer of everything.
        say: gets a line per step.
    """

    threads: int
    rounds: int
    quick: bool = False
    say: Callable[[str], None] = lambda _: None


def inference(
    model: str,
    peers: Sequence[str],
    dtype: str,
    batches: Sequence[int],
    *,
    ours: Sequence[str] = OURS,
    size: tuple[int, int] = (224, 224),
    step: str = "inference",
    memory_too: bool = False,
) -> Callable[[Setting, str], Outcome]:
    """A row about whole models."""

    def measure(setting: Setting, device: str) -> Outcome:
        outcome = Outcome(name="")
        missing: dict[str, str] = {}
        for batch in batches:
            workload = Workload(
                model=model,
                batch=batch,
                size=size,
                dtype=dtype,  # type: ignore[arg-type]  # checked by Workload
                device=device,
                step=step,  # type: ignore[arg-type]  # likewise
                threads=setting.threads,
            )
            found = compare(
                workload,
                [*ours, *peers],
                rounds=setting.rounds,
                baseline=peers[0],
                memory=peak_memory if memory_too else None,
                say=setting.say,
            )
            missing |= found.missing
            outcome.data.append(comparison_data(found))
            part = best_part(found, ours, peers, label=f"batch {batch}" if len(batches) > 1 else "")
            if part is None:
                raise Unavailable("; ".join(f"{name}: {why}" for name, why in missing.items()))
            profile = functools.partial(candidates, (part.ours, part.against), workload)
            outcome.parts.append(dataclasses.replace(part, profile=profile))
        absent = [
            name for name in missing if name != "swinkit/optimize" and name.startswith(("timm", "torch"))
        ]
        reason = f"without {', '.join(absent)}" if absent else ""
        return Outcome(name="", parts=outcome.parts, reason=reason, data=outcome.data)

    return measure


def best_part(
    found: Comparison, ours: Sequence[str], peers: Sequence[str], *, label: str = ""
) -> Part | None:
    """Our candidate against the fastest peer; None when one side is empty.

    Ours is `swinkit/optimize` where it ran; else the fastest of those that take no more memory than the
    fastest peer, where memory was measured; else the fastest.
    """
    times = found.times()
    theirs = fastest(times, peers)
    memory = {row.name: row.memory for row in found.rows}
    mine = "swinkit/optimize" if "swinkit/optimize" in ours and "swinkit/optimize" in times else None
    if theirs is not None:
        limit = memory[theirs]
        frugal = [name for name in ours if limit and (used := memory.get(name)) and used <= limit]
        mine = mine or fastest(times, frugal)
    mine = mine or fastest(times, ours)
    if mine is None or theirs is None:
        return None
    note, kept = "", True
    used, other = memory[mine], memory[theirs]
    if used is not None and other is not None:
        kept = used <= other
        note = f"memory {used / other:.2f} of theirs"
    elif any(value is not None for value in memory.values()):  # asked for, and not to be had
        kept, note = False, "memory not measured"
    value = speedup(times[theirs], times[mine])
    return Part(label=label, value=value, ours=mine, against=theirs, note=note, kept=kept)


def training(dtypes: Sequence[str], batch: int) -> Callable[[Setting, str], Outcome]:
    """A row about training steps, memory included."""

    def measure(setting: Setting, device: str) -> Outcome:
        parts: list[Part] = []
        data: list[dict[str, Any]] = []
        for dtype in dtypes:
            inner = inference(
                TINY,
                ("timm/compile",) if device == "cuda" else ("timm/eager", "timm/compile"),
                dtype,
                (batch,),
                ours=("swinkit/eager", "swinkit/compile"),
                step="training",
                memory_too=True,
            )(setting, device)
            label = dtype if len(dtypes) > 1 else ""
            parts += [dataclasses.replace(part, label=label) for part in inner.parts]
            data += inner.data
        return Outcome(name="", parts=parts, data=data)

    return measure


def attention_alone(
    peers: Sequence[str], dtypes: Sequence[str], stages: Sequence[int], batch: int, *, backward: bool
) -> Callable[[Setting, str], Outcome]:
    """A row about the operator alone."""

    def measure(setting: Setting, device: str) -> Outcome:
        parts, data = [], []
        for dtype in dtypes:
            for site in attention.sites(TINY):
                if site.stage not in stages:
                    continue
                setting.say(f"stage {site.stage}, {dtype}")
                found = attention.measure(
                    site,
                    batch=batch,
                    dtype=dtype,
                    device=torch.device(device),
                    backward=backward,
                    rounds=setting.rounds,
                    peers=peers,
                    compiled=attention.COMPILED in peers,
                )
                data.append(site_data(found))
                against = found.against(peers)
                if against is None:
                    raise Unavailable("; ".join(found.missing.values()))
                label = f"stage {site.stage} {dtype}"
                peer, value = against
                profile = functools.partial(
                    attention.profiled,
                    (found.ours, peer),
                    site,
                    batch=batch,
                    dtype=dtype,
                    device=torch.device(device),
                    backward=backward,
                )
                part = Part(label=label, value=value, ours=found.ours, against=peer, profile=profile)
                parts.append(part)
        return Outcome(name="", parts=parts, data=data)

    return measure


def peak(setting: Setting, device: str) -> Outcome:
    """Peak memory of a large picture, each candidate in its own process; the ratio is ours over theirs."""
    workload = Workload(
        model=BASE, batch=1, size=(1024, 1024), dtype="float32", device=device, threads=setting.threads
    )
    mine, theirs = "swinkit/eager", "timm/eager"  # `optimize` is for speed, and holds the weights twice
    peaks: dict[str, int] = {}
    for name in (mine, theirs):
        setting.say(f"memory of {name}")
        peaks[name] = peak_memory(name, workload)
    ratio = peaks[mine] / peaks[theirs]
    note = f"{peaks[mine] / 2**20:.0f} of {peaks[theirs] / 2**20:.0f} MiB"
    part = Part(label="", value=Spread(ratio, ratio, ratio), ours=mine, against=theirs, note=note)
    return Outcome(name="", parts=[part], data=[{"peak_bytes": peaks}])


def growth(setting: Setting, device: str) -> Outcome:
    """The exponents of time and memory."""
    sizes = (224, 448, 896) if setting.quick else linear.SIZES
    points, missing = linear.growth(
        [TINY],
        sizes,
        rounds=min(3, setting.rounds),
        dtype="float32",
        device=torch.device(device),
        threads=setting.threads,
        say=setting.say,
    )
    if missing:
        raise Unavailable("; ".join(missing.values()))
    costs = {
        "time": {point.size: point.best for point in points},
        "memory": {point.size: float(point.peak) for point in points},
    }
    parts = []
    for label, values in costs.items():
        fitted = linear.exponent(values)
        parts.append(
            Part(label=label, value=Spread(fitted, fitted, fitted), ours="swinkit/eager", against="area")
        )
    data = [{"sizes": list(sizes), "costs": costs, "exponents": [spread_data(part.value) for part in parts]}]
    reason = f"up to {max(sizes)} pixels only" if setting.quick else ""
    return Outcome(name="", parts=parts, reason=reason, data=data)
