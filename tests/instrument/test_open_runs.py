"""Open runs beat for as long as their process lives, and say so again where they are missing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobmon.instrument import open_runs
from jobmon.model import RunTransition
from jobmon.settings import load
from jobmon.store.beats import MAX_BEATS
from jobmon.store.writer import Writer
from tests.conftest import RedisServer
from tests.instrument.script import Script, until

INTERVAL = "0.2"


@pytest.fixture
def script(store: RedisServer) -> Iterator[Callable[..., Script]]:
    started: list[Script] = []

    def start(text: str, **variables: str) -> Script:
        variables = {"JOB_MONITOR_BEATS_INTERVAL_SECONDS": INTERVAL, **variables}
        started.append(Script("import jobmon\n" + text, store.url, **variables))
        return started[-1]

    yield start
    for one in started:
        one.close()


def beats(store: RedisServer) -> dict[str, float]:
    with store.client() as client:
        found: Any = client.zrange("jobmon:runs:beats", 0, -1, withscores=True)
    return {name.decode(): at for name, at in found}


def scripts_run(store: RedisServer) -> int:
    with store.client() as client:
        stats: Any = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))


@pytest.mark.parametrize(
    "text",
    [
        "with jobmon.command('c') as run:\n    say(run.id)\n    wait()",
        """
import asyncio
async def main():
    async with jobmon.command('c') as run:
        say(run.id)
        await asyncio.to_thread(wait)
asyncio.run(main())""",
        """
import click
from jobmon.instrument import context
jobmon.instrument()
@click.command
def c():
    say(context.entered().process_id)
    wait()
c([], standalone_mode=False)""",
    ],
    ids=["with", "async with", "click"],
)
def test_an_open_run_beats_until_it_ends(
    text: str, script: Callable[..., Script], store: RedisServer
) -> None:
    started = script(text)
    run_id = started.said()
    first = until(lambda: beats(store).get(run_id))
    until(lambda: beats(store)[run_id] > first + 200)
    started.go()
    assert started.end()[0] == 0
    assert beats(store) == {}


def test_a_killed_process_leaves_its_run_with_its_last_beat(
    script: Callable[..., Script], store: RedisServer
) -> None:
    started = script("with jobmon.command('c') as run:\n    say(run.id)\n    wait()")
    run_id = started.said()
    until(lambda: run_id in beats(store))
    started.process.send_signal(signal.SIGKILL)
    started.end()
    assert set(beats(store)) == {run_id}


def test_a_short_command_costs_no_call_of_its_own(
    script: Callable[..., Script], store: RedisServer
) -> None:
    text = "with jobmon.command('c'):\n    pass\nrecorder.flush(10)\nsay(recorder.stats().beats)"
    started = script(text, JOB_MONITOR_BEATS_INTERVAL_SECONDS="10")
    before = scripts_run(store)
    assert started.said() == 0
    assert started.end()[0] == 0
    # Its start and end, together or not, and once more where the script was not known.
    assert scripts_run(store) - before <= 3


def test_runs_of_a_process_are_told_in_one_call(
    script: Callable[..., Script], store: RedisServer
) -> None:
    text = """
import contextlib
with contextlib.ExitStack() as stack:
    for number in range(50):
        stack.enter_context(jobmon.command(f"c{number}"))
    recorder.flush(10)
    wait()
    say(recorder.stats().beats)
    wait()
    say(recorder.stats().beats)
"""
    started = script(text)
    until(lambda: len(beats(store)) == 50)
    oldest = max(beats(store).values())
    until(lambda: min(beats(store).values()) > oldest)
    started.go()
    first = started.said()
    before = scripts_run(store)
    until(lambda: scripts_run(store) >= before + 4)
    started.go()
    assert started.said() - first >= 3
    assert scripts_run(store) - before <= 8
    assert started.end()[0] == 0


def test_neither_a_fork_nor_a_child_of_a_worker_beats_for_a_run(
    script: Callable[..., Script], store: RedisServer
) -> None:
    text = """
