"""Whoever publishes may be killed anywhere: nothing is lost, and the stream holds nothing twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.publish.killed import POINTS
from tests.publish.outbox import Outbox, event
from tests.publish.receiver import Receiver, receiver
from tests.serving import environment, until

pytestmark = pytest.mark.live


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


def begun(box: Outbox, hook: Receiver, point: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.publish.killed", point],
        env=environment(
            REDIS_URL=str(box.settings.redis.url),
            DATABASE_URL=box.settings.database.url,
            WEBHOOKS=json.dumps([{"url": hook.url}]),
            WEBHOOKS_ALLOW_PRIVATE="1",
        ),
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[bytes], code: int) -> None:
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said.decode()


def succeed(box: Outbox, hook: Receiver) -> None:
    """What happens once the dead one's lease and its attempts have run out."""
    box.client.delete("jobmon:lease:publish")
    box.make_due()
    ended(begun(box, hook, "none"), 0)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point_each_sink_has_each_event_in_the_end(
    any_box: Outbox, hook: Receiver, point: str
) -> None:
    events = [event(command_name=f"data:{at}") for at in range(3)]
    any_box.add(*events)
    ended(begun(any_box, hook, point), -signal.SIGKILL)
    succeed(any_box, hook)
    ids = [one.id for one in events]
    assert sorted(any_box.stream()) == sorted(ids)
    posted = [request.headers["X-Jobmon-Delivery"] for request in hook.requests]
    assert sorted(set(posted)) == sorted(ids)
    # It was taken, and nobody could write that down any more: it comes again, under the same id.
    assert len(posted) - len(ids) in ((1,) if point == "posted" else (0, 1))
    assert all(row["delivered_at"] is not None for row in any_box.deliveries())
    succeed(any_box, hook)
    assert len(any_box.stream()) == len(ids)
    assert len(hook.requests) == len(posted)


def test_killed_again_and_again_the_stream_holds_nothing_twice(box: Outbox, hook: Receiver) -> None:
    events = [event(command_name=f"data:{at}") for at in range(4)]
    box.add(*events)
    for _ in range(4):
        box.client.delete("jobmon:lease:publish")
        box.make_due()
        ended(begun(box, hook, "in the stream"), -signal.SIGKILL)
    succeed(box, hook)
    assert sorted(box.stream()) == sorted(one.id for one in events)


def test_while_an_attempt_is_young_nobody_repeats_it(box: Outbox, hook: Receiver) -> None:
    box.add(event())
    ended(begun(box, hook, "posted"), -signal.SIGKILL)
    box.client.delete("jobmon:lease:publish")
    box.publish()
    assert len(hook.requests) == 1


def test_two_processes_at_once_publish_each_event_once(any_box: Outbox, hook: Receiver) -> None:
    """The second takes the lease from the first as from one that is frozen; then both go on."""
    events = [event(command_name=f"data:{at}") for at in range(30)]
    any_box.add(*events)
    first = begun(any_box, hook, "none")
    until(lambda: bool(any_box.client.delete("jobmon:lease:publish")))
    second = begun(any_box, hook, "none")
    for process in (first, second):
        process.communicate(timeout=60)
    # Whoever lost it between an attempt and its mark has left that to others.
    succeed(any_box, hook)
    assert sorted(any_box.stream()) == sorted(one.id for one in events)
    posted = [request.headers["X-Jobmon-Delivery"] for request in hook.requests]
    assert set(posted) == {one.id for one in events}
    assert len(posted) <= len(events) + 1
