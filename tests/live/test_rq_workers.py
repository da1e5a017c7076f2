"""The straight path on real RQ workers, the same for every worker class."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import RedisServer
from tests.live.rq_fixtures import (
    CLASSES,
    RETURNED_RETRIES,
    Run,
    Signals,
    Worker,
    command,
    rq_worker,
)

pytestmark = pytest.mark.live


@pytest.fixture(scope="module", params=list(CLASSES))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def worker(
    kind: str, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    with redis_server.client() as client:
        client.flushall()
    with rq_worker(
        redis_server, tmp_path_factory.mktemp(kind), "--with-scheduler", kind=kind
    ) as running:
        yield running
        assert "jobmon:" not in running.log


@pytest.fixture(scope="module")
def run(worker: Worker, redis_server: RedisServer) -> Run:
    """One command with a job of every kind, all ended."""
    process_id = command(
        redis_server,
        """
        queue.enqueue(jobs.add, 1, 2)
        queue.enqueue(jobs.add_soon, 1, 2)
        queue.enqueue(jobs.Adder(1).add, 2)
        queue.enqueue_in(timedelta(seconds=1), jobs.add, 1)
        queue.enqueue(jobs.fail, "no", "hunter2")
        queue.enqueue(jobs.flaky, 2, retry=Retry(max=3))
        queue.enqueue(jobs.flaky, 1, retry=Retry(max=3, interval=1))
        queue.enqueue(jobs.give_back, 1)
        queue.enqueue(jobs.sleep, 30, job_timeout=1)
        queue.enqueue(jobs.nest, 3)
        queue.enqueue(jobs.nest_in_thread)
        queue.enqueue(jobs.nest_later)
        queue.enqueue(jobs.fork_and_wait)
        queue.enqueue(jobs.allocate, 64)
        first = queue.enqueue(jobs.add, 3)
        queue.enqueue(jobs.add, 4, depends_on=first)
        with connection.pipeline() as pipeline:
            queue.enqueue_many([Queue.prepare_data(jobs.add, (n,)) for n in range(3)], pipeline)
            pipeline.execute()
        """,
    )
    found = Run(redis_server, process_id)
    found.ended(24, 150)  # a spawned horse is an interpreter of its own
    return found


def test_every_job_is_under_the_command_and_counted(run: Run) -> None:
    assert {job["process_id"] for job in run.jobs().values()} == {run.process_id}
    assert {job["command_name"] for job in run.jobs().values()} == {"data:process"}
    run.check_counters()


@pytest.mark.parametrize(
    ("function", "outcomes"),
    [
        ("add", ["completed"] * 10),
        ("add_soon", ["completed"]),
        ("fail", ["failed"]),
        ("flaky", ["completed"] * 2),
        ("give_back", ["failed" if RETURNED_RETRIES else "completed"]),
        ("sleep", ["timed_out"]),
        ("nest", ["completed"] * 4),
        ("nest_in_thread", ["completed"]),
        ("fork_and_wait", ["completed"]),
    ],
)
def test_each_job_has_its_outcome(run: Run, function: str, outcomes: list[str]) -> None:
    assert [job["outcome"] for job in run.named(function)] == outcomes


def test_a_record_says_where_and_when_the_job_ran(run: Run) -> None:
    (job,) = run.named("allocate")
    assert job["class"] == "tests.live.apps.rq_jobs.allocate"
    assert job["queue"] == "work"
    assert job["engine"] == "rq"
    assert len(job["worker"]) == 32
    assert job["created_at"] <= job["enqueued_at"] <= job["started_at"] < job["finished_at"]
    assert job["enqueued_at"] - job["created_at"] < 1
    waited = job["started_at"] - job["enqueued_at"]
    assert job["queue_time"] == pytest.approx(waited, abs=1e-5)
    assert 0 < job["execution_time"] <= job["finished_at"] - job["started_at"] + 0.001
    assert job["memory_usage"] > 64 << 20
    assert int(run.counters()["peak_memory"]) == job["memory_usage"]


def test_a_method_is_named_with_its_class(run: Run) -> None:
    assert "tests.live.apps.rq_jobs.Adder.add" in {job["class"] for job in run.named("add")}


def test_peak_memory_is_the_jobs_own(run: Run) -> None:
    (large,) = run.named("allocate")
    assert all(large["memory_usage"] - job["memory_usage"] > 32 << 20 for job in run.named("add"))


def test_a_failure_keeps_its_frames_and_arguments(run: Run) -> None:
    (job,) = run.named("fail")
    assert job["error"]["class"] == "ValueError"
    assert job["error"]["message"] == "no"
    assert [frame["function"] for frame in job["error"]["frames"]] == ["_one", "_two", "_three"]
    assert job["arguments"] == {"args": ["no", "[redacted]"], "kwargs": {}}


def test_execution_time_is_the_functions_own(run: Run) -> None:
    (job,) = run.named("sleep")
    assert job["error"]["class"] == "rq.timeouts.JobTimeoutException"
    assert job["execution_time"] == pytest.approx(1.0, abs=0.2)


def test_an_engine_retry_is_a_further_attempt(run: Run) -> None:
    job = max(run.named("flaky"), key=lambda job: job["attempt"])
    earlier = run.attempts(job["id"])
    assert [(one["attempt"], one["status"], one["outcome"]) for one in earlier] == [
        (1, "retrying", "retried"),
        (2, "retrying", "retried"),
    ]
    assert [one["error"]["message"] for one in earlier] == ["attempt 1", "attempt 2"]
    assert (job["attempt"], job["status"]) == (3, "completed")
    assert job["created_at"] == earlier[0]["created_at"] < job["enqueued_at"]


def test_a_retry_with_an_interval_waits_without_queueing(run: Run) -> None:
    job = min(run.named("flaky"), key=lambda job: job["attempt"])
    assert job["attempt"] == 2
    assert job["eta"] == pytest.approx(job["enqueued_at"] + 1, abs=0.1)
    # RQ schedules by whole seconds.
    assert job["started_at"] >= job["eta"] - 1
    assert job["queue_time"] == pytest.approx(max(0, job["started_at"] - job["eta"]), abs=1e-5)


@pytest.mark.skipif(not RETURNED_RETRIES, reason="this RQ takes a returned Retry for a result")
def test_a_job_that_returns_retry_is_a_further_attempt_and_fails_in_the_end(run: Run) -> None:
    (job,) = run.named("give_back")
    (earlier,) = run.attempts(job["id"])
    assert (earlier["attempt"], earlier["outcome"]) == (1, "retried")
    assert (job["attempt"], job["outcome"]) == (2, "failed")
    assert job["error"]["class"] == "MaxRetriesExceeded"


def test_a_scheduled_job_is_one_publish(run: Run) -> None:
    for job in run.named("add"):
        if "eta" in job:
            assert job["attempt"] == 1
            assert job["eta"] == pytest.approx(job["enqueued_at"] + 1, abs=0.1)


def test_a_nested_job_knows_its_parent_and_root(run: Run) -> None:
    chain = run.named("nest")
    (root,) = [job for job in chain if "parent_id" not in job]
    assert {job["root_id"] for job in chain} == {root["id"]}
    assert {job.get("parent_id") for job in chain} - {None} < {job["id"] for job in chain}


@pytest.mark.parametrize("parent", ["nest_in_thread", "nest_later"])
def test_a_thread_and_a_delayed_publish_belong_to_the_job(run: Run, parent: str) -> None:
    (publisher,) = run.named(parent)
    (published,) = [job for job in run.jobs().values() if job.get("parent_id") == publisher["id"]]
    assert published["class"].endswith(".add")


def test_a_job_is_pending_then_processing_then_completed(
    worker: Worker, redis_server: RedisServer, kind: str
) -> None:
    signals, name = Signals(redis_server), f"straight-{kind}"
    run = Run(redis_server, command(redis_server, f"queue.enqueue(jobs.held, {name!r})"))
    signals.wait_at(name)
    run.reached(1, {"processing"})
    behind = Run(redis_server, command(redis_server, "queue.enqueue(jobs.add, 1)"))
    (waiting,) = behind.reached(1, {"pending"}).values()
    assert "started_at" not in waiting
    assert "queue_time" not in waiting
    assert int(behind.counters()["job_count"]) == 1
    signals.go(name)
    run.ended(1)
    (done,) = behind.ended(1).values()
    assert done["outcome"] == "completed"
    assert done["queue_time"] > 0
