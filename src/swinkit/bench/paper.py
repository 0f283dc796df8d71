"""The paper's speed tables: Table 5 (how windows shift) and Table 8 (picture sizes), beside what it printed.

The paper's numbers are images a second and milliseconds on one V100; only the relations between them can be
compared with another machine, so that is what is shown.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swinkit.bench.attention import sites
from swinkit.bench.attention_peers import Site
from swinkit.bench.check import LIMITS
from swinkit.bench.compare import Comparison, compare
from swinkit.bench.methods import METHODS, replace_attention
from swinkit.bench.outcome import Disagreement
from swinkit.bench.timing import Spread, interleave, speedup
from swinkit.bench.workload import DTYPES, MODELS, Workload
from swinkit.deploy.measure import relative_error
from swinkit.ops.window_attention import window_attention

CYCLIC = "shifted window (cyclic)"
OURS = "this library (cyclic)"

MODELS_BY_LETTER = {
    "T": "swin_tiny_patch4_window7_224",
    "S": "swin_small_patch4_window7_224",
    "B": "swin_base_patch4_window7_224",
}

TABLE_5: dict[str, tuple[float, ...]] = {
    "sliding window (naive)": (122.5, 38.3, 12.1, 7.6, 183, 109, 77),
    "Performer": (4.8, 2.8, 1.8, 1.5, 638, 370, 241),
    "window, no shift": (2.8, 1.7, 1.2, 0.9, 770, 444, 280),
    "shifted window (padding)": (3.3, 2.3, 1.9, 2.2, 670, 371, 236),
    CYCLIC: (3.0, 1.9, 1.3, 1.0, 755, 437, 278),
}
"""As printed: milliseconds of stages 1 to 4, then images a second of T, S and B."""

TABLE_8: dict[str, dict[int, float]] = {
    "T": {224: 755.2, 256: 580.9, 320: 342.0, 384: 219.5},
    "S": {224: 436.9, 256: 336.7, 320: 198.2, 384: 127.6},
    "B": {224: 278.1, 256: 208.1, 320: 132.0, 384: 84.7},
}
"""As printed: model -> side in pixels -> images a second."""


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """One way of shifting at one place.

    Attributes:
        method: a name of `METHODS`, or `OURS`.
        place: "stage 1" to "stage 4", or a model.
        seconds: a call, of each round.
        speed: relative to the cyclic shift in the same plain operations.
        published: the same relation in the paper, or None.
    """

    method: str
    place: str
    seconds: list[float]
    speed: Spread
    published: float | None


def table5(
    *,
    batch: int,
    dtype: str,
    device: torch.device,
    rounds: int,
    models: Sequence[str],
    methods: Sequence[str] = tuple(METHODS),
    size: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[MethodResult]:
    """Time the methods on the shifted block's attention of each stage of Swin-T, then in whole models.

    Args:
        batch: pictures.
        dtype: a key of `DTYPES`.
        device: CPU or GPU.
        rounds: turns that count.
        models: names in `MODELS`; the first one's stages are measured.
        methods: of `METHODS`; the cyclic shift and ours are always there.
        size: side of the pictures; None for the model's own.
        say: gets a line per step.

    Raises:
        Disagreement: padding and cyclic shift differ.
    """
    names = [name for name in METHODS if name in methods or name == CYCLIC]
    found: list[MethodResult] = []
    for index, site in enumerate(sites(models[0])):
        say(f"stage {site.stage}")
        # The last stage of a classifier at its own size is one window; the paper measures shifting there too.
        half = (site.window[0] // 2, site.window[1] // 2)
        calls = _stage_calls(dataclasses.replace(site, shift=half), names, batch, dtype, device)
        found += _results(calls, f"stage {site.stage}", index, rounds, device)
    for model in models:
        say(model)
        letter = next((key for key, name in MODELS_BY_LETTER.items() if name == model), None)
        column = None if letter is None else 4 + "TSB".index(letter)
        side = size or MODELS[model].img_size[0]
        calls = _model_calls(model, names, batch=batch, side=side, dtype=dtype, device=device)
        found += _results(calls, model, column, rounds, device)
    return found


def table8(
    *,
    batch: int,
    dtype: str,
    device: torch.device,
    threads: int,
    rounds: int,
    models: Sequence[str],
    sizes: Sequence[int],
    candidates: Sequence[str],
    say: Callable[[str], None] = lambda _: None,
) -> list[Comparison]:
    """Compare libraries at each picture size; the window grows with the picture, as 12 at 384 does."""
    return [
        compare(
            Workload(
                model=model,
                batch=batch,
                size=(size, size),
                window=window_for(model, size),
                dtype=dtype,  # type: ignore[arg-type]  # checked by Workload
                device=str(device),
                threads=threads,
            ),
            candidates,
            rounds=rounds,
            say=say,
        )
        for model in models
        for size in sizes
    ]


def window_for(model: str, size: int) -> int | None:
    """One window covers the last stage's map, as in the published models; None for the model's own."""
    if model not in MODELS_BY_LETTER.values():
        return None
    return size // 32 if size % 32 == 0 else None


def published_relation(model: str, size: int) -> float | None:
    """The paper's speed at `size` over that at 224, None where it has none."""
    for letter, name in MODELS_BY_LETTER.items():
        if name == model and size in TABLE_8[letter]:
            return TABLE_8[letter][size] / TABLE_8[letter][224]
    return None


