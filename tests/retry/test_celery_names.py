"""Messages pushed onto a Redis broker whose keys Celery was told to name otherwise."""

from __future__ import annotations

import uuid
from typing import Any

import kombu
import pytest

from jobmon.instrument.context import JobContext
from jobmon.retry.celery import CeleryQueue
from jobmon.retry.message import CeleryMessage, read
from jobmon.settings import load
from tests.conftest import RedisServer
from tests.retry.failing import celery_message

OPTIONS = {"global_keyprefix": "shop:", "sep": ":", "priority_steps": [0, 5]}


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["defaults", "own names"])
def test_a_message_goes_where_celery_looks_for_it_and_is_found_there(
    store: RedisServer, options: dict[str, Any]
) -> None:
    url = f"redis://127.0.0.1:{store.port}/1"
    given = {f"celery.{name}": value for name, value in options.items()}
    queue = CeleryQueue(load({"celery.broker_url": url, **given}, environ={}).celery)
    own = JobContext(str(uuid.uuid4()), "p", "data:process", attempt=2, queue="jobs")
    message = read(celery_message(own, "jobs", properties={"priority": 7}))
    assert isinstance(message, CeleryMessage)
    assert queue.holds(message, own, "1") is False
    queue.push(message, own, "1")
    assert queue.holds(message, own, "1") is True
    with store.client(db=1) as client:
        expected = b"shop:jobs:5" if options else b"jobs\x06\x166"
        assert list(client.scan_iter()) == [expected]
    with kombu.Connection(url, transport_options=options) as connection:
        received = connection.channel().basic_get("jobs")
        assert received is not None
        assert received.headers["id"] == own.job_id
        # It is in a consumer's hands now.
        assert queue.holds(message, own, "1") is True
        received.ack()
    assert queue.holds(message, own, "1") is False
    queue.close()
