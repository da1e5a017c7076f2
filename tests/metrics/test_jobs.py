"""Families of jobs."""

from __future__ import annotations

from jobmon.model import Beat, Outcome, Stage, Status
from jobmon.store import connection
from jobmon.store.beats import Beats
from jobmon.store.series import label_set
from tests.metrics.conftest import Sampled
from tests.serving import Recorded

SERIES = {"engine": "celery", "queue": "default", "job_name": "app.tasks.process_user"}


def test_stages_are_counted_by_engine_queue_and_name(recorded: Recorded, sampled: Sampled) -> None:
    run = recorded.run()
    run.jobs(3)
    run.jobs(2, Outcome.COMPLETED)
    run.jobs(1, Outcome.COMPLETED, engine="rq", queue="mail", job_name="send")
    assert sampled("jobmon_jobs_enqueued_total", **SERIES) == 5
    assert sampled("jobmon_jobs_started_total", **SERIES) == 2
    mail = {"engine": "rq", "queue": "mail", "job_name": "send"}
    assert sampled("jobmon_jobs_started_total", **mail) == 1


def test_a_job_that_a_worker_knows_is_shown_from_zero(recorded: Recorded, sampled: Sampled) -> None:
    with connection.connect(recorded.settings) as client:
        labels = label_set(*SERIES.values()).decode()
        Beats(client, recorded.settings).send([Beat("job", labels)])
    assert sampled("jobmon_jobs_enqueued_total", **SERIES) == 0
    assert sampled("jobmon_jobs_started_total", **SERIES) == 0
    for outcome in ("completed", "failed"):
        assert sampled("jobmon_jobs_finished_total", **SERIES, outcome=outcome) == 0
    assert sampled("jobmon_job_duration_seconds_count", **SERIES) is None
    recorded.run().job(Outcome.COMPLETED)
    assert sampled("jobmon_jobs_finished_total", **SERIES, outcome="completed") == 1
    assert sampled("jobmon_job_duration_seconds_count", **SERIES) == 1


def test_ends_are_counted_by_outcome_and_the_usual_two_from_zero(
    recorded: Recorded, sampled: Sampled
) -> None:
    run = recorded.run()
    run.jobs(1)
    assert sampled("jobmon_jobs_finished_total", **SERIES, outcome="completed") == 0
    assert sampled("jobmon_jobs_finished_total", **SERIES, outcome="failed") == 0
    assert sampled("jobmon_jobs_finished_total", **SERIES, outcome="timed_out") is None
    for outcome in Outcome:
        run.jobs(2, outcome)
    for outcome in set(Outcome) - {Outcome.LOST}:
        assert sampled("jobmon_jobs_finished_total", **SERIES, outcome=str(outcome)) == 2, outcome


def test_a_lost_job_that_turns_up_is_counted_as_both_and_as_corrected(
    recorded: Recorded, sampled: Sampled
) -> None:
    run = recorded.run()
    job_id = run.job()
    processing = run.transition(job_id, Status.PROCESSING, Stage.STARTED)
    lost = run.transition(job_id, Status.LOST, Stage.LOST, Outcome.LOST)
    recorded.write(processing, lost)
    assert sampled("jobmon_jobs_finished_total", **SERIES, outcome="lost") == 1
    assert sampled("jobmon_jobs_lost_corrected_total", **SERIES) == 0
    recorded.write(run.transition(job_id, Status.COMPLETED, Stage.ENDED, Outcome.COMPLETED))
    assert sampled("jobmon_jobs_finished_total", **SERIES, outcome="lost") == 1
    assert sampled("jobmon_jobs_finished_total", **SERIES, outcome="completed") == 1
    assert sampled("jobmon_jobs_lost_corrected_total", **SERIES) == 1


def test_errors_are_counted_by_name_and_class_over_all_queues(
    recorded: Recorded, sampled: Sampled
) -> None:
    run = recorded.run()
    run.jobs(2, Outcome.FAILED)
    run.jobs(1, Outcome.FAILED, queue="mail")
    run.jobs(1, Outcome.FAILED, error_type="KeyError")
    name = SERIES["job_name"]
    assert sampled("jobmon_job_errors_total", job_name=name, error_type="ValueError") == 3
    assert sampled("jobmon_job_errors_total", job_name=name, error_type="KeyError") == 1


def test_run_times_fall_into_cumulative_buckets(recorded: Recorded, sampled: Sampled) -> None:
    run = recorded.run()
    for seconds in (0.01, 0.05, 0.3, 2000.0):
        run.job(Outcome.COMPLETED, seconds=seconds)
    bucket = "jobmon_job_duration_seconds_bucket"
    expected = {"0.05": 2, "0.1": 2, "0.25": 2, "0.5": 3, "1800.0": 3, "+Inf": 4}
    assert {le: sampled(bucket, **SERIES, le=le) for le in expected} == expected
    assert sampled("jobmon_job_duration_seconds_count", **SERIES) == 4
    assert sampled("jobmon_job_duration_seconds_sum", **SERIES) == 2000.36


def test_waits_are_summed_over_the_jobs_of_a_queue(recorded: Recorded, sampled: Sampled) -> None:
    run = recorded.run()
    run.jobs(2, Outcome.COMPLETED, queue_seconds=0.2)
    run.jobs(1, Outcome.COMPLETED, queue_seconds=40.0, job_name="other.task")
    queue = {"engine": "celery", "queue": "default"}
    bucket = "jobmon_job_queue_time_seconds_bucket"
    assert sampled(bucket, **queue, le="0.25") == 2
    assert sampled(bucket, **queue, le="60.0") == 3
    assert sampled("jobmon_job_queue_time_seconds_sum", **queue) == 40.4


def test_what_waits_and_runs_now_is_a_gauge(recorded: Recorded, sampled: Sampled) -> None:
    run = recorded.run()
    ids = run.jobs(3)
    recorded.write(run.transition(ids[0], Status.PROCESSING, Stage.STARTED))
    assert sampled("jobmon_jobs_pending", **SERIES) == 2
    assert sampled("jobmon_jobs_in_progress", **SERIES) == 1
    recorded.write(run.transition(ids[0], Status.COMPLETED, Stage.ENDED, Outcome.COMPLETED))
    assert sampled("jobmon_jobs_in_progress", **SERIES) == 0
