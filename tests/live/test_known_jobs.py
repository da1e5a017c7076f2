"""A Celery worker tells which jobs it knows: they have series before they run."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobmon.settings import Settings
from jobmon.store.reader import Reader
from tests.conftest import RedisServer
from tests.live.celery_fixtures import celery_worker, wait_for

pytestmark = pytest.mark.live


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_each_task_of_the_application_is_known_with_the_queue_it_goes_to(
    pool: str, store: RedisServer, tmp_path: Path
) -> None:
    every = {"JOB_MONITOR_BEATS_INTERVAL_SECONDS": "0.2"}
    with (
        celery_worker(store, tmp_path, pool=pool, app="tests.live.apps.routed_app", **every),
        store.client() as client,
    ):
        reader = Reader(client, Settings())
        known = wait_for(lambda: reader.totals().known_jobs, "told")
        # It consumes what it did before.
        (worker,) = reader.workers()
    assert known == [
        ("celery", "celery", "routed.nowhere"),
        ("celery", "celery", "routed.plain"),
        ("celery", "mail", "routed.mail.send"),
        ("celery", "own", "routed.own"),
    ]
    assert worker.queues == ("celery",)


def test_a_router_of_ones_own_is_not_asked_while_a_worker_beats(
    store: RedisServer, tmp_path: Path
) -> None:
    every = {"JOB_MONITOR_BEATS_INTERVAL_SECONDS": "0.2", "SLOW_ROUTER": "1"}
    with (
        celery_worker(store, tmp_path, app="tests.live.apps.routed_app", **every),
        store.client() as client,
    ):
        reader = Reader(client, Settings())
        known = wait_for(lambda: reader.totals().known_jobs, "told")
    # It might send the plain one anywhere.
    assert known == [
        ("celery", "celery", "routed.nowhere"),
        ("celery", "mail", "routed.mail.send"),
        ("celery", "own", "routed.own"),
    ]
