"""What the demo's runs amount to: the tree of runs and jobs, and whether all are accounted for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jobmon.model import Status
from jobmon.store.reader import Reader, RunCounters

_ENDED = frozenset({Status.COMPLETED, Status.FAILED})
_TIMED = frozenset({Status.COMPLETED, Status.FAILED, Status.RETRYING})
"""Whose execution time counts."""
_ROUNDING_SECONDS = 1e-6
"""A record's time is rounded, the counted one cut."""


@dataclass(slots=True)
class Branch:
    """All jobs of one class that the same chain of classes led to."""

    name: str
    engine: str = ""
    ended: dict[str, int] = field(default_factory=dict[str, int])
    attempts: int = 0
    execution_seconds: float = 0.0
    queue_seconds: float = 0.0
    children: dict[str, Branch] = field(default_factory=dict[str, "Branch"])

    @property
    def jobs(self) -> int:
        """Number of jobs."""
        return sum(self.ended.values())

    def add(self, record: Mapping[str, Any]) -> None:
        """Count one job record."""
        status = str(record["status"])
        self.engine = str(record["engine"])
        self.ended[status] = self.ended.get(status, 0) + 1
        self.attempts += int(record["attempt"])
        self.execution_seconds += float(record.get("execution_time", 0.0))
        self.queue_seconds += float(record.get("queue_time", 0.0))


@dataclass(slots=True)
class Finding:
    """One run beside what its command said it would lead to."""

    command: str
    process_id: str
    expected_jobs: int
    records: dict[str, dict[str, Any]]
    earlier: list[dict[str, Any]]
    """Records of earlier attempts."""
    counters: RunCounters | None

    @property
    def open_jobs(self) -> int:
        """Jobs that have not ended yet, those not seen yet included."""
        ended = sum(record["status"] in _ENDED for record in self.records.values())
        return self.expected_jobs - ended

    def problems(self) -> list[str]:
        """What does not add up; empty when every job is accounted for."""
        found: list[str] = []
        seen = len(self.records)
        if seen != self.expected_jobs:
            found.append(f"{seen} jobs recorded, {self.expected_jobs} published")
        by_status = self.root().total_by_status()
        found.extend(
            f"{by_status[status]} jobs still {status}" for status in sorted(set(by_status) - _ENDED)
        )
        for name, number in self._recount(by_status).items():
            counted = getattr(self.counters, name, None)
            rounding = _ROUNDING_SECONDS * seen if name == "total_job_time" else 0
            if counted is None or abs(counted - number) > rounding:
                found.append(f"{name} is {counted}, the records say {number}")
        return found

    def _recount(self, by_status: Mapping[str, int]) -> dict[str, float]:
        """The run's counters, from records alone."""
        records = self.records.values()
        return {
            "job_count": len(records),
            "success_jobs": by_status.get(Status.COMPLETED, 0),
            "failed_jobs": by_status.get(Status.FAILED, 0) + by_status.get(Status.LOST, 0),
            "revoked_jobs": by_status.get(Status.REVOKED, 0),
            "lost_jobs": by_status.get(Status.LOST, 0),
            "retried_jobs": sum(record["attempt"] > 1 for record in records),
            "total_job_time": sum(
                record.get("execution_time", 0.0)
                for record in records
                if record["status"] in _TIMED
            ),
            "peak_memory": max(
                (record.get("memory_usage", 0) for record in (*records, *self.earlier)), default=0
            ),
        }

    def root(self) -> _Root:
        """The run's jobs, grouped by class along the chain that led to them."""
        root = _Root(self.command)
        for job_id in self.records:
            branch: Branch = root
            for name, _ in _chain(job_id, self.records):
                branch = branch.children.setdefault(name, Branch(name))
            branch.add(self.records[job_id])
        return root


class _Root(Branch):
    """The run itself: no job of its own."""

    def total_by_status(self) -> dict[str, int]:
        """Jobs of the whole tree by status."""
        total: dict[str, int] = {}
        for branch in _walk(self):
            for status, number in branch.ended.items():
                total[status] = total.get(status, 0) + number
        return total


def find(reader: Reader, command: str, process_id: str, expected_jobs: int) -> Finding:
    """Read one run as it stands in the store."""
    page = reader.jobs_of_run(process_id)
    records = {job_id: json.loads(raw) for job_id, raw in page.jobs}
    earlier = [
        json.loads(raw)
        for job_id, record in records.items()
        if record["attempt"] > 1
        for raw in reader.attempts(process_id, job_id)
    ]
    counters = reader.run_counters(process_id, command)
    return Finding(command, process_id, expected_jobs, records, earlier, counters)


def lines(finding: Finding, seconds: float | None, exit_code: int | None) -> Iterable[str]:
    """The tree of one run as text, a line per class of jobs."""
    end = f"exit {exit_code}" if exit_code is not None else "running"
    took = f", {seconds:.2f} s" if seconds is not None else ""
    yield f"{finding.command}  {finding.process_id}  {end}{took}"
    yield from _branch_lines(finding.root(), "")


def _branch_lines(branch: Branch, indent: str) -> Iterable[str]:
    children = list(branch.children.values())
    for number, child in enumerate(children):
        last = number == len(children) - 1
        statuses = ", ".join(f"{count} {status}" for status, count in sorted(child.ended.items()))
        again = child.attempts - child.jobs
        retried = f", {again} retried" if again else ""
        mean = 1000 / max(1, child.jobs)
        yield (
            f"{indent}{'└─' if last else '├─'} {child.name} [{child.engine}] x{child.jobs}: "
            f"{statuses}{retried}; mean {child.execution_seconds * mean:.1f} ms run, "
            f"{child.queue_seconds * mean:.0f} ms queued"
        )
        yield from _branch_lines(child, indent + ("   " if last else "│  "))


def _chain(job_id: str, records: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Classes and ids from the job nearest to the command down to this one."""
    chain: list[tuple[str, str]] = []
    seen: set[str] = set()
    while job_id in records and job_id not in seen:
        seen.add(job_id)
        chain.append((str(records[job_id]["class"]), job_id))
        job_id = str(records[job_id].get("parent_id", ""))
    return chain[::-1]


def _walk(branch: Branch) -> Iterable[Branch]:
    yield branch
    for child in branch.children.values():
        yield from _walk(child)
