"""Command runs, recorded into a real store."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections.abc import Iterator

import pytest

import jobmon
from jobmon.instrument import commands, context, recorder, spans
from jobmon.instrument.context import Frame, JobContext
from jobmon.settings import load
from jobmon.store import connection
from jobmon.store.reader import Reader
from jobmon.store.state import CommandRun
from tests.conftest import RedisServer


class Store:
    """What this process recorded, read back."""

    def __init__(self, server: RedisServer, **settings: object) -> None:
        self.settings = load(
            {
                "redis.url": server.url,
                "environment": "staging",
                "release": "v1",
                "tags": ["blue"],
                **{key.replace("__", "."): value for key, value in settings.items()},
            },
            environ={},
        )
        self.recorder = recorder.Recorder(self.settings)
        self.reader = Reader(connection.connect(self.settings), self.settings)

    def finished(self) -> dict[str, CommandRun]:
        """Finished runs by command."""
        assert self.recorder.flush(5)
        return {run.command: run for run in self.reader.finished_commands()[0]}

    def running(self) -> dict[str, CommandRun]:
        """Open runs by command."""
        assert self.recorder.flush(5)
        return {run.command: run for run in self.reader.running_commands()[0]}


@pytest.fixture
def recorded(store: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """This process, recording into the session's server for one test."""
    yield from using(store, monkeypatch)


def using(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, **settings: object
) -> Iterator[Store]:
    own = Store(server, **settings)
    monkeypatch.setattr(recorder, "_recorder", own.recorder)
    monkeypatch.setattr(commands, "_settings", own.settings)
    monkeypatch.setattr(spans, "_settings", own.settings)
    monkeypatch.delenv(context.PROCESS_ID_VARIABLE, raising=False)
    yield own
    assert context.entered() is None, "a frame stayed open"
    own.recorder.close()


def test_a_run_is_running_then_finished_with_all_that_is_known(recorded: Store) -> None:
    with jobmon.command(
        "data:process", "schedule", arguments={"day": 1}, options={"token": "hunter2"}
    ) as run:
        begun = recorded.running()["data:process"]
    assert run.name == "data:process"
    assert run.trace_id is None
    assert begun.process_id == run.id == str(uuid.UUID(run.id))
    assert (begun.source, begun.environment) == ("schedule", "staging")
    assert (begun.arguments, begun.options) == ({"day": 1}, {"token": "[redacted]"})
    assert begun.started_at == pytest.approx(time.time(), abs=5)
    assert begun.data["pid"] == os.getpid()
    assert (begun.data["release"], begun.data["tags"]) == ("v1", ["blue"])
    assert recorded.running() == {}
    ended = recorded.finished()["data:process"]
    assert (ended.status, ended.exit_code, ended.data["outcome"]) == ("completed", 0, "completed")
    assert ended.started_at == begun.started_at
    assert ended.duration is not None
    assert ended.finished_at is not None
    assert ended.finished_at - begun.started_at == pytest.approx(ended.duration, abs=0.1)


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (ValueError("bad"), 1),
        (SystemExit(None), 0),
        (SystemExit(0), 0),
        (SystemExit(4), 4),
        (SystemExit("message"), 1),
        (SystemExit(True), 1),
        (SystemExit(10**30), 255),
        (KeyboardInterrupt(), 130),
        (asyncio.CancelledError(), 1),
    ],
    ids=repr,
)
def test_exit_codes_are_the_interpreters(
    recorded: Store, error: BaseException, exit_code: int
) -> None:
    with pytest.raises(type(error)), jobmon.command("x"):
        raise error
    ended = recorded.finished()["x"]
    assert ended.exit_code == exit_code
    assert ended.status == ("failed" if exit_code else "completed")


