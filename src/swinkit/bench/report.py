"""What a comparison looks like as table rows and as plain data."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from swinkit.bench.attention import PEERS, SiteResult
from swinkit.bench.compare import Comparison
from swinkit.bench.timing import Spread

Cells = tuple[str, ...]


def comparison_columns(comparison: Comparison) -> Cells:
    """Headings of `comparison_rows`."""
    return (
        "candidate",
        "ms a call",
        "pictures/s",
        f"times as fast as {comparison.baseline or 'the baseline'}",
        "peak MiB",
        "error",
    )


def comparison_rows(comparison: Comparison) -> list[Cells]:
    """One row a candidate, those that did not run with the reason."""
    rows = [
        (
            f"{row.name} ({row.note})" if row.note else row.name,
            Spread.of([1e3 * value for value in row.seconds]).text(1),
            f"{comparison.workload.batch / row.median:.1f}",
            row.speedup.text(),
            "-" if row.memory is None else f"{row.memory / 2**20:.0f}",
            f"{row.error:.0e}",
        )
        for row in comparison.rows
    ]
    return rows + [(name, f"left out: {why}", "-", "-", "-", "-") for name, why in comparison.missing.items()]


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON types."""
    return {
        "workload": asdict(comparison.workload),
        "baseline": comparison.baseline,
        "candidates": [
            {
                "name": row.name,
                "seconds": row.seconds,
                "median_seconds": row.median,
                "pictures_per_second": comparison.workload.batch / row.median,
                "speedup": spread_data(row.speedup),
                "peak_bytes": row.memory,
                "error": row.error,
                "note": row.note,
            }
            for row in comparison.rows
        ],
        "left_out": comparison.missing,
    }


SITE_COLUMNS = ("stage", "dtype", "pass", "ours ms", "ours", *(f"against {name}" for name in PEERS))


def site_row(result: SiteResult) -> Cells:
    """One stage as a row: our fastest, and how many times as fast it is as each peer."""
    cells = []
    for peer in PEERS:
        found = result.against([peer])
        cells.append(result.missing.get(peer, "not asked for") if found is None else found[1].text())
    median = Spread.of(result.seconds[result.ours]).median
    site = result.site
    return (
        f"{site.stage}: {site.map_size[0]}x{site.map_size[1]}, {site.heads} heads",
        result.dtype,
        "forward + backward" if result.backward else "forward",
        f"{1e3 * median:.2f}",
        result.ours.removeprefix("swinkit "),
        *cells,
    )


def site_data(result: SiteResult) -> dict[str, Any]:
    """One stage as JSON types."""
    ratios = {peer: result.against([peer]) for peer in PEERS}
    return {
        **asdict(result),
        "ours": result.ours,
        "speedup": {peer: spread_data(found[1]) for peer, found in ratios.items() if found is not None},
    }


def spread_data(spread: Spread) -> dict[str, float]:
    """A median and its quartiles as JSON types."""
    return asdict(spread)


def left_out_lines(missing: dict[str, str]) -> Sequence[str]:
    """A sentence for each candidate that did not run."""
    return [f"{name} was left out: {why}." for name, why in missing.items()]
