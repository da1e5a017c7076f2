"""Families of jobmon itself."""

from __future__ import annotations

from importlib.metadata import version

from jobmon.model import Outcome
from jobmon.store import connection
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


def test_the_version_is_a_series(sampled: Sampled) -> None:
    assert sampled("jobmon_build_info", version=version("jobmon")) == 1
