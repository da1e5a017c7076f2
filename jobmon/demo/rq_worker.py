"""The demo's RQ worker. One line instruments it: ``jobmon.instrument()``."""

from __future__ import annotations

import jobmon

jobmon.instrument()

from rq import Worker  # noqa: E402

from jobmon.demo import rq_jobs, tracing  # noqa: E402

tracing.set_up()


def main() -> None:
    """Work until told to stop."""
    queue = rq_jobs.queue()
    Worker([queue], connection=queue.connection).work(logging_level="WARNING")


if __name__ == "__main__":
    main()
