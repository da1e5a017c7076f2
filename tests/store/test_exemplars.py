"""Exemplars: a sampled job for each place where jobs are counted, seldom a newer one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from jobmon.model import Outcome, Status, Transition
from jobmon.settings import Settings
from jobmon.store.keys import Keys
from jobmon.store.reader import Reader
from jobmon.store.state import Exemplar, JobSeries
from jobmon.store.writer import Writer
from tests.store.histories import transition

if TYPE_CHECKING:
    from tests.conftest import RedisServer

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NOW_MS = int(time.time() * 1000)


def ended(job_id: str, span_id: str = SPAN, *, at_ms: int = NOW_MS, **more: Any) -> Transition:
    own = transition("p1", job_id, Status.COMPLETED, at_ms=at_ms)
    body = b'"queue":"q","trace_id":"%s","span_id":"%s","v":1}'
    return own._replace(
        **{
            "stages": 6,
            "outcome": "completed",
            "execution_us": 730_000,
            "body": body % (TRACE.encode(), span_id.encode()),
            **more,
        }
    )


def read(store: RedisServer, *batches: list[Transition]) -> JobSeries:
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        for batch in batches:
            writer.apply(batch)
        return reader.totals().jobs[0]


def test_a_bucket_and_an_outcome_name_a_sampled_job(store: RedisServer) -> None:
    series = read(store, [ended("job1")])
    expected = Exemplar(TRACE, SPAN, 0.73, NOW_MS / 1000)
    assert series.duration.exemplars == {4: expected}
    assert series.finished_exemplars == {"completed": expected}


@pytest.mark.parametrize("place", ["x", "-1", "20", "99", "100", "9" * 400, ""])
def test_an_exemplar_of_no_bucket_marks_none(store: RedisServer, place: str) -> None:
    series = read(store, [ended("job1")])
    with store.client() as client:
        raw: Any = client
        told = raw.hget("jobmon:exemplars", "1:duration:4")
        raw.hset("jobmon:exemplars", f"1:duration:{place}", told)
        raw.hset("jobmon:exemplars", "1:duration:5", b"9" * 400 + told)
        again = Reader(client, Settings()).totals().jobs[0]
    assert len(series.duration.counts) <= 20
    assert again.duration.exemplars == series.duration.exemplars


@pytest.mark.parametrize(
    "body",
    [
        b'"queue":"q","trace_id":"%s","span_id":"","v":1}' % TRACE.encode(),
        b'"queue":"q","v":1}',
        b'"queue":"trace_id\\":\\"%s\\",\\"span_id\\":\\"%s","v":1}'
        % (TRACE.encode(), SPAN.encode()),
        b'"trace_id":"%s","span_id":"%s","v":1}' % (b"Z" * 32, SPAN.encode()),
        b'"trace_id":"}',
    ],
)
def test_what_is_not_sampled_is_no_exemplar(store: RedisServer, body: bytes) -> None:
    series = read(store, [ended("job1", body=body)])
    assert series.finished == {"completed": 1}
    assert series.duration.exemplars == series.finished_exemplars == {}


def test_each_place_has_its_own_and_a_lost_job_has_no_duration(store: RedisServer) -> None:
    series = read(
        store,
        [
            ended("job1"),
            ended("job2", "1" * 16, execution_us=9_000_000_000, outcome="failed", status="failed"),
            ended("job3", "2" * 16, outcome=str(Outcome.LOST), status="lost", stages=10),
        ],
    )
    assert {k: v.span_id for k, v in series.duration.exemplars.items()} == {4: SPAN, 14: "1" * 16}
    assert {k: v.span_id for k, v in series.finished_exemplars.items()} == {
        "completed": SPAN,
        "failed": "1" * 16,
        "lost": "2" * 16,
    }


def test_a_newer_one_replaces_it_after_ten_seconds_and_never_an_older_one(
    store: RedisServer,
) -> None:
    first = NOW_MS - 60_000
    steps = [(first, "1"), (first + 9_999, "1"), (first - 99_000, "1"), (first + 10_000, "4")]
    for place, (at_ms, expected) in enumerate(steps, 1):
        series = read(store, [ended(f"job{place}", str(place) * 16, at_ms=at_ms)])
        assert series.finished_exemplars["completed"].span_id == expected * 16


def test_a_clock_that_is_ahead_does_not_keep_newer_ones_out(store: RedisServer) -> None:
    series = read(store, [ended("job1", at_ms=NOW_MS + 10**9)])
    assert abs(series.finished_exemplars["completed"].ended_at - time.time()) < 60


def test_a_job_that_counts_nothing_writes_no_exemplar(store: RedisServer) -> None:
    again = ended("job1")
    read(store, [again])
    with store.client() as client:
        client.delete(Keys("jobmon:").exemplars)
    assert read(store, [again]).finished_exemplars == {}
