"""Webhooks that somebody would lead inside: acceptance line S88."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from jobmon.publish.outbound import Outbound
from jobmon.publish.publisher import Published
from jobmon.publish.webhooks import WebhookSink
from jobmon.settings import Webhook
from tests.conftest import RedisServer
from tests.databases import made
from tests.publish.outbox import Outbox, event, outbox
from tests.publish.receiver import Receiver, receiver
from tests.serving import environment

pytestmark = pytest.mark.live

INSIDE = ("127.0.0.1", "169.254.169.254", "10.11.12.13", "fd00::17", "::ffff:127.0.0.1")


@pytest.fixture
def box(store: RedisServer, tmp_path: Path) -> Iterator[Outbox]:
    with made("sqlite", tmp_path) as database, outbox(store, database) as found:
        yield found


@pytest.fixture
def inside() -> Iterator[Receiver]:
    """What nobody from outside may reach."""
    with receiver() as found:
        yield found


def errors(box: Outbox) -> list[str]:
    return [row["error"] for row in box.deliveries() if row["sink"].startswith("webhook:")]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "2130706433"])
def test_s88_a_webhook_to_this_machine_is_refused(box: Outbox, inside: Receiver, host: str) -> None:
    box.add(event())
    given = {"REDIS_URL": str(box.settings.redis.url), "DATABASE_URL": box.settings.database.url}
    hooks = json.dumps([{"url": f"http://{host}:{inside.port}/"}])
    subprocess.run(
        [sys.executable, "-m", "tests.publish.killed", "none"],
        env=environment(**given, WEBHOOKS=hooks),
        check=True,
        timeout=60,
    )
    assert errors(box) == ["its name leads to no public address"]
    assert len(box.stream()) == 1
    assert inside.requests == []


@pytest.mark.parametrize("address", INSIDE)
def test_s88_a_name_that_leads_inside_is_refused(
    box: Outbox, inside: Receiver, address: str
) -> None:
    box.add(event())
    hook = Webhook(f"http://innocent.example:{inside.port}/", None, "low", frozenset())
    sink = WebhookSink(hook, Outbound(resolve=lambda host, port: [address]))
    assert box.publish(box.publisher([sink])) == Published(failed=1, waiting=1)
    assert errors(box) == ["its name leads to no public address"]
    assert inside.requests == []


@pytest.mark.parametrize("address", INSIDE)
def test_s88_a_second_answer_of_dns_that_leads_inside_is_refused(
    box: Outbox, inside: Receiver, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside when it is asked first, inside whenever it is asked again."""
    asked: list[str] = []
    connected: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["8.8.8.8"] if len(asked) == 1 else [address]

    def closed(to: tuple[str, int], *args: object, **more: object) -> socket.socket:
        connected.append(to[0])
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", closed)  # a test asks nobody outside
    box.add(event())
    hook = Webhook(f"http://innocent.example:{inside.port}/", None, "low", frozenset())
    publisher = box.publisher([WebhookSink(hook, Outbound(resolve=rebinding))])
    for attempt in (1, 2, 3):
        assert box.publish(publisher) == Published(failed=1, waiting=1)
        assert len(asked) == attempt  # never twice for one request
        assert connected == ["8.8.8.8"]
        box.make_due()
    assert errors(box) == ["its name leads to no public address"]
    assert inside.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_s88_a_redirect_inside_is_not_followed(box: Outbox, inside: Receiver, status: int) -> None:
    box.add(event())
    with receiver() as outside:
        outside.status, outside.headers = status, {"Location": inside.url}
        # As far as this test is concerned, that one machine is outside.
        sink = WebhookSink(
            Webhook(outside.url, None, "low", frozenset()), Outbound(allow_private=True)
        )
        assert box.publish(box.publisher([sink])) == Published(failed=1, waiting=1)
        assert len(outside.requests) == 1
    assert errors(box) == [f"answered {status}; redirects are not followed"]
    assert inside.requests == []
