"""Starts that do not come, by what the store tells: of schedulers, and of the last copy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from jobmon.analysis.checks import Kind
from jobmon.store.bounds import BoundStore
from jobmon.store.keys import Keys
from tests.analysis.evaluated import HOUR, Evaluated, evaluated
from tests.conftest import RedisServer
from tests.databases import Database

HOURLY = {"name": "data:process", "schedule": "0 * * * *", "timezone": "UTC"}
OTHER = {"name": "other", "schedule": "every 5 s"}


@pytest.fixture
def fleet(own_database: Database, store: RedisServer) -> Iterator[Evaluated]:
    with evaluated(own_database, store) as one:
        yield one


def silent(fleet: Evaluated, many: int, **more: Any) -> str:
    """Hourly runs, of which the last started 2.7 hours ago."""
    fleet.now -= 1.7 * HOUR
    *_, last = fleet.steady(many=many, every=HOUR, **more)
    fleet.judge_all()
    return last


def missing(fleet: Evaluated) -> list[str]:
    """Commands of which a start is."""
    report = fleet.analyze()
    assert report.errors == []
    return [one.command_name for one in report.missed]


@pytest.mark.parametrize(
    ("engine", "kind", "entry", "source"),
    [
        ("celery", "beat", HOURLY, "beat"),
        ("celery", "beat", HOURLY | {"schedule": "every 3600 s"}, "beat"),
        ("rq", "cron", HOURLY, "rq cron"),
    ],
)
def test_a_scheduler_in_the_store_says_what_two_runs_do_not(
    fleet: Evaluated, engine: str, kind: str, entry: dict[str, str], source: str
) -> None:
    last = silent(fleet, many=2)
    assert missing(fleet) == []
    fleet.scheduler(entry, engine=engine, kind=kind)
    [missed] = fleet.analyze().missed
    assert (missed.command_name, missed.process_id) == ("data:process", last)
    assert missed.expected_interval_hours == pytest.approx(1.0)
    assert fleet.incidents()[0]["test"] == source
    fleet.start()
    assert fleet.analyze_new().missed == []
    assert [state for state, _ in fleet.turns()] == ["opened", "resolved"]


def test_the_zone_of_an_entry_is_that_of_its_line(fleet: Evaluated) -> None:
    fleet.run(ago=20 * HOUR)
    noon = {"name": "data:process", "schedule": "0 12 * * *"}
    hour = time.gmtime().tm_hour
    # Where it is ten at night: noon was ten hours ago.
    fleet.scheduler(noon | {"timezone": zone((22 - hour) % 24)})
    assert missing(fleet) == ["data:process"]
    # Where it is ten in the morning: the last noon was before the run.
    fleet.scheduler(noon | {"timezone": zone((10 - hour) % 24)})
    assert missing(fleet) == []


def zone(hours: int) -> str:
    """The name of one so far ahead of UTC, modulo a day: its sign is the other way round."""
    ahead = hours if hours <= 12 else hours - 24
    return f"Etc/GMT{-ahead:+d}" if ahead else "UTC"


def test_of_an_entry_that_is_disabled_nothing_is_due(fleet: Evaluated) -> None:
    silent(fleet, many=60)
    fleet.scheduler(HOURLY | {"enabled": False})
    assert missing(fleet) == []
    fleet.scheduler(HOURLY)
    assert missing(fleet) == ["data:process"]


def test_what_a_scheduler_tells_of_is_given_up_once_it_is_disabled(fleet: Evaluated) -> None:
    silent(fleet, many=60)
    fleet.scheduler(HOURLY)
    assert missing(fleet) == ["data:process"]
    fleet.age(timedelta(days=8))
    assert missing(fleet) == ["data:process"]
    fleet.scheduler(HOURLY | {"enabled": False})
    assert missing(fleet) == []
    [row] = fleet.incidents()
    assert (row["state"], row["resolution"]) == ("resolved", "given up")


@pytest.mark.parametrize(
    ("source", "up", "found"),
    [
        ("schedule", True, []),
        ("console", True, ["data:process"]),
        ("schedule", False, ["data:process"]),
    ],
)
def test_what_a_scheduler_started_and_knows_no_longer_was_taken_out(
    fleet: Evaluated, source: str, up: bool, found: list[str]
) -> None:
    fleet.client.hset(Keys("jobmon:").command_series, "data:process", 1)
    silent(fleet, many=60, source=source)
    fleet.scheduler(OTHER, ago=0.0 if up else 3600.0)
    assert missing(fleet) == found
    # Rules go by that.
    [learned] = BoundStore(fleet.client, fleet.settings).commands().values()
    assert (learned.expected_at is not None) == bool(found)


def test_a_start_that_was_not_copied_yet_is_not_missing(fleet: Evaluated) -> None:
    silent(fleet, many=60)
    fleet.finish(fleet.start(ago=0.5 * HOUR))
    assert missing(fleet) == [], "nothing was ever copied"
    copied(fleet, ago=2 * HOUR)
    assert missing(fleet) == [], "the next start was not due by then"
    assert fleet.events() == []


def test_what_was_due_before_the_last_copy_is_missing_whatever_waits_for_the_next(
    fleet: Evaluated,
) -> None:
    silent(fleet, many=60)
    fleet.finish(fleet.start("other"))
    copied(fleet, ago=2 * HOUR)
    assert missing(fleet) == []
    copied(fleet, ago=0.0)
    assert missing(fleet) == ["data:process"]
    assert fleet.turns() == [("opened", Kind.MISSED_EXECUTION)]


def copied(fleet: Evaluated, ago: float) -> None:
    """The last pass copied everything by then, in no time."""
    at_ms = int((time.time() - ago) * 1000)
    totals = Keys(fleet.settings.redis.prefix).sync_totals
    fleet.client.hset(totals, mapping={"success_ms": at_ms, "duration_us": 0})
