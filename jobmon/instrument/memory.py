"""Peak memory of one job, where one job at a time runs in the process."""

from __future__ import annotations

import os
import sys
from typing import Final

try:
    import resource
except ImportError:  # Windows
    resource = None

_CLEAR_REFS: Final = "/proc/self/clear_refs"
_STATUS: Final = "/proc/self/status"
_PEAK: Final = b"VmHWM:"
_RESET_PEAK: Final = b"5"
_SIZES: Final = "/proc/self/statm"
MAXRSS_BYTES: Final = 1 if sys.platform == "darwin" else 1024
"""Unit of ``ru_maxrss``."""
_STARTED_AS: Final = os.getpid()
_MARGIN_BYTES: Final = 1024 * 1024

_inherits_peak: bool | None = None
"""Whether this program's ``ru_maxrss`` is that of the process that started it, None unknown."""


class PeakMemory:
    """Largest resident set between :meth:`start` and :meth:`stop`, for about 5 µs.

    Linux: writing 5 to ``clear_refs`` sets the peak back to what is resident now, in
    ``getrusage`` too, and needs no privilege on oneself. The file is opened each time: a kept
    descriptor would mean the parent after a fork, and anything at all after the host closed it.

    What was started by a large process keeps that one's peak as the floor of ``getrusage``: the
    kernel carries it over ``execve``, not over ``fork``. There ``status`` is read, for 20 µs.
    """

    __slots__ = ("_pid", "lifetime")

    def __init__(self) -> None:
        self.lifetime = False
        """Whether the peak could not be reset, so that it is the process's own since its start."""
        self._pid = 0

    @classmethod
    def since_fork(cls) -> PeakMemory:
        """That of a process forked for one job: the kernel begins a new count at the fork."""
        peak = cls()
        peak._pid = os.getpid()
        return peak

    def start(self) -> None:
        """Forget earlier peaks."""
        global _inherits_peak
        self._pid = os.getpid()
        self.lifetime = not _reset()
        if _inherits_peak is None and self._pid == _STARTED_AS and not self.lifetime:
            own = _from_status()
            _inherits_peak = 0 < own < _from_usage() - _MARGIN_BYTES

    def stop(self) -> int:
        """Peak in bytes; 0 where it is unknown or another process asks."""
        if self._pid != os.getpid():
            return 0
        if _inherits_peak and self._pid == _STARTED_AS:
            return _from_status() or _from_usage()
        return _from_usage()


def resident_bytes() -> int:
    """What this process holds in memory now; 0 where that is unknown."""
    try:
        with open(_SIZES, "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _from_usage() -> int:
    if resource is None:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES


def _from_status() -> int:
    try:
        with open(_STATUS, "rb") as file:
            found = next((line for line in file if line.startswith(_PEAK)), b"")
        return int(found.split()[1]) * 1024
    except (OSError, IndexError, ValueError):
        return 0


def _reset() -> bool:
    try:
        file = os.open(_CLEAR_REFS, os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(file, _RESET_PEAK)
    except OSError:
        return False
    finally:
        os.close(file)
    return True
