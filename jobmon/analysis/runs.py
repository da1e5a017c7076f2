"""Runs of one command as columns, as those who judge want them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

ENOUGH_RUNS: Final = 5
"""That a baseline rests on at least."""


class Run(NamedTuple):
    """One finished run. Numbers that are unknown are NaN."""

    started_at: float
    """Unix seconds."""
    work_seconds: float
    """That its jobs ran, added up; of a run without jobs, its own duration. SQL: ``total_time``."""
    duration_seconds: float
    """From its start to its end, on the clock."""
    job_count: float
    failed_jobs: float
    """Lost ones included."""
    peak_memory_bytes: float
    queue_time_seconds: float
    """Mean of its jobs."""


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Finished runs by their start, the oldest first: a column for each field of `Run`."""

    started_at: Floats
    work_seconds: Floats
    duration_seconds: Floats
    job_count: Floats
    failed_jobs: Floats
    peak_memory_bytes: Floats
    queue_time_seconds: Floats

    @classmethod
    def of(cls, rows: Iterable[Run]) -> Runs:
        """In any order; those whose start is unknown are left out."""
        table = np.array([*rows], dtype=np.float64).reshape(-1, len(Run._fields))
        table = table[np.isfinite(table[:, 0])]
        table = table[np.argsort(table[:, 0], kind="stable")]
        return cls(*np.ascontiguousarray(table.T))

    def __len__(self) -> int:
        return len(self.started_at)

    def run(self, at: int) -> Run:
        """That at an index."""
        return Run(*(float(getattr(self, name)[at]) for name in Run._fields))

    def first(self, many: int) -> Runs:
        """The oldest so many."""
        return Runs(*(getattr(self, name)[:many] for name in Run._fields))

    def last(self, many: int) -> Runs:
        """The newest so many."""
        begin = max(0, len(self) - many)
        return Runs(*(getattr(self, name)[begin:] for name in Run._fields))

    def where(self, keep: NDArray[np.bool_]) -> Runs:
        """Those that are marked."""
        return self if keep.all() else Runs(*(getattr(self, name)[keep] for name in Run._fields))