def _stage_calls(
    site: Site, names: Sequence[str], batch: int, dtype: str, device: torch.device
) -> dict[str, Callable[[], Any]]:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(batch, *site.map_size, 3, site.heads, site.head_dim, generator=generator)
    rows = (2 * site.window[0] - 1) * (2 * site.window[1] - 1)
    table = torch.randn(rows, site.heads, generator=generator).to(device)
    qkv = qkv.to(device, DTYPES[dtype])
    wanted = window_attention(qkv, table, window=site.window, shift=site.shift, impl="reference")

    def call(name: str) -> Callable[[], Any]:
        def run() -> Tensor:
            with torch.inference_mode():
                if name == OURS:
                    return window_attention(qkv, table, window=site.window, shift=site.shift)
                return METHODS[name](qkv, table, site.window, site.shift, None)

        return run

    calls = {name: call(name) for name in (*names, OURS)}
    for name, run in calls.items():
        if "shifted" in name or name == OURS:
            _agree(name, run(), wanted, dtype)
    return calls


def _model_calls(
    model: str, names: Sequence[str], *, batch: int, side: int, dtype: str, device: torch.device
) -> dict[str, Callable[[], Any]]:
    workload = Workload(model=model, batch=batch, size=(side, side), device=str(device))
    images = workload.pictures().to(device, DTYPES[dtype])
    calls: dict[str, Callable[[], Any]] = {}
    wanted: Tensor | None = None
    for name in (OURS, *names):
        built = workload.build()
        if name != OURS:
            replace_attention(built, METHODS[name])
        built = built.to(device, DTYPES[dtype])

        def run(built: torch.nn.Module = built) -> Tensor:
            with torch.inference_mode():
                return built(images)

        if wanted is None:
            wanted = run()
        elif "shifted" in name:
            _agree(name, run(), wanted, dtype)
        calls[name] = run
    return calls


def _agree(name: str, found: Tensor, wanted: Tensor, dtype: str) -> None:
    error = relative_error([found], [wanted])
    if error > LIMITS[dtype]:
        raise Disagreement(f"{name} differs from this library's windows: relative error {error:.1e}.")


def _results(
    calls: dict[str, Callable[[], Any]], place: str, column: int | None, rounds: int, device: torch.device
) -> list[MethodResult]:
    times = interleave(calls, rounds=rounds, device=device)
    found = []
    for name, seconds in times.items():
        published = None
        if column is not None and name in TABLE_5:
            published = TABLE_5[CYCLIC][column] / TABLE_5[name][column]
            published = 1 / published if column >= 4 else published  # the models' columns are speeds
        found.append(
            MethodResult(
                method=name,
                place=place,
                seconds=seconds,
                speed=speedup(times[CYCLIC], seconds),
                published=published,
            )
        )
    return found
