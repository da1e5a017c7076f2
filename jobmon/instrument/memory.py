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
_RESET_PEAK: Final = b"5"
_UNIT_BYTES: Final = 1 if sys.platform == "darwin" else 1024


class PeakMemory:
    """Largest resident set between :meth:`start` and :meth:`stop`, for about 5 µs.

    Linux: writing 5 to ``clear_refs`` sets the peak back to what is resident now, in
    ``getrusage`` too, and needs no privilege on oneself. The file is opened each time: a kept
    descriptor would mean the parent after a fork, and anything at all after the host closed it.
    """

    __slots__ = ("_pid", "lifetime")

    def __init__(self) -> None:
        self.lifetime = False
        """Whether the peak could not be reset, so that it is the process's own since its start."""
        self._pid = 0

    def start(self) -> None:
        """Forget earlier peaks."""
        self._pid = os.getpid()
        self.lifetime = not _reset()

    def stop(self) -> int:
        """Peak in bytes; 0 where it is unknown or another process asks."""
        if resource is None or self._pid != os.getpid():
            return 0
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT_BYTES


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
