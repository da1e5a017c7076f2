"""Who beats in a process, how often, and what that costs it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from jobmon.instrument.pulse import Pulse
from jobmon.instrument.recorder import Recorder
from jobmon.model import Beat
from jobmon.settings import load
from tests.conftest import RedisServer
from tests.instrument.samples import transition
from tests.instrument.script import Script, until

INTERVAL = "0.2"
BEATING = """
from jobmon.instrument import beats
from jobmon.model import Beat

def source():
    return [Beat("worker", f"w{os.getpid()}", body=b'{"name":"w"}')]

beats.beat_with(source)
"""


@pytest.fixture
def script(store: RedisServer) -> Iterator[Callable[..., Script]]:
    started: list[Script] = []

    def start(text: str, url: str = store.url, **variables: str) -> Script:
        variables = {"JOB_MONITOR_BEATS_INTERVAL_SECONDS": INTERVAL, **variables}
        started.append(Script(text, url, **variables))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def recorder(store: RedisServer) -> Iterator[Recorder]:
    recorder = Recorder(load({"redis.url": store.url, "beats.interval_seconds": INTERVAL}))
    yield recorder
    recorder.close()


def workers(store: RedisServer) -> set[str]:
    with store.client() as client:
        found = client.hkeys("jobmon:workers")
    assert isinstance(found, list)
    return {one.decode() for one in found}


def beat_ms(store: RedisServer, worker: str) -> float:
    with store.client() as client:
        return client.zscore("jobmon:workers:beats", worker) or 0.0  # type: ignore[return-value]


def calls(store: RedisServer) -> int:
    """Scripts that the server has run."""
    with store.client() as client:
        stats: Any = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))


def test_a_process_that_records_nothing_beats(
    script: Callable[..., Script], store: RedisServer
) -> None:
    name = f"w{script(BEATING + 'wait()').process.pid}"
    until(lambda: workers(store) == {name})
    first = beat_ms(store, name)
    until(lambda: beat_ms(store, name) > first)


def test_all_sources_of_a_process_go_in_one_call_each_interval(
    recorder: Recorder, store: RedisServer
) -> None:
    asked: list[float] = []

    def first() -> list[Beat]:
        asked.append(time.monotonic())
        return [Beat("worker", "a", body=b"{}"), Beat("worker", "b", body=b"{}")]

    recorder.pulse.add(first, None, at_once=True)
    recorder.pulse.add(lambda: [Beat("scheduler", "s", body=b"{}")], None, at_once=True)
    recorder.beat()
    until(lambda: recorder.stats().beats >= 1)  # connects, and loads the script
    before, beaten, start = calls(store), recorder.stats().beats, len(asked)
    until(lambda: len(asked) >= start + 5 and recorder.stats().beats - beaten >= 5)
    made, counted = calls(store) - before, recorder.stats().beats - beaten
    assert abs(made - counted) <= 1
    assert all(later - earlier > 0.19 for earlier, later in pairwise(asked))
    assert workers(store) == {"a", "b"}


def test_a_process_with_nothing_to_beat_for_makes_no_call(
    recorder: Recorder, store: RedisServer
) -> None:
    asked: list[None] = []

    def nothing() -> list[Beat]:
        asked.append(None)
        return []

    before = calls(store)
    recorder.pulse.add(nothing, None, at_once=True)
    recorder.beat()
    until(lambda: len(asked) >= 3)
    assert calls(store) == before


def test_a_source_that_fails_costs_the_others_nothing(
    recorder: Recorder, store: RedisServer
) -> None:
    class Odd(BaseException):
        pass

    def broken() -> list[Beat]:
        raise Odd

    recorder.pulse.add(broken, None, at_once=True)
    recorder.pulse.add(lambda: [Beat("worker", "a", body=b"{}")], None, at_once=True)
    recorder.beat()
    until(lambda: workers(store) == {"a"})
    recorder.record(transition())
    assert recorder.flush(10)


def test_who_stops_beating_is_taken_back_at_once(recorder: Recorder, store: RedisServer) -> None:
    def source() -> list[Beat]:
        return [Beat("worker", "a", body=b"{}")]

    recorder.pulse.add(source, None, at_once=True)
    recorder.pulse.interval_seconds = 300
    recorder.beat()
    until(lambda: workers(store) == {"a"})
    assert recorder.pulse.remove(source)
    recorder.beat()
    until(lambda: not workers(store), 5)


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "raise ValueError"])
def test_the_end_of_the_interpreter_takes_back_whom_it_beat_for(
    ending: str, script: Callable[..., Script], store: RedisServer
) -> None:
    started = script(BEATING + "wait()\n" + ending)
    until(lambda: workers(store))
    started.go()
    _, _, seconds = started.end()
    assert not workers(store)
    assert seconds < 10


def test_a_killed_process_stays_registered(
    script: Callable[..., Script], store: RedisServer
) -> None:
    started = script(BEATING + "wait()")
    until(lambda: workers(store))
    started.process.send_signal(signal.SIGKILL)
    started.end()
    assert workers(store)


def test_a_forked_process_does_not_beat_for_its_parent(
    script: Callable[..., Script], store: RedisServer
) -> None:
    text = """
