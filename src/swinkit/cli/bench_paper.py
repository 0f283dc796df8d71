"""The subjects of `swinkit bench` that are the paper's: Table 5, Table 8 and the cost's growth."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from swinkit.cli.bench import BenchArgs, parse_sizes, say, written
from swinkit.cli.common import print_table
from swinkit.errors import InputError

if TYPE_CHECKING:
    import torch


def table5(args: BenchArgs, device: "torch.device") -> int:
    """Ways of mixing tokens, per stage of the first model and in whole models."""
    from swinkit.bench import paper
    from swinkit.bench.report import spread_data
    from swinkit.bench.timing import Spread

    models = _known(args.model) or list(paper.MODELS_BY_LETTER.values())
    found = []
    for dtype in args.dtype:
        for batch in args.batch or (1,):
            results = paper.table5(
                batch=batch, dtype=dtype, device=device, rounds=args.turns(9), models=models, say=say
            )
            rows = [
                (
                    result.place,
                    result.method,
                    Spread.of([1e3 * value for value in result.seconds]).text(1),
                    result.speed.text(),
                    "-" if result.published is None else f"{result.published:.2f}",
                )
                for result in results
            ]
            columns = ("where", "method", "ms", "speed over cyclic shift", "in the paper (V100)")
            print_table(columns, rows, title=f"Table 5, batch {batch}, {dtype}")
            found += [
                {"batch": batch, "dtype": dtype, **asdict(result), "speed": spread_data(result.speed)}
                for result in results
            ]
    written(args, "table5", found, device)
    return 0


def table8(args: BenchArgs, device: "torch.device") -> int:
    """Pictures a second at 224, 256, 320 and 384 pixels."""
    import torch

    from swinkit.bench import paper
    from swinkit.bench.compare import choose
    from swinkit.bench.figures import draw_comparisons
    from swinkit.bench.report import comparison_data

    models = _known(args.model) or list(paper.MODELS_BY_LETTER.values())
    names = choose(args.candidates or ("swinkit/eager", "timm/eager"))
    sizes = [_square(size) for size in parse_sizes(args.size)] or [224, 256, 320, 384]
    found = [
        comparison
        for dtype in args.dtype
        for batch in args.batch or (1,)
        for comparison in paper.table8(
            batch=batch,
            dtype=dtype,
            device=device,
            threads=torch.get_num_threads(),
            rounds=args.turns(9),
            models=models,
            sizes=sizes,
            candidates=names,
            say=say,
        )
    ]
    smallest: dict[tuple[str, str, str, int], float] = {}
    rows = []
    for comparison in found:
        w = comparison.workload
        for row in comparison.rows:
            speed = w.batch / row.median
            first = smallest.setdefault((w.model, row.name, w.dtype, w.batch), speed)
            published = paper.published_relation(w.model, w.size[0]) if sizes[0] == 224 else None
            rows.append(
                (
                    w.model,
                    f"{w.size[0]}",
                    f"{w.window or '-'}",
                    w.dtype,
                    row.name,
                    f"{speed:.2f}",
                    row.speedup.text(),
                    f"{speed / first:.2f}",
                    "-" if published is None else f"{published:.2f}",
                )
            )
        rows += [
            (w.model, f"{w.size[0]}", "-", w.dtype, name, f"left out: {why}", "-", "-", "-")
            for name, why in comparison.missing.items()
        ]
    columns = (
        "model",
        "size",
        "window",
        "dtype",
        "candidate",
        "pictures/s",
        f"over {found[0].baseline}",
        f"over {sizes[0]} pixels",
        "in the paper (V100)",
    )
    print_table(columns, rows, title="Table 8")
    draw_comparisons(args.out / "table8.png", found)
    written(args, "table8", [comparison_data(comparison) for comparison in found], device)
    return 0


def linear(args: BenchArgs, device: "torch.device") -> int:
    """Time and memory over the picture's area, with the fitted exponents."""
    import torch

    from swinkit.bench import linear as growth
    from swinkit.bench.figures import draw_growth

    models = _known(args.model) or ["swin_tiny_patch4_window7_224"]
    sizes = [_square(size) for size in parse_sizes(args.size)] or list(growth.SIZES)
    if len(set(sizes)) < 2:
        raise InputError(f"an exponent needs two sizes or more; got --size {' '.join(args.size)}.")
    points, missing = growth.growth(
        [*models, f"timm:{growth.VIT}"],
        sizes,
        rounds=args.turns(3),
        dtype=args.dtype[0],
        device=device,
        threads=torch.get_num_threads(),
        say=say,
    )
    rows, data = [], []
    seconds: dict[str, dict[int, float]] = {}
    memory: dict[str, dict[int, float]] = {}
    for model, own in growth.by_model(points).items():
        times = {point.size: point.best for point in own}
        peaks = {point.size: point.peak / 2**20 for point in own}
        fits = [growth.exponent(values) if len(values) > 1 else None for values in (times, peaks)]
        texts = ["-" if fit is None else f"{fit:.3f}" for fit in fits]
        seconds[f"{model}: area^{texts[0]}"] = times
        memory[f"{model}: area^{texts[1]}"] = peaks
        rows += [
            (model, str(point.size), f"{point.best:.3f}", f"{point.peak / 2**20:.0f}", "", "")
            for point in own
        ]
        span = f"{min(times)} to {max(times)}"
        rows.append((model, span, "", "", *texts))
        data.append(
            {
                "model": model,
                "exponent_of_time": fits[0],
                "exponent_of_memory": fits[1],
                "points": [asdict(point) for point in own],
            }
        )
    rows += [(name, f"left out: {why}", "", "", "", "") for name, why in missing.items()]
    columns = ("model", "size", "seconds (least)", "peak MiB", "exponent of time", "of memory")
    print_table(columns, rows, title="Cost over picture area, batch 1")
    draw_growth(args.out / "linear.png", seconds, memory)
    written(args, "linear", {"models": data, "left_out": missing}, device)
    return 0


def _known(models: tuple[str, ...]) -> list[str]:
    from swinkit.bench.workload import MODELS

    for model in models:
        if model not in MODELS:
            raise InputError(f"unknown model {model!r}: choose one of {', '.join(MODELS)}.")
    return list(models)


def _square(size: tuple[int, int]) -> int:
    if size[0] != size[1]:
        raise InputError(f"this table is about square pictures; got --size {size[0]}x{size[1]}.")
    return size[0]
