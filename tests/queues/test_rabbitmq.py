"""Depth of Celery's queues on RabbitMQ, by AMQP and by the management API."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import kombu
import pytest

from jobmon.errors import Unavailable
from jobmon.queues import rabbitmq as by_amqp
from jobmon.queues import rabbitmq_management as by_management
from jobmon.queues.rabbitmq import RabbitMQ
from jobmon.queues.rabbitmq_management import Management
from jobmon.settings import load
from jobmon.store.queues import QueueDepth
from tests.conftest import RedisServer
from tests.live.celery_fixtures import Producer, wait_for
from tests.live.rabbitmq import Broker, rabbitmq
from tests.proxy import Proxy

pytestmark = pytest.mark.live

APP = "tests.live.apps.celery_canvas"


@pytest.fixture(scope="module")
def amqp() -> Iterator[Broker]:
    with rabbitmq() as found:
        yield found


@contextmanager
def reading(url: str) -> Iterator[RabbitMQ]:
    found = RabbitMQ(load({"celery.broker_url": url}, environ={}).celery)
    try:
        yield found
    finally:
        found.close()


def waiting(queue: str, count: int) -> QueueDepth:
    return QueueDepth("celery", queue, {"waiting": count})


def published(amqp: Broker, name: str, count: int = 1, **properties: Any) -> str:
    """A queue with messages."""
    queue = amqp.queue(name)
    with kombu.Connection(amqp.url, transport_options={"confirm_publish": True}) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=False)
        with connection.Producer(channel, auto_declare=False) as producer:
            for number in range(count):
                producer.publish([number], routing_key=queue, **properties)
    return queue


def test_what_is_ready_waits_and_a_missing_queue_hides_no_other(
    store: RedisServer, amqp: Broker
) -> None:
    queue, missing, empty = amqp.queue("jobs"), amqp.queue("missing"), published(amqp, "empty", 0)
    conf = {"broker_url": amqp.url, "task_default_queue": queue}
    producer = Producer(store, APP, TEST_CONF=json.dumps(conf))
    producer.command("for n in range(3): add.delay(n)")
    producer.close()
    with reading(amqp.url) as broker:

        def found() -> list[QueueDepth]:
            depths = broker.read([missing, queue, f"{missing}-too", empty])
            return [depth for depth in depths if depth.queue != by_amqp.DELAYED]

        wait_for(lambda: found() == [waiting(queue, 3), waiting(empty, 0)], "both of them")
        # RabbitMQ logs each question for a queue that is not there.
        published(amqp, "missing", 2)
        assert found() == [waiting(queue, 3), waiting(empty, 0)]
        broker._missing.clear()
        assert found()[0] == waiting(missing, 2)


def test_queues_that_are_not_there_use_up_no_channels(amqp: Broker) -> None:
    queue = published(amqp, "there")
    missing = [amqp.queue(f"never-{number}") for number in range(5)]
    with reading(amqp.url) as broker:
        used: list[int] = []
        for _ in range(3):
            broker._missing.clear()
            assert waiting(queue, 1) in broker.read([*missing, queue])
            used.append(len(broker._channel.connection.channels))
        assert used == [used[0]] * 3


def test_another_ones_exclusive_queue_is_left_alone(amqp: Broker) -> None:
    queue, own = amqp.queue("exclusive"), published(amqp, "beside")
    with kombu.Connection(amqp.url) as connection:
        connection.channel().queue_declare(queue, exclusive=True)
        with reading(amqp.url) as broker:
            assert waiting(own, 1) in broker.read([queue, own])


def test_what_celery_delays_on_the_broker_is_scheduled(
    amqp: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Others' tests use the real ones.
    names = (published(amqp, "delayed-1", 2), published(amqp, "delayed-0", 3))
    monkeypatch.setattr(by_amqp, "DELAYS", names)
    with reading(amqp.url) as broker:
        expected = QueueDepth("celery", "celery_delayed", {"scheduled": 5})
        wait_for(lambda: broker.read([]) == [expected], "five of them")
    monkeypatch.setattr(by_amqp, "DELAYS", (amqp.queue("never"), *names))
    with reading(amqp.url) as broker:
        assert broker.read([]) == []


def test_delays_have_the_names_that_celery_gives_them() -> None:
    native = pytest.importorskip("kombu.transport.native_delayed_delivery")
    levels = range(native.MAX_LEVEL, -1, -1)
    assert tuple(native.level_name(level) for level in levels) == by_amqp.DELAYS


def test_a_connection_that_was_cut_is_made_anew(amqp: Broker) -> None:
    queue = published(amqp, "cut")
    proxy = Proxy(amqp.url, 5672)
    with reading(proxy.url) as broker:
        assert waiting(queue, 1) in broker.read([queue])
        assert proxy.cut() == 1
        with pytest.raises(Exception):  # noqa: B017, PT011 whatever amqp raises
            broker.read([queue])
        broker.close()
        assert waiting(queue, 1) in broker.read([queue])
    proxy.close()


def test_a_slow_broker_tells_what_it_can_in_time(
    amqp: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_amqp, "DELAYS", (published(amqp, "slow-delayed"),))
    names = [published(amqp, f"slow-{number}") for number in range(5)]
    proxy = Proxy(amqp.url, 5672)
    with reading(proxy.url) as broker:
        assert len(broker.read(names)) == 6
        monkeypatch.setattr(by_amqp, "_LONGEST_SECONDS", 1.0)
        proxy.delay_seconds = 0.4
        found = broker.read(names)
        assert found == [waiting(name, 1) for name in names[: len(found)]]
        assert 1 <= len(found) <= 3
        # However long it took to connect.
        broker.close()
        assert broker.read(names) == [waiting(names[0], 1)]
    proxy.close()


def test_no_more_queues_are_asked_for_than_are_kept(
    amqp: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_amqp, "MOST_QUEUES", 2)
    monkeypatch.setattr(by_amqp, "DELAYS", (amqp.queue("never"),))
    names = [published(amqp, f"many-{number}") for number in range(3)]
    with reading(amqp.url) as broker:
        assert broker.read(names) == [waiting(name, 1) for name in names[:2]]


class Documented(http.server.BaseHTTPRequestHandler):
    """Answers as RabbitMQ documents its management API."""

    answer: Any = b"[]"
    status = 200
    seen: dict[str, str]

    def do_GET(self) -> None:
        type(self).seen = {"path": self.path, "login": self.headers["Authorization"]}
        self.send_response(self.status)
        if self.status != 200:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        try:
            self.wfile.write(self.answer)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def documented() -> Iterator[tuple[str, type[Documented]]]:
    """An address, and what answers there."""
    handler = type("Handler", (Documented,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://jobmon:p%40ss@127.0.0.1:{server.server_port}", handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_management_api_tells_what_workers_hold(
    documented: tuple[str, type[Documented]],
) -> None:
    url, handler = documented
    handler.answer = json.dumps(
        [
            {
                "name": "celery",
                "messages_ready": 7,
                "messages_unacknowledged": 2,
                "head_message_timestamp": 1_790_000_000,
            },
            {
                "name": "idle",
                "messages_ready": 0,
                "messages_unacknowledged": 0,
                "head_message_timestamp": None,
            },
            {"name": "held", "messages_ready": "?", "messages_unacknowledged": 1},
            {"name": "new"},
            {"name": "celery@web-1.celery.pidbox", "messages_ready": 1},
            {"name": "celery_delayed_27", "messages_ready": 1},
            {"name": "celery_delayed_0", "messages_ready": 2},
            {"name": 7},
            "nonsense",
        ]
    ).encode()
    broker = Management("amqp://mq/shop%2Fone", f"{url}/rabbit")
    assert broker.read(["celery", "idle", "held", "new", "unknown"]) == [
        QueueDepth("celery", "celery", {"waiting": 7, "reserved": 2}, 1_790_000_000),
        QueueDepth("celery", "idle", {"waiting": 0, "reserved": 0}),
        QueueDepth("celery", "held", {"reserved": 1}),
        QueueDepth("celery", "celery_delayed", {"scheduled": 3}),
    ]
    assert handler.seen["path"].startswith("/rabbit/api/queues/shop%2Fone?columns=name,")
    login = handler.seen["login"].removeprefix("Basic ")
    assert base64.b64decode(login) == b"jobmon:p@ss"


def test_delays_of_which_one_is_not_told_are_not_told(
    documented: tuple[str, type[Documented]],
) -> None:
    url, handler = documented
    told = [{"name": "celery_delayed_27", "messages_ready": 1}, {"name": "celery_delayed_0"}]
    handler.answer = json.dumps(told).encode()
    assert Management("amqp://mq", url).read([]) == []


def test_an_api_without_statistics_tells_of_no_depth(
    documented: tuple[str, type[Documented]],
) -> None:
    url, handler = documented
    handler.answer = b'[{"name": "celery"}, {"name": "mail", "messages_unacknowledged": 0}]'
    with pytest.raises(Unavailable, match="tells of no queue how many messages are ready"):
        Management("amqp://mq", url).read(["celery"])


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("amqp://mq", "%2F"),
        ("amqp://mq/", "%2F"),
        ("amqp://mq//", "%2F"),
        ("amqps://u:p@mq:1/shop;amqps://other/shop", "shop"),
    ],
)
def test_the_virtual_host_is_the_brokers(
    documented: tuple[str, type[Documented]], url: str, path: str
) -> None:
    where, handler = documented
    assert Management(url, where).read(["celery"]) == []
    assert handler.seen["path"].startswith(f"/api/queues/{path}?")


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, b"{}", "answered 401"),
        (302, b"", "answered 302"),
        (200, b"<html>", "no JSON"),
        (200, b"{}", "no list"),
        (200, b"[" * 100_000, "no JSON"),
        (200, b" " * (9 << 20), "too much"),
    ],
)
def test_what_is_no_answer_is_an_error(
    documented: tuple[str, type[Documented]], status: int, answer: bytes, said: str
) -> None:
    url, handler = documented
    handler.status, handler.answer = status, answer
    with pytest.raises(Unavailable, match=said) as raised:
        Management("amqp://mq", url).read(["celery"])
    assert "p@ss" not in str(raised.value)


def test_an_answer_that_drips_is_given_up(
    documented: tuple[str, type[Documented]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, handler = documented
    monkeypatch.setattr(by_management, "_LONGEST_SECONDS", 0.5)

    def drip(self: Documented) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b" ")
                time.sleep(0.1)
        except OSError:
            pass

    handler.do_GET = drip  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="too slowly"):
        Management("amqp://mq", url).read(["celery"])


@pytest.fixture
def managed(amqp: Broker) -> str:
    """The API of the tests' RabbitMQ."""
    parts = urlsplit(amqp.url)
    login = parts.netloc.rpartition("@")[0]
    url = f"http://{login}@{parts.hostname}:15672"
    try:
        assert httpx.get(f"{url}/api/overview", trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        pytest.skip("no management API: rabbitmq-plugins enable rabbitmq_management")
    return url


def test_a_real_management_api_is_understood(amqp: Broker, managed: str) -> None:
    queue = published(amqp, "managed", 3, timestamp=1_790_000_000)
    broker = Management(amqp.url, managed)
    with kombu.Connection(amqp.url) as connection:
        held = connection.channel().basic_get(queue)
        assert held is not None
        expected = QueueDepth("celery", queue, {"waiting": 2, "reserved": 1}, 1_790_000_000)
        wait_for(lambda: expected in broker.read([queue]), "its statistics", 30)
