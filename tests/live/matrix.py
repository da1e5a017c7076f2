"""What can happen to a job, as a table: each row is a live test and a line of the docs.

The rows of an engine are in ``celery_matrix.py`` and ``rq_matrix.py``; ``docs/recorded.py`` makes
the page *What is recorded when* of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

COUNTERS = ("job_count", "success_jobs", "failed_jobs", "lost_jobs", "revoked_jobs", "retried_jobs")


@dataclass(frozen=True, slots=True)
class Row:
    """One way in which a job begins, ends or vanishes, and what must be recorded of it."""

    name: str
    """Names the row's scenario in the test, and the test case."""
    happens: str
    """What happens, in the engine's words; a table cell."""
    status: str
    """The record's last status; empty where nothing can be recorded."""
    outcome: str = ""
    attempt: int = 1
    counters: dict[str, int] = field(default_factory=dict[str, int])
    """Run counters; what is not named is 0, but ``job_count``, which is 1."""
    remark: str = ""
    """What a reader must know besides; a table cell."""
    group: str = ""
    """Heading of the rows that belong together on the page."""

    def check(self, record: dict[str, Any], counters: dict[str, str]) -> None:
        """Raise unless a job's record and its run's counters are as the row says."""
        found = (record["status"], record.get("outcome", ""), record["attempt"])
        assert found == (self.status, self.outcome, self.attempt), record
        expected = dict.fromkeys(COUNTERS, 0) | {"job_count": 1} | self.counters
        assert {name: int(counters.get(name, 0)) for name in COUNTERS} == expected
