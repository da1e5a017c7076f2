"""The demo's verdict sees whatever does not add up."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from jobmon.demo.report import Finding
from jobmon.store.reader import RunCounters

COUNTERS = RunCounters(
    job_count=3,
    success_jobs=2,
    failed_jobs=1,
    revoked_jobs=0,
    lost_jobs=0,
    retried_jobs=1,
    total_job_time=0.75,
    peak_memory=90,
    finished=True,
    partial=False,
    drained_at=1.0,
)
OTHERS = {"finished", "partial", "drained_at"}
"""Fields that count nothing."""


def record(status: str, attempt: int, memory: int) -> dict[str, Any]:
    """A job's record that took a quarter of a second."""
    return {
        "status": status,
        "attempt": attempt,
        "class": "app.add",
        "engine": "celery",
        "execution_time": 0.25,
        "memory_usage": memory,
    }


FINDING = Finding(
    "data:process",
    "run",
    3,
    {"a": record("completed", 1, 50), "b": record("completed", 2, 40), "c": record("failed", 1, 7)},
    [record("retrying", 1, 90)],
    COUNTERS,
)


def test_a_run_that_adds_up_has_no_problems() -> None:
    assert FINDING.problems() == []


@pytest.mark.parametrize(
    "name", [one.name for one in fields(RunCounters) if one.name not in OTHERS]
)
def test_each_counter_is_compared_with_the_records(name: str) -> None:
    wrong = replace(COUNTERS, **{name: getattr(COUNTERS, name) + 1})
    (problem,) = replace(FINDING, counters=wrong).problems()
    assert problem.startswith(f"{name} is ")


def test_a_millisecond_too_much_is_a_problem() -> None:
    wrong = replace(COUNTERS, total_job_time=COUNTERS.total_job_time + 0.001)
    assert len(replace(FINDING, counters=wrong).problems()) == 1


def test_a_missing_an_open_and_a_lost_job_are_problems() -> None:
    assert replace(FINDING, expected_jobs=4).problems() == ["3 jobs recorded, 4 published"]
    for status in ("pending", "lost"):
        records = {**FINDING.records, "a": record(status, 1, 50)}
        assert f"1 jobs still {status}" in replace(FINDING, records=records).problems()
