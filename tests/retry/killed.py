"""A retry that is killed at a point: ``python -m tests.retry.killed POINT JOB``.

Addresses come from the environment, as settings.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from jobmon import settings as configuration
from jobmon.history import database
from jobmon.retry.celery import CeleryQueue
from jobmon.retry.claims import Claims
from jobmon.retry.retrier import Retrier
from jobmon.retry.rq import RqQueue
from jobmon.store import connection
from jobmon.store.pushes import Pushes
from jobmon.store.writer import Writer

POINTS: dict[str, tuple[tuple[type[Any], str], ...]] = {
    "announced": ((Pushes, "open"),),
    "claimed": ((Claims, "claim"),),
    "said to be pushing": ((Pushes, "begin"),),
    "pushed": ((CeleryQueue, "push"), (RqQueue, "push")),
    "recorded": ((Writer, "apply"),),
    "deleted": ((Claims, "remove"),),
}
"""After which call the process dies."""


def main(point: str, job_id: str) -> None:
    """Retry a job until the point."""
    for owner, name in POINTS[point]:
        setattr(owner, name, _deadly(getattr(owner, name)))
    settings = configuration.load()
    with connection.connect(settings) as client:
        Retrier(client, database.connect(settings), settings).retry(job_id, "ann")


def _deadly(call: Any) -> Any:
    def called(*args: Any, **more: Any) -> Any:
        call(*args, **more)
        os.kill(os.getpid(), signal.SIGKILL)

    return called


if __name__ == "__main__":
    main(*sys.argv[1:])
