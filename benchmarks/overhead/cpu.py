"""CPU time of whole process trees, from ``/proc``."""

from __future__ import annotations

import os
from typing import Final

_SECONDS_PER_TICK: Final = 1.0 / os.sysconf("SC_CLK_TCK")


def tree_seconds(root: int) -> float:
    """CPU that a process and all that it ever forked have used.

    A process counts its own time and that of the children it has waited for (which bring along
    theirs); living descendants count themselves. So each is counted once, unless one ends while
    this reads: call it when the tree is quiet. Exact to a tick (10 ms) per living process.
    """
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
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
        ticks[pid] = sum(int(field) for field in fields[11:15])
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        total += ticks.get(pid, 0)
        waiting += children.get(pid, [])
    return total * _SECONDS_PER_TICK
