"""Jobs that hand over from one engine to the other."""

from __future__ import annotations

from tests.live.apps import celery_app, rq_jobs


@celery_app.app.task
def from_celery(hops: int) -> None:
    rq_jobs.queue.enqueue(from_rq, hops)


def from_rq(hops: int) -> None:
    if hops:
        from_celery.delay(hops - 1)
