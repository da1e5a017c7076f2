"""A recorder beside a store that is frozen, dead, read-only, full, emptied or that refuses it.

Each case: the hooks of the host notice nothing, one line is logged, and after the trouble has
passed all that the buffer held is in the store.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tests.conftest import RedisServer
from tests.instrument.samples import transition
from tests.instrument.script import Script, until

pytestmark = pytest.mark.live

RUN = transition().process_id
RECORD_TIMEOUT_SECONDS = 0.5
SHUTDOWN_TIMEOUT_SECONDS = 2.0
MOST_HOOKS_SECONDS = 0.005
"""99 of 100 take less; the rest is the scheduler of a shared machine."""
USER = "recorder"
PASSWORD = "secret"

PROGRAM = """
recorder.record(transition(0))
say(recorder.flush(10))
wait()
seconds = timed(transition(number) for number in range(1, 501))
while not recorder.stats().failures:
    time.sleep(0.01)
seconds = sorted(seconds + timed(transition(number) for number in range(501, 1001)))
say([seconds[-10], max(seconds), len(recorder.own().buffer)])
wait()
say(recorder.flush(20))
recorder.record(transition(1001))
"""

LEAVING = """
recorder.record(transition(0))
say(recorder.flush(10))
wait()
recorder.record(transition(1))
say("leaving")
"""


class Frozen:
    """SIGSTOP: connections stand, nothing answers."""

    def begin(self, server: RedisServer) -> None:
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)

    def end(self, server: RedisServer) -> None:
        assert server.process is not None
        server.process.send_signal(signal.SIGCONT)


class Dead:
    """Nothing listens; started again, it is empty and knows no script."""

    def begin(self, server: RedisServer) -> None:
        server.stop()

    def end(self, server: RedisServer) -> None:
        server.start()


class ReadOnly:
    """Demoted to a replica, as in a failover."""

    def begin(self, server: RedisServer) -> None:
        _do(server, "REPLICAOF", "127.0.0.1", "1")

    def end(self, server: RedisServer) -> None:
        _do(server, "REPLICAOF", "NO", "ONE")


class Full:
    """maxmemory reached, noeviction."""

    def begin(self, server: RedisServer) -> None:
        _do(server, "CONFIG", "SET", "maxmemory-policy", "noeviction")
        _do(server, "CONFIG", "SET", "maxmemory", "1")

    def end(self, server: RedisServer) -> None:
        _do(server, "CONFIG", "SET", "maxmemory", "0")


class KeysDenied:
    """The ACL user lost its keys."""

    def begin(self, server: RedisServer) -> None:
        _do(server, "ACL", "SETUSER", USER, "resetkeys", "~other:*")

    def end(self, server: RedisServer) -> None:
        _do(server, "ACL", "SETUSER", USER, "allkeys")


class CommandsDenied:
    """The ACL user lost its commands, PING included."""

    def begin(self, server: RedisServer) -> None:
        _do(server, "ACL", "SETUSER", USER, "-@all")

    def end(self, server: RedisServer) -> None:
        _do(server, "ACL", "SETUSER", USER, "+@all")


class UserGone:
    """The ACL user was deleted: its connections are closed, its password is wrong."""

    def begin(self, server: RedisServer) -> None:
        _do(server, "ACL", "DELUSER", USER)

    def end(self, server: RedisServer) -> None:
        _user(server)


OUTAGES = [Frozen, Dead, ReadOnly, Full, KeysDenied, CommandsDenied, UserGone]
outages = pytest.mark.parametrize(
    "outage", [one() for one in OUTAGES], ids=lambda o: type(o).__name__
)


def _do(server: RedisServer, *command: str) -> Any:
    with server.client() as client:
        return client.execute_command(*command)


def _user(server: RedisServer) -> None:
    _do(server, "ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}", "allkeys", "+@all")


def _url(server: RedisServer, outage: object) -> str:
    if not isinstance(outage, KeysDenied | CommandsDenied | UserGone):
        return server.url
    _user(server)
    return f"redis://{USER}:{PASSWORD}@127.0.0.1:{server.port}/0"


def recorded(server: RedisServer) -> set[int]:
    """Numbers of the jobs in the store; empty while it is away."""
    try:
        with server.client(socket_timeout=0.2) as client:
            names = client.hkeys(f"jobmon:command:{RUN}:jobs")
    except redis.RedisError:
        return set()
    assert isinstance(names, list)
    return {int(name.removeprefix(b"job-")) for name in names}


def dropped(server: RedisServer, reason: str) -> int:
    return int(_do(server, "HGET", "jobmon:totals:recorder", f"dropped:{reason}") or 0)


@pytest.fixture
def server(own_redis_server: RedisServer) -> Iterator[RedisServer]:
    yield own_redis_server
    if own_redis_server.process is not None:
        own_redis_server.process.send_signal(signal.SIGCONT)


@pytest.fixture
def script() -> Iterator[Callable[..., Script]]:
    started: list[Script] = []

    def start(text: str, url: str, **variables: str) -> Script:
        started.append(Script(text, url, **variables))
        return started[-1]

    yield start
    for one in started:
        one.close()


@outages
def test_hooks_go_on_and_all_arrives_once_the_trouble_has_passed(
    outage: Any, server: RedisServer, script: Callable[..., Script]
) -> None:
    program = script(PROGRAM, _url(server, outage))
    assert program.said() is True
    outage.begin(server)
    program.go()
    most, slowest, buffered = program.said()
    assert most < MOST_HOOKS_SECONDS
    assert slowest < RECORD_TIMEOUT_SECONDS
    assert buffered == 1000
    outage.end(server)
    expected = set(range(1 if isinstance(outage, Dead) else 0, 1001))
    until(lambda: recorded(server) == expected, 20)
    program.go()
    assert program.said() is True
    code, stderr, seconds = program.end()
    assert code == 0
    assert stderr.count("\n") == stderr.count("does not take what is recorded") == 1
    assert PASSWORD not in stderr
    assert seconds < SHUTDOWN_TIMEOUT_SECONDS
    assert recorded(server) == expected | {1001}


@outages
def test_a_process_leaves_in_time_while_the_trouble_lasts(
    outage: Any, server: RedisServer, script: Callable[..., Script]
) -> None:
    program = script(LEAVING, _url(server, outage))
    assert program.said() is True
    outage.begin(server)
    program.go()
    assert program.said() == "leaving"
    code, stderr, seconds = program.end()
    assert code == 0
    assert seconds < SHUTDOWN_TIMEOUT_SECONDS + 1.0
    assert "1 transitions could not be written in time" in stderr
    outage.end(server)


def test_an_emptied_store_is_written_on(server: RedisServer, script: Callable[..., Script]) -> None:
    program = script(
        """
