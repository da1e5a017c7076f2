"""How much memory the process holds now."""

from __future__ import annotations

import os

try:
    import resource
except ImportError:  # Windows
    resource = None


def resident_bytes() -> int:
    """Resident set in bytes; where the system does not tell, its peak, or 0."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if resource is not None else 0
