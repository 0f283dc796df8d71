"""Where the time of a candidate goes, for rows that miss their bar."""

from collections.abc import Callable, Sequence

import torch
from torch.profiler import ProfilerActivity, profile

from swinkit.bench.compare import prepare
from swinkit.bench.engines import Noted
from swinkit.bench.timing import synchronise, threads
from swinkit.bench.workload import Workload
from swinkit.deploy.openvino_network import Counts, counting, median_counts, summed

ROWS = 15
CALLS = 3


def operators(call: Callable[[], object], device: torch.device) -> str:
    """A table of the operators that took most of `CALLS` calls, each without what it called."""
    activities = [ProfilerActivity.CPU]
    order = "self_cpu_time_total"
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
        order = "self_device_time_total"
    call()
    synchronise(device)
    with profile(activities=activities) as found:
        for _ in range(CALLS):
            call()
        synchronise(device)
    return found.key_averages().table(sort_by=order, row_limit=ROWS, max_name_column_width=60)


def candidates(names: tuple[str, ...], workload: Workload) -> str:
    """Where the time of candidates goes on a workload, one table under the other.

    What OpenVINO runs is shown by kind of node, from its own counters, all else by `operators`. A call that
    yet another runtime does shows as little but its inputs and outputs.
    """
    device = torch.device(workload.device)
    texts = []
    for name in names:
        with threads(workload.threads), counting() as runs:
            call, _ = prepare(name, workload, workload.build(), None)
            note = f" ({call.note})" if isinstance(call, Noted) else ""
            calls = []
            for _ in range(CALLS):
                runs.clear()
                call()
                calls.append(summed(runs))
        with threads(workload.threads):
            table = nodes(calls) if any(calls) else operators(call, device)
        texts.append(f"{name}{note}, {workload.label}, {CALLS} calls\n{table}")
    return "\n".join(texts)


def nodes(calls: Sequence[Counts]) -> str:
    """A table of the kinds of OpenVINO's nodes, the median of some calls."""
    kinds = median_counts(calls)
    total = sum(kinds.values())
    lines = [f"{kind:<24}{value:10.3f} ms{value / total:8.1%}" for kind, value in kinds.items()]
    return "\n".join(
        ["OpenVINO's counters, a call:", *lines, f"{'all kinds, while counted':<24}{total:10.3f} ms", ""]
    )
