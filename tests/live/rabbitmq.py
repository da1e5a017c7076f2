"""RabbitMQ for the tests: a server that runs already, and queues of our own.

``JOBMON_TEST_AMQP_URL`` names the server; without it, the one of this machine is taken.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import kombu
import pytest

URL = os.environ.get("JOBMON_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")


class Broker:
    """A RabbitMQ, and names on it that nobody else has."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.mark = f"jobmon-{uuid.uuid4().hex[:12]}"
        self._queues: list[str] = []
        self._exchanges: list[str] = []

    def queue(self, name: str) -> str:
        """Name of a queue, and of an exchange, that are deleted at the end."""
        name = f"{self.mark}-{name}"
        self.delete_later(name)
        return name

    def delete_later(self, *names: str) -> None:
        """Delete queues and exchanges at the end."""
        self._queues += names
        self._exchanges += names

    def delete(self) -> None:
        """Delete all of ours; what is not there is no error."""
        with kombu.Connection(self.url) as connection:
            channel = connection.channel()
            for queue in self._queues:
                channel.queue_delete(queue)
            for exchange in self._exchanges:
                channel.exchange_delete(exchange)


@contextmanager
def rabbitmq() -> Iterator[Broker]:
    """The server; what was declared on it under our names is deleted at the end."""
    try:
        with kombu.Connection(URL, connect_timeout=10) as connection:
            connection.ensure_connection(max_retries=2)
    except (OSError, kombu.exceptions.OperationalError) as error:
        pytest.skip(f"no RabbitMQ: start one, or set JOBMON_TEST_AMQP_URL ({error!r})")
    broker = Broker(URL)
    try:
        yield broker
    finally:
        broker.delete()
