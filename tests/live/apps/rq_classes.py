"""Classes of a user's own, which override what jobmon hooks."""

from __future__ import annotations

import inspect
import marshal
from typing import Any

import jobmon

jobmon.instrument()

from rq import worker  # noqa: E402
from rq.job import Job  # noqa: E402
from rq.queue import Queue  # noqa: E402
from rq.worker import SimpleWorker, Worker  # noqa: E402


class OwnSerializer:
    """Of nothing but builtin types."""

    @staticmethod
    def dumps(*values: Any) -> bytes:
        return marshal.dumps(values)

    @staticmethod
    def loads(text: bytes) -> Any:
        (value,) = marshal.loads(text)
        return value


class OwnJob(Job):
    def to_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**super().to_dict(*args, **kwargs), "own": "1"}

    def restore(self, raw_data: Any) -> Any:
        assert raw_data[b"own"] == b"1"
        return super().restore(raw_data)


class OwnQueue(Queue):
    job_class = OwnJob

    def _enqueue_job(self, *args: Any, **kwargs: Any) -> Any:
        return super()._enqueue_job(*args, **kwargs)


class OwnWorker(Worker):
    job_class = OwnJob
    queue_class = OwnQueue

    def perform_job(self, *args: Any, **kwargs: Any) -> Any:
        return super().perform_job(*args, **kwargs)

    def handle_job_failure(self, *args: Any, **kwargs: Any) -> Any:
        return super().handle_job_failure(*args, **kwargs)

    def execute_job(self, *args: Any, **kwargs: Any) -> Any:
        return super().execute_job(*args, **kwargs)


class ImpatientWorker(Worker):
    """Kills a hung horse after two seconds. RQ waits for a minute more than the time limit."""

    def monitor_work_horse(self, job: Job, *args: Any, **kwargs: Any) -> None:
        self.job_monitoring_interval = 1
        job.timeout = -58
        super().monitor_work_horse(job, *args, **kwargs)


def copied(kind: type, *methods: str) -> dict[str, Any]:
    """RQ's own code under a user's name: an override that calls nothing of what it overrides."""
    return {name: inspect.unwrap(getattr(kind, name)) for name in methods if hasattr(kind, name)}


JOB = copied(Job, "to_dict", "restore", "cancel", "delete", "register_dependency")
QUEUE = copied(Queue, "_enqueue_job", "schedule_job")
WORKER = ("work", "execute_job", "perform_job", "handle_job_failure", "handle_job_retry")

CopiedJob = type("CopiedJob", (Job,), JOB)
CopiedQueue = type("CopiedQueue", (Queue,), {"job_class": CopiedJob, **QUEUE})
COPIED = {"job_class": CopiedJob, "queue_class": CopiedQueue}
CopiedWorker = type(
    "CopiedWorker",
    (Worker,),
    {**COPIED, **copied(Worker, *WORKER, "wait_for_horse", "handle_work_horse_killed")},
)
CopiedSimpleWorker = type(
    "CopiedSimpleWorker", (SimpleWorker,), COPIED | copied(SimpleWorker, *WORKER)
)
if hasattr(worker, "SpawnWorker"):  # new in RQ 2.2
    CopiedSpawnWorker = type(
        "CopiedSpawnWorker",
        (worker.SpawnWorker,),
        COPIED | copied(worker.SpawnWorker, *WORKER, "fork_work_horse"),
    )
