"""The demo's RQ worker. One line instruments it: ``jobmon.instrument()``."""

from __future__ import annotations

import jobmon

jobmon.instrument()

from rq import Worker  # noqa: E402

# What jobs import, imported once here instead of in every work horse.
from jobmon.demo import celery_app, rq_jobs  # noqa: E402, F401


def main() -> None:
    """Work until told to stop."""
    queue = rq_jobs.queue()
    Worker([queue], connection=queue.connection).work(logging_level="WARNING")


if __name__ == "__main__":
    main()
