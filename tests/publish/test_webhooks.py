"""What is posted, how it is signed, and what an answer means."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

import jobmon
from jobmon.publish.outbound import Outbound
from jobmon.publish.publisher import Published
from jobmon.publish.signature import sign, verify
from jobmon.publish.sink import NotDeliveredError
from jobmon.publish.webhooks import WebhookSink
from jobmon.settings import Webhook
from tests.publish.outbox import Outbox, event
from tests.publish.receiver import Receiver, receiver

SECRET = "a secret of the receiver"


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


def sink(hook: Receiver, **more: Any) -> WebhookSink:
    given = {"secret": SECRET, "min_severity": "low", "types": frozenset[str](), **more}
    return WebhookSink(Webhook(hook.url, **given), Outbound(allow_private=True))


def test_an_event_is_posted_with_its_signature(hook: Receiver) -> None:
    one = event()
    body = json.dumps(one.to_dict(), ensure_ascii=False)
    sink(hook).deliver(one, body)
    (request,) = hook.requests
    assert json.loads(request.body) == one.to_dict()
    assert request.body == body.encode()
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"] == f"jobmon/{jobmon.__version__}"
    assert request.headers["X-Jobmon-Event"] == "anomaly.opened"
    assert request.headers["X-Jobmon-Delivery"] == one.id
    # By hand, as somebody in another language would.
    moment, digest = request.headers["X-Jobmon-Signature"].split(",")
    seconds = moment.removeprefix("t=")
    assert abs(time.time() - int(seconds)) < 60
    signed = b"%s.%s" % (seconds.encode(), request.body)
    assert digest == "v1=" + hmac.digest(SECRET.encode(), signed, "sha256").hex()
    assert verify(SECRET, request.body, request.headers["X-Jobmon-Signature"])


def test_without_a_secret_there_is_no_signature(hook: Receiver) -> None:
    sink(hook, secret=None).deliver(event(), "{}")
    assert "X-Jobmon-Signature" not in hook.requests[0].headers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_taken(hook: Receiver, status: int) -> None:
    hook.status = status
    sink(hook).deliver(event(), "{}")


@pytest.mark.parametrize(
    ("status", "final", "seconds"),
    [
        *((300, False, 0), (302, False, 0), (400, False, 0), (401, False, 0), (404, False, 0)),
        *((410, True, 0), (429, False, 120), (500, False, 0), (503, False, 120)),
    ],
)
def test_not_taken(hook: Receiver, status: int, final: bool, seconds: float) -> None:
    hook.status, hook.headers, hook.body = status, {"Retry-After": "120"}, b"hidden in a body"
    with pytest.raises(NotDeliveredError) as caught:
        sink(hook).deliver(event(), "{}")
    assert str(caught.value).startswith(f"answered {status}")
    assert (caught.value.is_final, caught.value.retry_after_seconds) == (final, seconds)
    assert "hidden" not in str(caught.value)


def test_filters(hook: Receiver) -> None:
    strict = sink(hook, min_severity="high", types=frozenset({"memory_growth"}))
    assert strict.wants(event(anomaly_type="memory_growth", anomaly_severity="critical"))
    assert not strict.wants(event(anomaly_type="memory_growth", anomaly_severity="medium"))
    assert not strict.wants(event(anomaly_type="workload_drop", anomaly_severity="critical"))
    assert sink(hook).wants(event(anomaly_severity="low"))


def test_a_name_tells_one_from_another_and_nothing_else(hook: Receiver) -> None:
    name = sink(hook).name
    assert name == f"webhook:{hashlib.sha256(hook.url.encode()).hexdigest()[:12]}"
    assert name == sink(hook, secret=None).name


def test_they_are_made_from_the_settings_and_nothing_of_them_is_told(
    box: Outbox, hook: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "jobmon")
    hook.status, hook.body = 500, b"hidden-in-body"
    given = [{"url": hook.url, "secret": "hidden-secret-of-it"}]
    settings = type(box.settings)(
        redis=box.settings.redis,
        database=box.settings.database,
        webhooks=tuple(Webhook(one["url"], one["secret"], "low", frozenset()) for one in given),
        webhooks_allow_private=True,
    )
    box.settings = settings
    one = event()
    box.add(one)
    publisher = box.publisher()
    assert box.publish(publisher) == Published(delivered=1, failed=1, waiting=1)
    hook.status = 200
    box.make_due()
    assert box.publish(publisher) == Published(delivered=1)
    assert [request.headers["X-Jobmon-Delivery"] for request in hook.requests] == [one.id] * 2
    assert hook.requests[0].body == hook.requests[1].body
    assert "answered 500" in caplog.text
    assert "hidden" not in caplog.text + str(box.deliveries())


class TestVerify:
    """What a receiver asks."""

    BODY = b'{"id":"1"}'

    def test_nothing_but_the_body_its_moment_and_its_secret_pass(self) -> None:
        header = sign(SECRET, self.BODY, 1_700_000_000)
        now = 1_700_000_000.0

        def passes(body: bytes = self.BODY, given: str | None = header, at: float = now) -> bool:
            return verify(SECRET, body, given, now=at)

        assert passes()
        assert not passes(body=b'{"id":"2"}')
        assert not verify("another", self.BODY, header, now=now)
        assert not passes(given=header.replace("t=17", "t=18"), at=1_800_000_000)
        assert not passes(given=header[:-1] + ("0" if header[-1] != "0" else "1"))
        assert passes(at=now + 300)
        assert passes(at=now - 300)
        assert not passes(at=now + 301)
        assert not passes(at=now - 301)

    @pytest.mark.parametrize(
        "header",
        [
            *(None, "", "x", "t=1", "v1=", "t=,v1=", f"t=1,v1={'0' * 63}", f"t=-1,v1={'0' * 64}"),
            *(f"t=٣,v1={'0' * 64}", f"t=1,v1={'é' * 64}", f"t={'9' * 4000},v1={'0' * 64}"),
        ],
    )
    def test_what_is_no_signature_does_not_raise(self, header: str | None) -> None:
        assert not verify(SECRET, self.BODY, header)
