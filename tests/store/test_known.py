"""Jobs and commands that are known before they run: told by workers, schedules and settings."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from jobmon.model import Beat, RunTransition, Status
from jobmon.settings import Settings, load
from jobmon.store import beats, series
from jobmon.store.beats import Beats
from jobmon.store.keys import Keys
from jobmon.store.reader import Reader
from jobmon.store.series import label_set
from jobmon.store.state import Totals
from jobmon.store.writer import Writer
from tests.store.histories import NOW_MS, transition

if TYPE_CHECKING:
    from tests.conftest import RedisServer

KEYS = Keys("jobmon:")


class Store(NamedTuple):
    client: Any
    writer: Writer
    send: Callable[[list[Beat]], object]

    def tell(self, *names: str, queue: str = "default") -> None:
        self.send([Beat("job", label_set("celery", queue, name).decode()) for name in names])

    def run(self, name: str, queue: str = "default") -> None:
        one = transition("p1", f"{queue}/{name}", Status.PENDING, job_name=name, queue=queue)
        self.writer.apply([one._replace(stages=1)])

    def totals(self, settings: Settings | None = None) -> Totals:
        return Reader(self.client, settings or Settings()).totals()

    def known(self) -> list[tuple[str, str]]:
        return [(queue, name) for _, queue, name in self.totals().known_jobs]


@pytest.fixture
def told(store: RedisServer) -> Iterator[Store]:
    with store.client() as client:
        settings = Settings()
        yield Store(client, Writer(client, settings), Beats(client, settings).send)


def test_a_job_is_known_until_it_has_a_series(told: Store) -> None:
    told.tell("b", "a")
    assert told.known() == [("default", "a"), ("default", "b")]
    assert told.totals().label_values["job_name"] == 0
    told.run("a")
    assert told.known() == [("default", "b")]
    told.run("b", queue="other one")
    assert told.known() == [("default", "b")]


def test_a_job_that_is_known_takes_no_place_of_one_that_runs(
    told: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "MOST_JOB_NAMES", 2)
    monkeypatch.setattr(series, "MOST_QUEUES", 2)
    told = told._replace(writer=Writer(told.client, Settings()))
    told.tell("a", "b", "c")
    assert told.known() == [("default", "a"), ("default", "b")]
    told.run("x")
    told.run("y")
    told.run("z")
    assert {one.job_name for one in told.totals().jobs} == {"x", "y", "other"}
    assert told.known() == []
    told.tell("x", "y", queue="second")
    told.tell("x", queue="third")
    assert told.known() == [("second", "x"), ("second", "y")]


def test_known_jobs_leave_the_limit_of_series_as_it_is(
    told: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "MOST_JOB_SERIES", 2)
    told.run("ran")
    told.tell("a", "b")
    assert told.known() == [("default", "a")]


def test_a_job_that_nobody_tells_of_any_more_is_forgotten_after_a_day(told: Store) -> None:
    told.tell("a", "b")
    then = time.time() * 1000 - beats.WORKER_FORGOTTEN_SECONDS * 1000 - 1000
    told.client.zadd(KEYS.known_jobs, {label_set("celery", "default", "a"): then})
    told.tell("b")
    assert told.known() == [("default", "b")]


def test_known_jobs_are_bounded_and_those_of_the_past_give_way(
    told: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beats, "MOST_KNOWN_JOBS", 2)
    told = told._replace(send=Beats(told.client, Settings()).send)
    told.tell("a", "b", "c")
    assert told.known() == [("default", "a"), ("default", "b")]
    assert told.totals().label_overflow == {}
    then = time.time() * 1000 - beats.ENTRY_STALE_SECONDS * 1000 - 1
    told.client.zadd(KEYS.known_jobs, {label_set("celery", "default", "a"): then})
    told.tell("c")
    assert told.known() == [("default", "b"), ("default", "c")]


def test_commands_are_known_from_schedules_and_settings(told: Store) -> None:
    for name, enabled in (("nightly", True), ("off", False), ("ran", True)):
        body = {"name": name, "job_name": "j", "enabled": enabled, "engine": "celery"}
        text = json.dumps({**body, "kind": "beat", "schedule": "1 day"}).encode()
        told.send([Beat("schedule", f"s\x1f{name}", body=text)])
    told.writer.apply([RunTransition("p1", "ran", "running", "", NOW_MS, 0, 0, b"{}")])
    given = {"analyze_mode.commands": {"report:*": {"mute": True}, "report:sales": {"mute": True}}}
    totals = told.totals(load(given, environ={}))
    assert totals.known_commands == ["nightly", "report:sales"]
    assert [one.command for one in totals.commands] == ["ran"]


def test_known_commands_leave_the_limit_as_it_is(
    told: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "MOST_COMMANDS", 2)
    told.writer.apply([RunTransition("p1", "ran", "running", "", NOW_MS, 0, 0, b"{}")])
    given = {"analyze_mode.commands": {"b": {"mute": True}, "a": {"mute": True}}}
    assert told.totals(load(given, environ={})).known_commands == ["a"]
