"""Measurements as figures."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from swinkit.bench.compare import Comparison, Row
from swinkit.bench.timing import Spread
from swinkit.viz.style import INK, LINE, MUTED, PALETTE, new_figure, save, style_axes

OURS = PALETTE[0]
THEIRS = PALETTE[8]


def draw_comparisons(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Write bars of speed-up for one workload, or lines over batch or size for a sweep."""
    comparisons = [found for found in comparisons if found.rows]
    if not comparisons:
        return
    if len(comparisons) == 1:
        save(_bars(comparisons[0]), path)
        return
    save(_sweep(comparisons), path)


def _bars(comparison: Comparison) -> Figure:
    figure = new_figure(8, 1.4 + 0.36 * len(comparison.rows))
    axes = figure.subplots()
    style_axes(axes, title=comparison.workload.label, x=f"times as fast as {comparison.baseline}", grid=False)
    for place, row in enumerate(reversed(comparison.rows)):
        spread = row.speedup
        ours = row.name.startswith("swinkit")
        axes.barh(place, spread.median, color=OURS if ours else THEIRS, height=0.62)
        axes.plot([spread.lower, spread.upper], [place, place], color=INK, linewidth=1)
        axes.annotate(
            f"{spread.median:.2f}",
            (max(spread.median, spread.upper), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
        )
    axes.set_yticks(range(len(comparison.rows)), [row.name for row in reversed(comparison.rows)])
    axes.axvline(1, color=MUTED, linewidth=0.8, linestyle="--")
    axes.margins(x=0.12)
    return figure


def _sweep(comparisons: Sequence[Comparison]) -> Figure:
    """Pictures a second of every candidate, over the batch for each size or over the size for each batch."""
    sizes = sorted({found.workload.size for found in comparisons})
    over_size = len(sizes) > 1 and len({found.workload.batch for found in comparisons}) == 1
    groups: dict[tuple[object, ...], list[Comparison]] = {}
    for found in comparisons:
        w = found.workload
        key = (w.model, w.dtype, w.step, w.batch if over_size else w.size)
        groups.setdefault(key, []).append(found)
    figure = new_figure(5.2 * len(groups), 3.8)
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, group in zip(panels, groups.values(), strict=True):
        w = group[0].workload
        fixed = f"batch {w.batch}" if over_size else f"{w.size[0]}x{w.size[1]}"
        style_axes(
            axes,
            title=f"{w.model}, {w.step}, {w.dtype}, {fixed}",
            x="picture side, pixels" if over_size else "batch",
            y="pictures a second",
        )
        _lines(axes, group, over_size)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=7)
    return figure


def _lines(axes: Axes, group: Sequence[Comparison], over_size: bool) -> None:
    names = list(dict.fromkeys(row.name for found in group for row in found.rows))
    for place, name in enumerate(names):
        points: list[tuple[float, float]] = []
        for found in group:
            rows: list[Row] = [row for row in found.rows if row.name == name]
            at = math.sqrt(found.workload.size[0] * found.workload.size[1])
            points += [
                (at if over_size else found.workload.batch, found.workload.batch / row.median) for row in rows
            ]
        solid = name.startswith("swinkit")
        axes.plot(
            *zip(*sorted(points), strict=True),
            label=name,
            color=PALETTE[place % len(PALETTE)],
            linestyle="-" if solid else "--",
            marker="o",
            markersize=3,
            linewidth=1.4,
        )


def draw_bars_by_stage(path: Path, title: str, groups: Mapping[str, Mapping[str, Spread]]) -> None:
    """Write grouped bars: group (a stage) -> series (a peer) -> how many times as fast we are."""
    series = list(dict.fromkeys(name for group in groups.values() for name in group))
    figure = new_figure(max(6.0, 1.1 * len(groups)), 3.6)
    axes = style_axes(figure.subplots(), title=title, y="times as fast", grid=False)
    width = 0.8 / max(len(series), 1)
    for index, name in enumerate(series):
        for place, group in enumerate(groups.values()):
            if name not in group:
                continue
            spread, at = group[name], place + (index - (len(series) - 1) / 2) * width
            label = name if not any(line.get_label() == name for line in axes.containers) else None
            axes.bar(at, spread.median, width, color=PALETTE[index], label=label)
            axes.plot([at, at], [spread.lower, spread.upper], color=INK, linewidth=1)
    axes.set_xticks(range(len(groups)), list(groups), fontsize=7)
    axes.axhline(1, color=MUTED, linewidth=0.8, linestyle="--")
    axes.legend(frameon=False, fontsize=7)
    save(figure, path)


def draw_growth(
    path: Path, seconds: Mapping[str, Mapping[int, float]], memory: Mapping[str, Mapping[int, float]]
) -> None:
    """Write time and memory over the picture's side, both axes logarithmic.

    Args:
        path: picture to write.
        seconds: "model, exponent" -> side in pixels -> seconds.
        memory: the same -> MiB.
    """
    figure = new_figure(10, 4)
    for axes, data, label in zip(
        figure.subplots(1, 2), (seconds, memory), ("seconds a picture", "peak MiB"), strict=True
    ):
        style_axes(axes, title=label, x="picture side, pixels")
        for index, (name, points) in enumerate(data.items()):
            axes.loglog(
                list(points),
                list(points.values()),
                label=name,
                color=PALETTE[index],
                marker="o",
                markersize=3.5,
                linewidth=1.4,
            )
        sides = sorted({side for points in data.values() for side in points})
        axes.set_xticks(sides, [str(side) for side in sides], fontsize=7)
        axes.minorticks_off()
        axes.grid(visible=True, color=LINE, linewidth=0.6)
        if data:
            axes.legend(frameon=False, fontsize=8)
    save(figure, path)
