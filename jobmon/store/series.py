"""Series of the aggregates: their labels, how many there may be, and histogram buckets."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

JOB_BUCKETS: Final = (
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0),
)
"""Upper bounds in seconds of the histograms of jobs; a last bucket has none."""
COMMAND_BUCKETS: Final = (
    *(1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0),
    *(7200.0, 14400.0, 43200.0, 86400.0),
)
"""Upper bounds in seconds of the histograms of command runs; a last bucket has none."""

MOST_JOB_NAMES: Final = 500
MOST_QUEUES: Final = 200
MOST_JOB_SERIES: Final = 2_000
"""Sets of engine, queue and job name; beyond, each queue still gets one for all other names."""
MOST_COMMANDS: Final = 500
MOST_ERROR_TYPES_OF_A_JOB: Final = 20
MOST_ERROR_TYPES: Final = 200
LONGEST_LABEL: Final = 128
OTHER: Final = "other"
"""Label value of what came when all places were taken."""

SEPARATOR: Final = "\x1f"
"""Between the labels of a set, in which control characters do not occur, and between a scheduler's
id and an entry's name."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@lru_cache(4096)
def label(text: str) -> bytes:
    """A label value as it is stored: no control characters, at most 128 long."""
    return _CONTROL.sub("", text)[:LONGEST_LABEL].encode("utf-8", "replace")


@lru_cache(4096)
def label_set(engine: str, queue: str, job_name: str) -> bytes:
    """The labels of a job's series in one string."""
    return SEPARATOR.encode().join((label(engine), label(queue), label(job_name)))
