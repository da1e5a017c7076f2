"""Series that count nothing any more go, and their labels' places are free."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from jobmon.metrics import compat, jobs
from jobmon.metrics.family import Marked
from jobmon.model import Outcome, RunTransition, Status
from jobmon.settings import Settings, load
from jobmon.store import series
from jobmon.store.chunks import chunks
from jobmon.store.idle_series import IdleSeries
from jobmon.store.keys import LEADER, Keys
from jobmon.store.lease import Lease
from jobmon.store.reader import Reader
from jobmon.store.state import Histogram
from jobmon.store.writer import Writer
from tests.store.histories import NOW_MS, transition

if TYPE_CHECKING:
    from tests.conftest import RedisServer

KEYS = Keys("jobmon:")
DAY_MS = 86_400_000
TRACED = b'"trace_id":"%s","span_id":"%s","v":1}' % (b"1" * 32, b"2" * 16)


class Store(NamedTuple):
    client: Any
    writer: Writer
    reader: Reader
    token: int

    def forget(self, *in_use: str, token: int | None = None, days: int = 30) -> int:
        settings = load({"metrics.series_retention_days": days}, environ={})
        wanted = self.token if token is None else token
        return IdleSeries(self.client, settings).forget(wanted, in_use)

    def age(self, days: float) -> None:
        """Let all series have been seen last so many days ago."""
        then = time.time() * 1000 - days * DAY_MS
        for member in self.client.zrange(KEYS.series_seen, 0, -1):
            self.client.zadd(KEYS.series_seen, {member: then})

    def job(self, job_id: str, status: Status = Status.COMPLETED, **fields: Any) -> None:
        outcome = {Status.COMPLETED: "completed", Status.FAILED: "failed"}.get(status, "")
        error_type = "ValueError" if status is Status.FAILED else ""
        stages = 7 if outcome else 1
        one = transition("p1", job_id, status, at_ms=int(time.time() * 1000))
        given = {"outcome": outcome, "error_type": error_type, "stages": stages, "body": TRACED}
        self.writer.apply([one._replace(**given | {"queue_time_us": 5} | fields)])

    def counters(self) -> dict[tuple[str, ...], object]:
        """What is exported of jobs and never falls, by name of the family and labels."""
        totals = self.reader.totals()
        exporters = (one for exporter in compat.EXPORTERS.values() for one in exporter.families)
        return {
            (family.name, *labels): (*value.counts, value.sum)
            if isinstance(value, Histogram)
            else value.number
            if isinstance(value, Marked)
            else value
            for family in (*jobs.FAMILIES, *exporters)
            if family.type in ("counter", "histogram")
            for labels, value in family.read(totals)
        }

    def names(self) -> dict[str, int]:
        return {one.job_name: one.enqueued for one in self.reader.totals().jobs}


@pytest.fixture
def kept(store: RedisServer) -> Iterator[Store]:
    settings = Settings()
    with store.client() as client:
        lease = Lease(client, settings, LEADER)
        token = lease.acquire()
        assert token is not None
        yield Store(client, Writer(client, settings), Reader(client, settings), token)


def test_idle_series_go_with_all_that_was_counted_in_them(kept: Store) -> None:
    for number, outcome in enumerate(Outcome):
        ends = {"outcome": str(outcome), "execution_us": 10 ** (number + 4)}
        kept.job(f"a{number}", Status.COMPLETED, job_name="old", queue="past", **ends)
    lost = transition("p1", "lost", Status.LOST)
    kept.writer.apply([lost._replace(outcome="lost", stages=10, error_type="WorkerLost")])
    kept.job("lost")
    for status, outcome in (("running", ""), ("lost", "lost"), ("completed", "completed")):
        run = RunTransition("p1", "c", status, outcome, NOW_MS, 5_000_000, 0, b"{}")
        kept.writer.apply([run])
    kept.client.delete(KEYS.failed_in("1"), KEYS.failed_in("2"))
    kept.age(31)
    assert kept.forget() > 2
    for key in (KEYS.job_totals, KEYS.command_totals, KEYS.exemplars, KEYS.job_series):
        assert kept.client.hgetall(key) == {}
    for key in (KEYS.command_series, KEYS.error_series):
        assert kept.client.hgetall(key) == {}
    assert kept.client.smembers(KEYS.job_names) == kept.client.smembers(KEYS.error_types) == set()
    assert kept.client.zcard(KEYS.queues) == kept.client.zcard(KEYS.series_seen) == 0


def test_one_that_was_seen_meanwhile_stays_and_one_that_comes_back_begins_at_zero(
    kept: Store,
) -> None:
    kept.job("a1", job_name="old")
    kept.job("a2", job_name="new")
    kept.age(31)
    kept.job("a3", job_name="new")
    assert kept.forget() == 1
    assert kept.names() == {"new": 2}
    kept.job("a4", job_name="old")
    assert kept.names() == {"new": 2, "old": 1}


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_counter_changes_while_one_series_of_it_stays(kept: Store, at_once: int) -> None:
    for engine, queue, number in product(("celery", "rq"), ("mail", "video"), range(1, 5)):
        labels = {"engine": engine, "queue": queue, "job_name": f"task{number}"}
        # In floating point, a sum of these depends on which are added first.
        took = dict.fromkeys(("queue_time_us", "execution_us"), number * 123_457)
        for status in (Status.COMPLETED, Status.FAILED):
            kept.job(f"{engine}{queue}{number}{status}", status, **labels, **took)
    kept.client.delete(*kept.client.keys(KEYS.failed_in("*")))
    series = [one for one in kept.client.zrange(KEYS.series_seen, 0, -1) if b"jobs" in one]
    Random(1).shuffle(series)
    before = kept.counters()
    for some in chunks(series, at_once):
        kept.client.zadd(KEYS.series_seen, dict.fromkeys(some, 0))
        assert kept.forget() == len(some)
        after = kept.counters()
        assert after == {name: before[name] for name in after}
        for one in kept.reader.totals().jobs:
            assert ("jobmon_job_queue_time_seconds", one.engine, one.queue) in after
            assert ("jobmon_job_errors_total", one.job_name, "ValueError") in after
        before = after
    assert before == {}
    assert kept.client.hgetall(KEYS.job_totals) == {}


def test_what_is_no_number_is_handed_to_nobody(kept: Store) -> None:
    kept.job("a1")
    kept.job("b1", job_name="other")
    gone, stays = "1", "2"
    for place, value in enumerate(("1.5", "-", "1e9", "9" * 40, "", "7")):
        kept.client.hset(KEYS.job_totals, f"{gone}:queue_time:{place}", value)
    kept.client.zadd(KEYS.series_seen, {f"jobs:{gone}": 0})
    assert kept.forget() == 1
    handed = f"{stays}/queue:queue_time:"
    found = kept.client.hgetall(KEYS.job_totals)
    assert found[f"{handed}5".encode()] == b"7"
    assert not {f"{handed}{place}".encode() for place in range(5)} & set(found)


def test_a_series_of_29_days_stays(kept: Store) -> None:
    kept.job("a1")
    kept.age(29)
    assert kept.forget() == 0
    assert kept.forget(days=28) == 2


def test_the_places_of_its_labels_are_free_for_others(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MOST_JOB_NAMES", "MOST_QUEUES", "MOST_ERROR_TYPES_OF_A_JOB"):
        monkeypatch.setattr(series, name, 1)
    writer = Writer(kept.client, Settings())
    kept = kept._replace(writer=writer)
    kept.job("a1", Status.FAILED, job_name="old", queue="past")
    kept.client.delete(KEYS.failed_in("1"))
    kept.age(31)
    kept.forget()
    kept.job("b1", Status.FAILED, job_name="new", queue="now", error_type="KeyError")
    (found,) = kept.reader.totals().jobs
    assert (found.job_name, found.queue, found.errors) == ("new", "now", {"KeyError": 1})
    assert kept.reader.totals().label_values["error_type"] == 1


@pytest.mark.parametrize("status", [Status.PENDING, Status.PROCESSING, Status.FAILED])
def test_a_series_with_jobs_that_wait_run_or_failed_stays(kept: Store, status: Status) -> None:
    kept.job("a1", status)
    kept.age(31)
    kept.forget()
    (found,) = kept.reader.totals().jobs
    assert (found.pending, found.processing) == (status == "pending", status == "processing")


def test_what_has_lost_its_record_does_not_keep_its_series(kept: Store) -> None:
    kept.job("a1", Status.PENDING)
    then = int(time.time() * 1000) - 20 * DAY_MS
    for member in kept.client.zrange(KEYS.pending("1"), 0, -1):
        kept.client.zadd(KEYS.pending("1"), {member: then})
    kept.age(31)
    kept.forget()
    assert kept.reader.totals().jobs == []


def test_a_command_that_is_in_use_keeps_its_series(kept: Store) -> None:
    kept.writer.apply([RunTransition("p1", "monthly", "running", "", NOW_MS, 0, 0, b"{}")])
    kept.age(31)
    assert kept.forget("monthly", "never:seen") == 0
    kept.age(31)
    assert kept.forget("never:seen") == 1


def test_series_that_an_earlier_version_made_are_seen_now(kept: Store) -> None:
    kept.job("a1")
    kept.client.delete(KEYS.series_seen)
    assert kept.forget() == 0
    assert kept.client.zcard(KEYS.series_seen) == 2


def test_who_does_not_lead_forgets_nothing(kept: Store) -> None:
    kept.job("a1")
    kept.age(31)
    assert kept.forget(token=kept.token + 1) == 0
    assert kept.names() == {"app.tasks.work": 1}


def test_more_than_one_call_takes_go_too(kept: Store) -> None:
    for number in range(150):
        kept.job(f"a{number}", job_name=f"task{number}")
    kept.age(31)
    assert kept.forget() == 151


def test_being_seen_is_written_once_an_hour(kept: Store) -> None:
    def seen() -> dict[bytes, float]:
        return dict(kept.client.zrange(KEYS.series_seen, 0, -1, withscores=True))

    kept.job("a1")
    first = seen()
    kept.job("a2")
    assert seen() == first
    kept.age(1 / 23)
    kept.job("a3")
    assert all(seen()[member] > score - 1 for member, score in first.items())