for number in range(5):
    recorder.record(transition(number))
    say([recorder.flush(10), recorder.stats().failures])
    wait()
""",
        server.url,
    )
    for number in range(5):
        assert program.said() == [True, 0]
        assert recorded(server) == {number}
        _do(server, "FLUSHALL")
        _do(server, "SCRIPT", "FLUSH")
        program.go()
    assert program.end()[:2] == (0, "")


def test_a_restarted_store_is_written_on(
    server: RedisServer, script: Callable[..., Script]
) -> None:
    program = script(
        """
for number in range(4):
    recorder.record(transition(number))
    say(recorder.flush(10))
    wait()
""",
        server.url,
    )
    for number in range(4):
        assert program.said() is True
        assert recorded(server) == {number}
        server.restart()
        program.go()
    assert program.end()[0] == 0


@pytest.mark.parametrize("outage", [Frozen(), Full()], ids=lambda o: type(o).__name__)
def test_what_a_full_buffer_dropped_is_told_to_the_store_exactly_once(
    outage: Any, server: RedisServer, script: Callable[..., Script]
) -> None:
    program = script(
        """
recorder.record(transition(0))
say(recorder.flush(10))
wait()
recorder.record(transition(1))
while not recorder.stats().failures:
    time.sleep(0.01)
seconds = timed(transition(number, "completed", outcome="completed") for number in range(2, 502))
seconds = sorted(seconds + timed(transition(number) for number in range(502, 10_702)))
while recorder.stats().failures < 4:
    time.sleep(0.01)
buffer, lost = recorder.own().buffer, recorder.stats().dropped
say([seconds[-100], len(buffer), buffer.bytes, dict(lost)])
wait()
say(recorder.flush(30))
""",
        server.url,
    )
    assert program.said() is True
    outage.begin(server)
    program.go()
    most, buffered, size, lost = program.said()
    assert most < MOST_HOOKS_SECONDS
    assert buffered == 10_000
    assert size <= 16 * 1024 * 1024
    assert lost == {"overflow": 701}
    outage.end(server)
    program.go()
    assert program.said() is True
    arrived = recorded(server)
    assert len(arrived) == 10_001
    assert arrived >= set(range(502)), "the final ones are dropped last"
    assert dropped(server, "overflow") == 701


def test_children_notice_nothing_of_a_frozen_store(
    server: RedisServer, script: Callable[..., Script]
) -> None:
    program = script(
        """
recorder.open_handover()
recorder.record(transition(0))
say(recorder.flush(10))
wait()
began = time.monotonic()
for number in range(1, 101):
    pid = os.fork()
    if pid == 0:
        seconds = timed([
            transition(number),
            transition(number, "completed", outcome="completed", stages=4),
        ])
        os._exit(0 if seconds[-1] < 0.2 and recorder.flush(1) else 1)
    if os.wait()[1]:
        say("slow child")
    while number == 50 and not recorder.stats().failures:
        time.sleep(0.01)
say(time.monotonic() - began)
say(recorder.catch_up(5) and recorder.stats().received)
wait()
say(recorder.flush(20))
""",
        server.url,
    )
    assert program.said() is True
    Frozen().begin(server)
    program.go()
    assert program.said() < 10
    assert program.said() == 200
    Frozen().end(server)
    program.go()
    assert program.said() is True
    assert recorded(server) == set(range(101))


def test_after_a_short_freeze_all_is_written_within_seconds(
    server: RedisServer, script: Callable[..., Script]
) -> None:
    program = script(PROGRAM, server.url)
    assert program.said() is True
    Frozen().begin(server)
    program.go()
    program.said()
    time_frozen = time.monotonic()
    Frozen().end(server)
    until(lambda: len(recorded(server)) == 1001, 20)
    assert time.monotonic() - time_frozen < 5
    program.go()
    assert program.said() is True
