"""The server that leads reads brokers: whatever they do, it goes on, and ends in time."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rq import Queue

from jobmon.errors import Unavailable
from jobmon.history.copying import LeaseLostError
from jobmon.model import Beat
from jobmon.queues.broker import Broker, brokers
from jobmon.server import polling
from jobmon.server.polling import Polling
from jobmon.settings import load
from jobmon.store import connection
from jobmon.store.beats import Beats
from jobmon.store.keys import LEADER
from jobmon.store.lease import Lease
from jobmon.store.queues import QueueDepths
from jobmon.store.reader import Reader
from tests.conftest import RedisServer
from tests.databases import made
from tests.live.celery_fixtures import Producer, wait_for
from tests.serving import Recorded, Served, until

pytestmark = pytest.mark.live

FAST = {"QUEUES_POLL_SECONDS": "0.2"}


def celery_broker(store: RedisServer) -> str:
    return f"redis://127.0.0.1:{store.port}/1"


def waiting(recorded: Recorded, engine: str) -> dict[str, int]:
    with recorded.client() as client:
        depths = Reader(client, recorded.settings).totals().queues.depths
    return {one.queue: one.jobs["waiting"] for one in depths if one.engine == engine}


def errors(recorded: Recorded) -> int:
    with recorded.client() as client:
        return Reader(client, recorded.settings).totals().queue_errors.get("celery", 0)


def leader(recorded: Recorded) -> int | None:
    with recorded.client() as client:
        holder = Reader(client, recorded.settings).sync_state().holders[LEADER]
    return None if holder is None else holder.pid


def enqueue(store: RedisServer, name: str = "mail") -> None:
    with store.client() as client:
        Queue(name, connection=client).enqueue("builtins.abs", 1)


@contextmanager
def silent() -> Iterator[int]:
    """A port at which everybody is heard and nobody answered."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_scrape_shows_what_was_polled_and_asks_no_broker(
    recorded: Recorded, store: RedisServer, own_redis_server: RedisServer, tmp_path: Path
) -> None:
    producer = Producer(own_redis_server)
    producer.command("for n in range(3): add.delay(n)")
    producer.close()
    recorded.run().jobs(1, queue="celery")
    with (
        made("sqlite", tmp_path) as one,
        Served(
            store.url,
            DATABASE_URL=one.url,
            CELERY_BROKER_URL=celery_broker(own_redis_server),
            QUEUES_POLL_SECONDS="5",
        ) as server,
    ):
        until(lambda: waiting(recorded, "celery") == {"celery": 3})
        own_redis_server.stop()
        page = server.client.get("/metrics").text
        labels = 'app="default",engine="celery",queue="celery"'
        assert f'jobmon_queue_jobs{{{labels},state="waiting"}} 3.0' in page
        assert f"jobmon_queue_oldest_job_timestamp_seconds{{{labels}}} " in page
        assert 'jobmon_queue_polled_timestamp_seconds{app="default",engine="celery"}' in page
        # Nobody has seen RQ here.
        assert 'jobmon_queue_polled_timestamp_seconds{app="default",engine="rq"}' not in page


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_silent_holds_up_neither_the_other_nor_the_end(
    scheme: str, recorded: Recorded, store: RedisServer, tmp_path: Path
) -> None:
    recorded.run().jobs(1, queue="mail", engine="rq")
    with (
        made("sqlite", tmp_path) as one,
        silent() as port,
        Served(
            store.url,
            "--no-http",
            DATABASE_URL=one.url,
            CELERY_BROKER_URL=f"{scheme}://user:secret@127.0.0.1:{port}//",
            **FAST,
        ) as server,
    ):
        for count in (1, 2):
            enqueue(store)
            until(lambda count=count: waiting(recorded, "rq") == {"mail": count})
        until(lambda: errors(recorded) >= 2, 30)
        enqueue(store)
        until(lambda: waiting(recorded, "rq") == {"mail": 3})
        began = time.monotonic()
        assert server.stop() == 143
        assert time.monotonic() - began < 5
    assert server.log_at_end.count("the depth of queues is not known: celery's broker: ") == 1
    assert "secret" not in server.log_at_end
    assert "Traceback" not in server.log_at_end


def test_a_broker_that_comes_back_is_read_again_and_what_was_old_has_vanished(
    recorded: Recorded, store: RedisServer, own_redis_server: RedisServer, tmp_path: Path
) -> None:
    recorded.run().jobs(1, queue="celery")
    with (
        made("sqlite", tmp_path) as one,
        Served(
            store.url,
            "--no-http",
            DATABASE_URL=one.url,
            CELERY_BROKER_URL=celery_broker(own_redis_server),
            **FAST,
        ),
    ):
        until(lambda: waiting(recorded, "celery") == {"celery": 0})
        own_redis_server.stop()
        until(lambda: waiting(recorded, "celery") == {} and errors(recorded) > 0)
        own_redis_server.start()
        until(lambda: waiting(recorded, "celery") == {"celery": 0})


def test_zero_seconds_poll_nothing(recorded: Recorded, store: RedisServer, tmp_path: Path) -> None:
    recorded.run().jobs(1, queue="celery")
    with (
        made("sqlite", tmp_path) as one,
        Served(
            store.url,
            "--no-http",
            DATABASE_URL=one.url,
            CELERY_BROKER_URL=celery_broker(store),
            QUEUES_POLL_SECONDS="0",
        ) as server,
    ):
        until(lambda: leader(recorded) == server.process.pid)
        threads = Path(f"/proc/{server.process.pid}/task").iterdir()
        assert not [one for one in threads if "queues" in (one / "comm").read_text()]
        assert waiting(recorded, "celery") == {}