with jobmon.command('mine') as run:
    recorder.flush(10)
    pid = os.fork()
    if not pid:
        with jobmon.command('of-fork') as other:  # a process of its own, which has its own run
            recorder.flush(10)
            say([run.id, other.id])
            wait()
            time.sleep(0.6)
        recorder.flush(10)
        say(recorder.stats().beats)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGSTOP)
    os.waitpid(pid, 0)
recorder.open_handover()
pid = os.fork()
if not pid:
    with jobmon.command('of-child') as inner:
        say(inner.id)
        time.sleep(0.5)
        os._exit(0)
os.waitpid(pid, 0)
recorder.flush(10)
"""
    started = script(text)
    mine, other = started.said()
    os.waitid(os.P_PID, started.process.pid, os.WSTOPPED | os.WNOWAIT)
    stopped_at = beats(store)[mine]
    assert other in beats(store)
    started.go()
    assert started.said() >= 1
    assert beats(store) == {mine: stopped_at}
    started.process.send_signal(signal.SIGCONT)
    inner = started.said()
    assert started.end()[0] == 0
    assert set(beats(store)) == {inner}, "its silence is to tell that it is lost"
    with store.client() as client:
        assert client.hkeys("jobmon:commands:running") == [inner.encode()]


def test_a_run_that_the_store_took_for_lost_or_forgot_says_that_it_goes_on(
    script: Callable[..., Script], store: RedisServer
) -> None:
    started = script("with jobmon.command('c') as run:\n    say(run.id)\n    wait()")
    run_id = started.said()
    last = until(lambda: beats(store).get(run_id))
    settings = load({"redis.url": store.url}, environ={})
    with store.client() as client:

        def running() -> bool:
            return client.hkeys("jobmon:commands:running") == [run_id.encode()]

        started.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, started.process.pid, os.WSTOPPED | os.WNOWAIT)
        last = int(beats(store)[run_id])
        body = json.dumps({"id": run_id, "command": "c"}).encode()
        end = RunTransition(run_id, "c", "lost", "lost", last, 1, -1, body)
        assert Writer(client, settings).apply([end]).applied == 1
        assert not running()
        started.process.send_signal(signal.SIGCONT)
        until(running)
        assert not client.hexists("jobmon:commands:finished", run_id)
        client.flushall()
        until(lambda: running() and run_id in beats(store))
    started.go()
    assert started.end()[0] == 0
    with store.client() as client:
        ended: Any = client.hget("jobmon:commands:finished", run_id)
    assert json.loads(ended)["exit_code"] == 0


def test_more_runs_than_one_call_carries_are_not_beaten_for(
    script: Callable[..., Script], store: RedisServer
) -> None:
    text = """
from jobmon.instrument import open_runs
open_runs.MOST_RUNS = 1
with jobmon.command('a') as first, jobmon.command('b'):
    recorder.flush(10)
    say(first.id)
    wait()
with jobmon.command('c') as third:
    recorder.flush(10)
    say(third.id)
    wait()
"""
    started = script(text)
    first = started.said()
    assert set(beats(store)) == {first}
    started.go()
    third = started.said()
    assert set(beats(store)) == {third}
    started.go()
    assert started.end()[0] == 0
    assert open_runs.MOST_RUNS < MAX_BEATS


def test_a_worker_beats_for_the_runs_of_its_children_while_they_live(
    script: Callable[..., Script], store: RedisServer
) -> None:
    started = script(
        """
jobmon.instrument()
from jobmon.instrument import open_runs
recorder.open_handover(open_runs.heard)
child = os.fork()
if not child:
    with jobmon.command("ended"):
        pass
    with jobmon.command("inner") as run:
        say(run.id)
        time.sleep(600)
with jobmon.command("outer") as run:
    wait()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    say(run.id)
    wait()"""
    )
    inner = started.said()
    first = until(lambda: beats(store).get(inner))
    until(lambda: beats(store)[inner] > first + 200)
    started.go()
    outer = started.said()
    last, then = beats(store)[inner], beats(store)[outer]
    until(lambda: beats(store)[outer] > then + 1000)
    assert beats(store)[inner] <= last + 300, "it beats for the dead"
    assert set(beats(store)) == {inner, outer}
    started.go()