def test_async_with_and_decorators_work_alike(recorded: Store) -> None:
    @jobmon.command("sync")
    def add(a: int, *, b: int) -> int:
        """Adds."""
        return a + b

    @jobmon.command("coroutine")
    async def add_later(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    async def block() -> str:
        async with jobmon.command("block") as run:
            await asyncio.sleep(0)
            entered = context.entered()
            assert entered is not None
            assert entered.process_id == run.id
            return run.id

    assert add(1, b=2) == add(1, b=2) == 3
    assert add.__name__ == "add"
    assert add.__doc__ == "Adds."
    assert asyncio.run(add_later(1, 2)) == 3
    assert asyncio.iscoroutinefunction(add_later)
    run_id = asyncio.run(block())
    ended = recorded.finished()
    assert set(ended) == {"sync", "coroutine", "block"}
    assert ended["block"].process_id == run_id
    assert recorded.reader.finished_commands()[1] == 4


def test_a_decorated_function_lets_its_exceptions_through(recorded: Store) -> None:
    @jobmon.command("fails")
    def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        fail()
    assert recorded.finished()["fails"].exit_code == 1


def test_a_run_inside_of_a_run_or_a_job_names_its_parent(recorded: Store) -> None:
    with jobmon.command("outer") as outer, jobmon.command("inner"):
        pass
    job = Frame("p-1", "other", job=JobContext("job-1", "p-1", "other"))
    token = context.enter(job)
    with jobmon.command("in-job"):
        pass
    context.leave(job, token)
    ended = recorded.finished()
    assert ended["inner"].data["parent_process_id"] == outer.id
    assert "parent_job_id" not in ended["inner"].data
    assert ended["in-job"].data["parent_process_id"] == "p-1"
    assert ended["in-job"].data["parent_job_id"] == "job-1"
    assert "parent_process_id" not in ended["outer"].data


def test_a_run_below_jobmon_run_names_it_as_parent(
    recorded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(context.PROCESS_ID_VARIABLE, "71C40000-0000-4000-8000-000000000000")
    with jobmon.command("x"):
        pass
    parent = recorded.finished()["x"].data["parent_process_id"]
    assert parent == "71c40000-0000-4000-8000-000000000000"


def test_runs_in_threads_and_tasks_are_nobodys_parents(recorded: Store) -> None:
    shared = jobmon.command("shared")
    ids: list[str] = []
    barrier = threading.Barrier(2)

    def work() -> None:
        with shared as run:
            barrier.wait(10)
            frame = context.entered()
            assert frame is not None
            assert frame.process_id == run.id
            ids.append(run.id)
            barrier.wait(10)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def both() -> None:
        async def one(order: list[asyncio.Event]) -> None:
            async with shared as run:
                ids.append(run.id)
                order[0].set()
                await order[1].wait()

        first, second = asyncio.Event(), asyncio.Event()
        await asyncio.gather(one([first, second]), one([second, first]))

    asyncio.run(both())
    assert recorded.finished()
    runs = recorded.reader.finished_commands()[0]
    assert {run.process_id for run in runs} == set(ids)
    assert len(runs) == 4
    assert not [run for run in runs if "parent_process_id" in run.data]
    assert all(run.exit_code == 0 for run in runs)


@pytest.mark.parametrize("name", ["", "  ", "x" * 256, "a\nb", "a\x1b[31m", "\udc80", None, 7])
def test_a_name_that_cannot_be_one_is_refused_when_it_is_given(name: object) -> None:
    with pytest.raises(ValueError, match="command's name"):
        jobmon.command(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("api", "api"),
        ("", "console"),
        ("my cron\n", "my-cron-"),
        ("x" * 99, "x" * 32),
        (7, "console"),
    ],
)
def test_a_source_is_a_short_word(recorded: Store, source: str, kept: str) -> None:
    with jobmon.command("x", source):
        pass
    assert recorded.finished()["x"].source == kept


def test_nothing_that_is_given_makes_it_raise(recorded: Store) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    with jobmon.command("odd", arguments={"o": Odd()}, options=[("token", 1)]):  # type: ignore[arg-type]
        pass
    with jobmon.command("odder", arguments=7):  # type: ignore[arg-type]
        pass
    ended = recorded.finished()
    assert ended["odd"].options == {"token": "[redacted]"}
    assert ended["odder"].arguments == {"…": 7}


def test_commands_that_are_switched_off_run_and_link_but_are_not_recorded(
    store: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for own in using(store, monkeypatch, monitoring__commands_enabled=False):
        with jobmon.command("x") as run:
            assert context.published_from_here("j", "q").process_id == run.id
        assert own.finished() == own.running() == {}


def test_a_process_forked_inside_ends_nothing(recorded: Store) -> None:
    child = 0
    try:
        with jobmon.command("parent"):
            child = os.fork()
            if not child:
                raise SystemExit(3)
            os.waitpid(child, 0)
            assert set(recorded.running()) == {"parent"}
    except SystemExit:
        assert not child
        os._exit(0)
    assert recorded.finished()["parent"].exit_code == 0


def test_without_a_server_a_command_costs_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = load({"redis.url": "redis://127.0.0.1:1/0"}, environ={})
    own = recorder.Recorder(dead)
    monkeypatch.setattr(recorder, "_recorder", own)
    monkeypatch.setattr(commands, "_settings", dead)
    began = time.perf_counter()
    for _ in range(100):
        with jobmon.command("x"):
            pass
    assert time.perf_counter() - began < 0.5
    assert len(own.buffer) == 200
    monkeypatch.setattr(own, "settings", None)  # nothing to wait for at the end
    own.close()
