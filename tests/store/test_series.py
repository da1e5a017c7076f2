"""Cardinality is bounded where it is written: sticky places, the rest under `other`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jobmon.model import RunTransition, Status
from jobmon.settings import Settings
from jobmon.store import series
from jobmon.store.keys import Keys
from jobmon.store.reader import Reader
from jobmon.store.writer import Writer
from tests.store.histories import NOW_MS, transition

if TYPE_CHECKING:
    from tests.conftest import RedisServer


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in {
        "MOST_JOB_NAMES": 3,
        "MOST_QUEUES": 2,
        "MOST_COMMANDS": 2,
        "MOST_ERROR_TYPES_OF_A_JOB": 2,
        "MOST_ERROR_TYPES": 3,
    }.items():
        monkeypatch.setattr(series, name, most)


@pytest.mark.usefixtures("small")
def test_job_names_beyond_the_limit_count_under_other_for_ever(store: RedisServer) -> None:
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        for at in (0, 1, 2, 3, 4, 0, 4, 3):
            job = transition("p1", f"job{at}", Status.PENDING, job_name=f"task{at}", stages=1)
            writer.apply([job, job._replace(job_id=f"again{at}")])
        totals = reader.totals()
    enqueued = {one.job_name: one.enqueued for one in totals.jobs}
    assert enqueued == {"task0": 2, "task1": 2, "task2": 2, "other": 4}
    assert {one.job_name: one.pending for one in totals.jobs} == enqueued
    assert totals.label_overflow == {"job_name": 4}
    assert totals.label_values["job_name"] == 3


@pytest.mark.usefixtures("small")
def test_queues_beyond_the_limit_share_one_series(store: RedisServer) -> None:
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        jobs = [
            transition("p1", f"job{at}", Status.PROCESSING, queue=f"queue{at}", stages=2)
            for at in range(6)
        ]
        writer.apply(jobs)
        counts = reader.queue_counts()
        totals = reader.totals()
    assert {queue: count.processing for queue, count in counts.items()} == {
        "queue0": 1,
        "queue1": 1,
        "other": 4,
    }
    assert totals.label_overflow == {"queue": 4}


@pytest.mark.usefixtures("small")
def test_series_beyond_the_limit_count_under_the_name_other_of_their_queue(
    store: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "MOST_JOB_SERIES", 3)
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())

        def publish(run: str, *places: str) -> None:
            labels = ((place, *place.split("/")) for place in places)
            writer.apply(
                [
                    transition(run, place, Status.PENDING, queue=queue, job_name=name, stages=1)
                    for place, queue, name in labels
                ]
            )

        publish("p1", "a/one", "a/two", "b/one", "a/three", "b/two")
        publish("p2", "a/one", "b/two", "c/one")
        totals = reader.totals()
    assert {f"{one.queue}/{one.job_name}": one.enqueued for one in totals.jobs} == {
        "a/one": 2,
        "a/two": 1,
        "b/one": 1,
        "a/other": 1,
        "b/other": 2,
        "other/other": 1,
    }
    assert totals.label_overflow == {"series": 4, "queue": 1}
    used = totals.label_values
    assert (used["series"], used["job_name"], used["queue"]) == (6, 2, 3)


@pytest.mark.usefixtures("small")
def test_error_types_are_bounded_by_job_and_overall(store: RedisServer) -> None:
    def failure(job_name: str, error: str) -> None:
        job = transition("p1", f"{job_name}{error}", Status.FAILED, job_name=job_name)
        writer.apply([job._replace(error_type=error, stages=4, outcome="failed")])

    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        for error in ("A", "B", "C", "D"):
            failure("first", error)
        for error in ("A", "E", "F"):
            failure("second", error)
        totals = reader.totals()
    errors = {one.job_name: one.errors for one in totals.jobs}
    assert errors == {
        "first": {"A": 1, "B": 1, "other": 2},
        "second": {"A": 1, "E": 1, "other": 1},
    }
    assert totals.label_overflow == {"error_type": 3}


@pytest.mark.usefixtures("small")
def test_commands_beyond_the_limit_count_under_other(store: RedisServer) -> None:
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        for at in range(4):
            common = (NOW_MS, 2_000_000, 0, b'{"command":"c%d","started_at":5}' % at)
            writer.apply([RunTransition(f"p{at}", f"c{at}", "running", "", *common)])
            if at != 3:
                writer.apply([RunTransition(f"p{at}", f"c{at}", "completed", "completed", *common)])
        totals = reader.totals()
        newest = [client.get(Keys("jobmon:").newest_run(f"c{at}")) for at in range(4)]
    assert {one.command: one.runs for one in totals.commands} == {
        "c0": {"completed": 1},
        "c1": {"completed": 1},
        "other": {"completed": 1},
    }
    assert {one.command: one.running for one in totals.commands}["other"] == 1
    assert totals.label_overflow == {"command": 1}
    assert newest == [b"p0", b"p1", b"p2", b"p3"]


def test_labels_lose_control_characters_and_are_cut() -> None:
    assert series.label("a\x1fb\nc\x00") == b"abc"
    assert series.label("é" * 200) == ("é" * 128).encode()
    assert series.label("lone \ud800") == b"lone ?"
    assert series.label_set("celery", "q\x1f", "n") == b"celery\x1fq\x1fn"
