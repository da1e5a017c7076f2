"""Families of what was learned, and of the numbers that are compared with it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from jobmon.metrics import learned
from jobmon.model import Beat, Outcome
from jobmon.settings import load
from jobmon.store import connection
from jobmon.store.beats import Beats
from jobmon.store.bounds import Bound, Bounds, BoundStore, Learned
from jobmon.store.reader import Reader
from tests.metrics.conftest import Sampled
from tests.serving import Recorded

KEY = ("default", "production", "data:process")
ONE = Learned(
    bounds=Bounds(Bound(29.0), Bound(90.0), Bound(0.11), Bound(25.0), Bound(110.0)),
    runs=60,
    learned_at=1_790_000_000.0,
    started_at=1_789_999_000.0,
    jobs=50.0,
    failure_ratio=0.02,
    expected_at=1_790_003_600.0,
    expected_after=1_790_000_000.0,
    grace_seconds=600.0,
)


@pytest.fixture
def kept(recorded: Recorded) -> Iterator[BoundStore]:
    with connection.connect(recorded.settings) as client:
        yield BoundStore(client, recorded.settings)


def test_everything_that_was_learned_of_a_command_is_shown(
    kept: BoundStore, sampled: Sampled
) -> None:
    kept.write({KEY: ONE})
    shown = {
        "jobmon_command_duration_lower_bound_seconds": 29,
        "jobmon_command_duration_upper_bound_seconds": 90,
        "jobmon_command_failure_ratio_upper_bound": 0.11,
        "jobmon_command_jobs_lower_bound": 25,
        "jobmon_command_jobs_upper_bound": 110,
        "jobmon_baseline_runs": 60,
        "jobmon_baseline_updated_timestamp_seconds": 1_790_000_000,
        "jobmon_command_last_failure_ratio": 0.02,
        "jobmon_command_last_jobs": 50,
        "jobmon_command_grace_seconds": 600,
    }
    for name, value in shown.items():
        assert sampled(name, command="data:process") == value, name
    kept.write({KEY: Learned(bounds=Bounds(), maximum_seconds=7200.0, runs=3)})
    assert sampled("jobmon_command_duration_upper_bound_seconds", command="data:process") == 7200
    for name in set(shown) - {"jobmon_baseline_runs"}:
        if "upper_bound_seconds" not in name:
            assert sampled(name, command="data:process") is None, name


def test_what_is_set_of_a_command_is_shown_before_anything_is_learned(
    recorded: Recorded, sampled: Sampled
) -> None:
    own = {"maximum_run_time_seconds": 3600, "start_margin_seconds": 1800}
    of_commands = {"new": own, "muted": own | {"mute": True}}
    url = recorded.settings.redis.url
    recorded.settings = load({"redis.url": url, "analyze_mode.commands": of_commands}, environ={})
    shown = {
        "jobmon_command_duration_upper_bound_seconds": 3600,
        "jobmon_command_maximum_run_time_seconds": 3600,
        "jobmon_command_grace_seconds": 1800,
    }
    for name, value in shown.items():
        assert sampled(name, command="new") == value, name
        assert sampled(name, command="muted") is None, name
    for name in of_commands:
        body = {"engine": "celery", "kind": "beat", "name": name, "next_due_at": 1000.5}
        with connection.connect(recorded.settings) as client:
            beat = Beat("schedule", f"s\x1f{name}", body=json.dumps(body).encode())
            Beats(client, recorded.settings).send([beat])
    expected = "jobmon_command_next_expected_timestamp_seconds"
    assert sampled(expected, command="new") == 1000.5
    assert sampled(expected, command="muted") is None


def test_a_muted_command_has_no_series(kept: BoundStore, sampled: Sampled) -> None:
    kept.write({KEY: Learned(bounds=ONE.bounds, runs=60, grace_seconds=1.0, is_muted=True)})
    for family in learned.FAMILIES:
        assert sampled(family.name, command="data:process") is None


def test_the_bound_of_a_queue_is_shown(kept: BoundStore, sampled: Sampled) -> None:
    kept.write_queues({("rq", "high"): Bound(5.1)}, {})
    name = "jobmon_queue_time_upper_bound_seconds"
    assert sampled(name, engine="rq", queue="high") == 5.1
    kept.write_queues({}, {}, [("rq", "high")])
    assert sampled(name, engine="rq", queue="high") is None


def test_what_a_scheduler_tells_goes_before_what_was_learned(
    kept: BoundStore, recorded: Recorded, sampled: Sampled
) -> None:
    name = "jobmon_command_next_expected_timestamp_seconds"
    kept.write({KEY: ONE})
    assert sampled(name, command="data:process") == 1_790_003_600
    entry = {"engine": "celery", "kind": "beat", "name": "data:process", "next_due_at": 1.9e9}
    scheduler = {"engine": "celery", "kind": "beat", "name": "shop", "hostname": "h", "pid": 1}
    with connection.connect(recorded.settings) as client:
        Beats(client, recorded.settings).send(
            [
                Beat("scheduler", "s", body=json.dumps(scheduler).encode()),
                Beat("schedule", "s\x1fdata:process", body=json.dumps(entry).encode()),
            ]
        )
    assert sampled(name, command="data:process") == 1.9e9


def test_a_start_is_expected_until_there_is_one(kept: BoundStore, recorded: Recorded) -> None:
    with connection.connect(recorded.settings) as client:
        reader = Reader(client, recorded.settings)

        def expected() -> dict[str, float]:
            return learned.expected(reader.totals())

        kept.write({KEY: ONE})
        assert expected() == {"data:process": 1_790_003_600.0}
        run = recorded.run(started_at=1_790_003_500.0)
        assert expected() == {}
        run.end(Outcome.COMPLETED)
        assert expected() == {}  # the run that ended may be the one that was awaited
        kept.write({KEY: Learned(bounds=Bounds(), expected_at=5.0, expected_after=1_790_003_500.0)})
        assert expected() == {"data:process": 5.0}
        kept.write({KEY: Learned(bounds=Bounds(), expected_after=time.time())})
        assert expected() == {}
