"""What RQ runs for the hosts of the fault tests."""

from __future__ import annotations

import sys
from typing import Any

import rq
from rq import Retry

seen: list[str] = []


def add(one: int, other: int) -> int:
    return one + other


def fail() -> None:
    raise ValueError("the job's own")


def leave(code: int) -> None:
    sys.exit(code)


def once_more() -> Any:
    job = rq.get_current_job()
    assert job is not None
    if job.retries_left:
        raise ValueError("once more")
    return "at last"


def retried() -> Any:
    job = rq.get_current_job()
    assert job is not None
    return Retry(max=1) if not job.number_of_retries else "returned at last"


def publish() -> str:
    job = rq.get_current_job()
    assert job is not None
    queue = rq.Queue("work", connection=job.connection)
    return str(queue.enqueue(add, 20, 2, job_id="published_by_a_job").id)


def noted(*_: Any) -> None:
    seen.append("success")
