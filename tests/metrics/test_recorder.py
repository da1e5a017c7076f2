"""Families of jobmon itself."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from jobmon.model import Beat, Outcome
from jobmon.store import beats, connection
from jobmon.store.beats import Beats
from jobmon.store.writer import Writer
from tests.metrics.conftest import Sampled
from tests.serving import Recorded


def test_what_arrived_and_what_was_dropped_is_counted(recorded: Recorded, sampled: Sampled) -> None:
    run = recorded.run()
    run.jobs(2, Outcome.COMPLETED)
    assert sampled("jobmon_transitions_total") == 7
    assert sampled("jobmon_transitions_dropped_total", reason="overflow") == 0
    with connection.connect(recorded.settings) as client:
        Writer(client, recorded.settings).apply([], {"overflow": 3, "pipe": 1})
    assert sampled("jobmon_transitions_dropped_total", reason="overflow") == 3
    assert sampled("jobmon_transitions_dropped_total", reason="pipe") == 1
    lag = sampled("jobmon_transitions_lag_seconds")
    assert lag is not None
    assert 0 <= lag < 60


def test_labels_beyond_their_limit_show_as_overflow(recorded: Recorded, sampled: Sampled) -> None:
    run = recorded.run()
    for number in range(505):
        run.job(job_name=f"task_{number}")
    assert sampled("jobmon_label_values", label="job_name") == 500
    overflow = sampled("jobmon_label_overflow_total", label="job_name")
    assert overflow is not None
    assert overflow >= 5
    other = {"engine": "celery", "queue": "default", "job_name": "other"}
    assert sampled("jobmon_jobs_enqueued_total", **other) == 5


def test_workers_and_schedules_beyond_their_limits_are_refused_and_counted(
    recorded: Recorded, sampled: Sampled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beats, "MOST_ENTRIES", 2)
    with connection.connect(recorded.settings) as client:
        told = [Beat("schedule", f"s\x1f{name}", body=b'{"name":"n"}') for name in "abc"]
        assert Beats(client, recorded.settings).send(told).refused == 1
    assert sampled("jobmon_label_values", label="schedule") == 2
    assert sampled("jobmon_label_values", label="worker") == 0
    assert sampled("jobmon_label_overflow_total", label="schedule") == 1


def test_the_version_is_a_series(sampled: Sampled) -> None:
    assert sampled("jobmon_build_info", version=version("jobmon")) == 1