time.sleep(0.3)  # a beat or two
pid = os.fork()
if not pid:
    recorder.record(transition(1))
    recorder.flush(10)
    time.sleep(3 * 0.2)
    say([os.getpid(), recorder.stats().beats])
    os._exit(0)
os.waitpid(pid, 0)
beats.beat_with(source)  # again, which changes nothing
say([os.getpid(), recorder.stats().beats])
wait()
"""
    started = script(BEATING + text)
    child, beaten_by_child = started.said()
    parent, beaten_by_parent = started.said()
    assert (beaten_by_child, beaten_by_parent > 0) == (0, True)
    assert workers(store) == {f"w{parent}"} != {f"w{child}"}


@pytest.mark.parametrize("main", [True, False])
def test_a_child_of_a_worker_beats_only_once_it_is_alone(
    main: bool, script: Callable[..., Script], store: RedisServer
) -> None:
    text = """
from jobmon.instrument import beats
from jobmon.model import Beat
recorder.open_handover()
pid = os.fork()
if not pid:
    beats.beat_with(lambda: [Beat("worker", "child", body=b"{}")])
    wait()
    recorder.record(transition(1))
    recorder.flush(10)
    wait()
    os._exit(0)
say(pid)
os.waitpid(pid, 0)
"""
    started = script(text)
    child = started.said()
    try:
        if not main:
            started.process.kill()
            started.process.wait(10)
        started.go()
        with store.client() as client:
            until(lambda: client.exists(f"jobmon:command:{transition().process_id}:jobs"))
        if main:
            time.sleep(3 * float(INTERVAL))
            assert not workers(store)
        else:
            until(lambda: workers(store) == {"child"})
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_beat_that_the_store_does_not_take_is_dropped(
    script: Callable[..., Script], own_redis_server: RedisServer
) -> None:
    text = BEATING + "time.sleep(0.1)\nwhile True:\n    wait()\n    say(recorder.stats().failures)"
    started = script(text, own_redis_server.url, JOB_MONITOR_REDIS_RECORD_TIMEOUT="0.1")
    until(lambda: workers(own_redis_server))
    assert own_redis_server.process is not None
    own_redis_server.process.send_signal(signal.SIGSTOP)
    time.sleep(10 * float(INTERVAL))
    before = time.monotonic()
    own_redis_server.process.send_signal(signal.SIGCONT)
    name = f"w{started.process.pid}"
    with own_redis_server.client() as client:
        client.config_resetstat()
    until(lambda: beat_ms(own_redis_server, name) > time.time() * 1000 - 200)
    until(lambda: calls(own_redis_server) >= 3)
    assert calls(own_redis_server) <= 3 + (time.monotonic() - before) / float(INTERVAL)
    started.go()
    assert started.said() > 0


def test_workers_come_back_after_the_server_lost_all(
    script: Callable[..., Script], own_redis_server: RedisServer
) -> None:
    started = script(BEATING + "wait()", own_redis_server.url)
    name = f"w{started.process.pid}"
    until(lambda: workers(own_redis_server) == {name})
    with own_redis_server.client() as client:
        client.flushall()
        client.script_flush()
    until(lambda: workers(own_redis_server) == {name})
    own_redis_server.restart()
    until(lambda: workers(own_redis_server) == {name})


def test_the_source_hears_which_run_the_store_does_not_hold(
    recorder: Recorder, store: RedisServer
) -> None:
    missing: list[str] = []
    recorder.pulse.add(lambda: [Beat("run", "p9")], missing.append, at_once=True)
    recorder.beat()
    until(lambda: missing)
    assert set(missing) == {"p9"}


def test_the_first_beat_can_wait_for_an_interval() -> None:
    pulse = Pulse()
    assert pulse.seconds_left() is None
    source: list[Beat] = []
    assert pulse.add(source.copy, None, at_once=False)
    left = pulse.seconds_left()
    assert left is not None
    assert left > 9
    assert not pulse.due()
    assert pulse.beats
