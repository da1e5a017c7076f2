"""CPU time of whole process trees, from ``/proc`` and the processes' clocks."""

from __future__ import annotations

import os
import time
from typing import Final

_SECONDS_PER_TICK: Final = 1.0 / os.sysconf("SC_CLK_TCK")
_SCHEDULER_CLOCK: Final = 2


def tree_seconds(root: int) -> float:
    """CPU that a process and all that it ever forked have used.

    A process counts its own time, exact to the nanosecond, and that of the children it has
    waited for (which bring along theirs), exact to a tick (10 ms); living descendants count
    themselves. So each is counted once, unless one ends while this reads: call it when the tree
    is quiet.
    """
    children: dict[int, list[int]] = {}
    reaped_ticks: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The command's name, in parentheses, may hold anything.
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        pid = int(name)
        children.setdefault(int(fields[1]), []).append(pid)
        reaped_ticks[pid] = int(fields[13]) + int(fields[14])
    total, waiting = 0.0, [root]
    while waiting:
        pid = waiting.pop()
        total += reaped_ticks.get(pid, 0) * _SECONDS_PER_TICK + _own_seconds(pid)
        waiting += children.get(pid, [])
    return total


def _own_seconds(pid: int) -> float:
    """CPU of all threads of a process, the ended ones too: see ``clock_getcpuclockid(3)``."""
    try:
        return time.clock_gettime(~pid << 3 | _SCHEDULER_CLOCK)
    except OSError:
        return 0.0
