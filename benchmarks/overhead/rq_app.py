"""The RQ queue and worker of every row; run as a module, it works."""

# ruff: noqa: E402
from __future__ import annotations

from benchmarks.overhead import rows

rows.instrument()

import redis
from rq import Queue, Worker

from benchmarks.overhead import gate

queue = Queue("rq", connection=redis.Redis.from_url(gate.url()))
_FUNCTIONS = {"noop": gate.noop, "wait": gate.wait, "report": gate.report}


def publish(name: str) -> None:
    """Publish one job."""
    queue.enqueue(_FUNCTIONS[name])


if __name__ == "__main__":
    Worker([queue], connection=queue.connection).work(logging_level="WARNING")
