"""Jobs that hand over from one engine to the other."""

from __future__ import annotations

import os

from tests.live.apps import celery_app, rq_jobs


@celery_app.app.task
def from_celery(hops: int) -> None:
    rq_jobs.queue.enqueue(from_rq, hops)


def from_rq(hops: int) -> None:
    if hops:
        from_celery.delay(hops - 1)


def asked_for() -> tuple[int, list[str]]:
    """Process id, and the heavy modules that this process tried to load; of them one by itself."""
    import sitecustomize

    try:
        import scipy  # noqa: F401
    except ModuleNotFoundError:
        pass
    return os.getpid(), sitecustomize.asked


celery_asked_for = celery_app.app.task(asked_for)


def fail_with_secrets(**_: str) -> None:
    """Fail with a message that holds some."""
    raise ValueError("login at https://me:s3cr3t-e@host/ failed, password=s3cr3t-f")


celery_fail_with_secrets = celery_app.app.task(fail_with_secrets)