@pytest.mark.clock
def test_a_leader_that_was_frozen_overwrites_nothing(
    recorded: Recorded, store: RedisServer, tmp_path: Path
) -> None:
    recorded.run().jobs(1, queue="mail", engine="rq")
    with made("postgresql", tmp_path) as one:
        where = {"DATABASE_URL": one.url, **FAST}
        with Served(store.url, "--no-http", **where) as first:
            until(lambda: leader(recorded) == first.process.pid)
            until(lambda: waiting(recorded, "rq") == {"mail": 0})
            with Served(store.url, "--no-http", **where) as second:
                first.process.send_signal(signal.SIGSTOP)
                try:
                    until(lambda: leader(recorded) == second.process.pid, 30)
                    enqueue(store)
                    until(lambda: waiting(recorded, "rq") == {"mail": 1})
                finally:
                    first.process.send_signal(signal.SIGCONT)
                for _ in range(50):
                    assert waiting(recorded, "rq") == {"mail": 1}
                    time.sleep(0.02)


class Polled:
    """RQ's queues on the store's server, and who may tell of them."""

    def __init__(self, recorded: Recorded, url: str | None = None) -> None:
        given = {"redis.url": recorded.settings.redis.url, "rq.redis_url": url}
        self.settings = load(given, environ={})
        self.client: Any = connection.connect(self.settings)
        self.stop = threading.Event()
        (broker,) = brokers(self.settings, self.client)
        self.broker: Broker = broker
        self.polling = Polling(broker, QueueDepths(self.client, self.settings), self.stop)
        self.lease = Lease(self.client, self.settings)

    def token(self) -> int:
        self.client.delete("jobmon:lease:leader")
        token = self.lease.acquire()
        assert token is not None
        return token

    def close(self) -> None:
        self.broker.close()
        self.client.close()


def test_who_was_overtaken_while_it_read_tells_nothing(
    recorded: Recorded, store: RedisServer
) -> None:
    polled = Polled(recorded, store.url)
    enqueue(store)
    old = polled.token()
    polled.polling.once(old)
    assert waiting(recorded, "rq") == {"mail": 1}
    new = polled.token()
    enqueue(store)
    with pytest.raises(LeaseLostError):
        polled.polling.once(old)
    assert waiting(recorded, "rq") == {"mail": 1}
    polled.polling.once(new)
    assert waiting(recorded, "rq") == {"mail": 2}
    polled.close()


def test_of_an_engine_that_is_no_longer_in_use_it_is_forgotten_when_it_was_read(
    recorded: Recorded,
) -> None:
    polled = Polled(recorded)
    token = polled.token()
    worker = {"engine": "rq", "name": "w", "queues": ["mail"], "slots": 1, "busy": 0}
    beats = Beats(polled.client, polled.settings)
    beats.send([Beat("worker", "w", body=json.dumps(worker).encode())])
    polled.polling.once(token)
    assert polled.client.exists("jobmon:queues:polled:rq")
    beats.send([Beat("worker", "w", gone=True)])
    polled.stop.set()
    polled.polling.once(token)
    assert polled.client.exists("jobmon:queues:polled:rq"), "a stop says nothing of its use"
    polled.stop.clear()
    polled.polling.once(token)
    assert not polled.client.exists("jobmon:queues:polled:rq")
    polled.close()


def test_a_read_that_does_not_end_is_given_up_and_not_begun_again_beside_it(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "LONGEST_SECONDS", 0.2)
    with silent() as port:
        polled = Polled(recorded, f"redis://127.0.0.1:{port}")
        token = polled.token()
        with pytest.raises(Unavailable, match="no answer within"):
            polled.polling.once(token)
        with pytest.raises(Unavailable, match="has not answered yet"):
            polled.polling.once(token)
        assert [one.name for one in threading.enumerate()].count("jobmon-poll-rq") == 1
        assert polled.client.hget("jobmon:totals:recorder", "queue_errors:rq") == b"2"
        polled.stop.set()
        monkeypatch.setattr(polling, "LONGEST_SECONDS", 60.0)
        wait_for(lambda: polled.polling._call.has_ended(), "the end of its wait", 20)  # type: ignore[union-attr]
        began = time.monotonic()
        polled.polling.once(token)  # nobody waits any more
        assert time.monotonic() - began < 1
        assert polled.client.hget("jobmon:totals:recorder", "queue_errors:rq") == b"2"
        polled.close()


def test_an_address_stays_out_of_what_is_said(recorded: Recorded) -> None:
    polled = Polled(recorded, "redis://user:secret@127.0.0.1:1/0")
    with pytest.raises(Unavailable, match=r"^rq's broker: \w+$"):
        polled.polling.once(polled.token())
    polled.close()


def test_each_kind_of_broker_is_chosen_by_its_address(recorded: Recorded) -> None:
    def chosen(**celery: str) -> list[str]:
        settings = load({f"celery.{name}": value for name, value in celery.items()}, environ={})
        found = brokers(settings, None)
        assert [one.engine for one in found] == ["rq", "celery"][: len(found)]
        return [type(one).__name__ for one in found]

    managed = "http://u:p@mq:15672"
    assert chosen() == ["Rq"]
    assert chosen(broker_url="rediss://h", management_url=managed) == ["Rq", "CeleryRedis"]
    assert chosen(broker_url="pyamqp://h") == ["Rq", "RabbitMQ"]
    assert chosen(broker_url="amqps://h", management_url=managed) == ["Rq", "Management"]
