"""The demo's RQ worker. One line instruments it: ``jobmon.instrument()``."""

from __future__ import annotations

import jobmon

jobmon.instrument()

from rq import Worker  # noqa: E402

from jobmon.demo import celery_app, rq_jobs  # noqa: E402


def main() -> None:
    """Work until told to stop."""
    celery_app.app.finalize()  # jobs publish with it: made ready here, not in every work horse
    queue = rq_jobs.queue()
    Worker([queue], connection=queue.connection).work(logging_level="WARNING")


if __name__ == "__main__":
    main()
