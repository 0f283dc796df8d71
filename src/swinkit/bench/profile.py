"""Where the time of a candidate goes, for rows that miss their bar."""

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from swinkit.bench.compare import prepare
from swinkit.bench.timing import synchronise
from swinkit.bench.workload import Workload

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
    """`operators` of candidates on a workload, one table under the other.

    A call that another runtime does shows as little but its inputs and outputs here.
    """
    device = torch.device(workload.device)
    texts = []
    for name in names:
        call, _ = prepare(name, workload, workload.build(), None)
        texts.append(f"{name}, {workload.label}, {CALLS} calls\n{operators(call, device)}")
    return "\n".join(texts)
