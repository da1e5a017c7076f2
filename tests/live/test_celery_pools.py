"""The straight path on real Celery workers, the same for every pool."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.live.celery_fixtures import Run, Signals, Worker, celery_worker, command, produce

pytestmark = pytest.mark.live

SHARED = ("threads", "gevent", "eventlet")
"""Pools whose tasks share one process."""


@pytest.fixture(scope="module", params=["prefork", "solo", "threads", "gevent", "eventlet"])
def pool(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def worker(
    pool: str, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    with redis_server.client() as client:
        client.flushall()
    with celery_worker(redis_server, tmp_path_factory.mktemp(pool), pool=pool) as running:
        yield running
        assert "jobmon.instrument" not in running.log, running.log


@pytest.fixture(scope="module")
def run(worker: Worker, redis_server: RedisServer) -> Run:
    """One command with a job of every kind, all ended."""
    process_id = command(
        redis_server,
        """
        add.delay(1, 2)
        add.apply_async((1,), countdown=0.5)
        fail.delay("no", "hunter2")
        flaky.delay(2)
        retry_quietly.delay()
        replaced.delay()
        ignore.delay()
        reject.delay()
        nest.delay(2)
        nest_inline.delay()
        allocate.delay(64)
        """,
    )
    found = Run(redis_server, process_id)
    found.ended(15)
    return found


def test_every_job_is_under_the_command_and_counted(run: Run) -> None:
    assert {job["process_id"] for job in run.jobs().values()} == {run.process_id}
    assert {job["command_name"] for job in run.jobs().values()} == {"data:process"}
    run.check_counters()


@pytest.mark.parametrize(
    ("task", "outcomes"),
    [
        ("add", ["completed"] * 4),
        ("fail", ["failed"]),
        ("flaky", ["completed"]),
        ("retry_quietly", ["completed"]),
        ("ignore", ["ignored"]),
        ("reject", ["rejected"]),
        ("nest", ["completed"] * 4),
        ("nest_inline", ["completed"]),
    ],
)
def test_each_job_has_its_outcome(run: Run, task: str, outcomes: list[str]) -> None:
    assert [job["outcome"] for job in run.named(task)] == outcomes


def test_a_record_says_where_and_when_the_job_ran(run: Run, pool: str) -> None:
    (job,) = run.named("allocate")
    assert job["queue"] == "celery"
    assert job["engine"] == "celery"
    assert job["worker"].startswith("celery@")
    assert job["created_at"] == job["enqueued_at"] <= job["started_at"] < job["finished_at"]
    waited = job["started_at"] - job["enqueued_at"]
    assert job["queue_time"] == pytest.approx(waited, abs=1e-5)
    assert 0 < job["execution_time"] <= job["finished_at"] - job["started_at"] + 0.001
    if pool in SHARED:
        assert "memory_usage" not in job
        assert run.counters()["peak_memory"] == "0"
    else:
        assert job["memory_usage"] > 64 << 20
        assert int(run.counters()["peak_memory"]) == job["memory_usage"]


def test_peak_memory_is_the_jobs_own(run: Run, pool: str) -> None:
    if pool not in SHARED:
        (large,) = run.named("allocate")
        others = [job["memory_usage"] for job in run.named("add") if "memory_usage" in job]
        assert large["memory_usage"] - max(others) > 32 << 20, others


def test_a_failure_keeps_its_frames_and_arguments(run: Run) -> None:
    (job,) = run.named("fail")
    assert job["error"]["class"] == "ValueError"
    assert job["error"]["message"] == "no"
    assert [frame["function"] for frame in job["error"]["frames"]] == ["_one", "_two", "_three"]
    assert job["arguments"] == {"args": ["no", "[redacted]"], "kwargs": {}}


def test_an_engine_retry_is_a_further_attempt(run: Run) -> None:
    (job,) = run.named("flaky")
    earlier = run.attempts(job["id"])
    assert [(one["attempt"], one["status"], one["outcome"]) for one in earlier] == [
        (1, "retrying", "retried"),
        (2, "retrying", "retried"),
    ]
    assert [one["error"]["message"] for one in earlier] == ["attempt 0", "attempt 1"]
    assert (job["attempt"], job["status"]) == (3, "completed")
    assert job["created_at"] == earlier[0]["created_at"] < job["enqueued_at"]


@pytest.mark.parametrize("task", ["retry_quietly", "add"])
def test_a_retry_that_does_not_raise_and_a_replacement_are_further_attempts(
    run: Run, task: str
) -> None:
    (job,) = [job for job in run.named(task) if job["attempt"] == 2]
    (earlier,) = run.attempts(job["id"])
    assert (earlier["attempt"], earlier["outcome"]) == (1, "retried")
    assert "error" not in earlier
    assert job["outcome"] == "completed"


def test_queue_time_leaves_the_countdown_out(run: Run) -> None:
    (job,) = [job for job in run.named("add") if "eta" in job]
    assert job["eta"] == pytest.approx(job["enqueued_at"] + 0.5, abs=0.1)
    assert job["started_at"] >= job["eta"] - 0.01  # its timers may be early by a millisecond
    waited = max(0.0, job["started_at"] - job["eta"])
    assert job["queue_time"] == pytest.approx(waited, abs=1e-5)


def test_a_nested_job_knows_its_parent_and_root(run: Run) -> None:
    (inline,) = run.named("nest_inline")
    chain = [job for job in run.named("nest") if job["root_id"] != inline["id"]]
    (root,) = [job for job in chain if "parent_id" not in job]
    assert {job["root_id"] for job in chain} == {root["id"]}
    assert {job.get("parent_id") for job in chain} - {None} < {job["id"] for job in chain}


def test_an_inline_call_publishes_for_the_job_that_makes_it(run: Run) -> None:
    (inline,) = run.named("nest_inline")
    children = [job for job in run.jobs().values() if job.get("parent_id") == inline["id"]]
    (published,) = [job for job in children if job["class"].endswith(".nest")]
    assert published["queue"] == "celery"


def test_an_eager_job_runs_in_the_worker_of_the_job_that_calls_it(run: Run) -> None:
    (inline,) = run.named("nest_inline")
    (eager,) = [job for job in run.named("add") if job.get("parent_id") == inline["id"]]
    assert eager["worker"] == inline["worker"]
    assert inline["started_at"] < eager["started_at"] < eager["finished_at"] < inline["finished_at"]
    assert "memory_usage" not in eager


def test_a_thread_that_a_job_starts_publishes_for_it(
    worker: Worker, redis_server: RedisServer, pool: str
) -> None:
    if pool in SHARED:
        return  # several jobs share the process: nobody can tell whose thread it is
    run = Run(redis_server, command(redis_server, "nest_in_thread.delay()"))
    run.ended(2)
    (parent,), (child,) = run.named("nest_in_thread"), run.named("add")
    assert child["parent_id"] == parent["id"]


def test_a_job_is_pending_then_processing_then_completed(
    worker: Worker, redis_server: RedisServer, pool: str
) -> None:
    signals, name = Signals(redis_server), f"straight-{pool}"
    holders = 1 if pool == "solo" else 2
    process_id = command(
        redis_server,
        f"""
        for number in range({holders}):
            held.delay("{name}")
        """,
    )
    run = Run(redis_server, process_id)
    signals.wait_at(name)
    assert len(run.reached(holders, {"processing"})) == holders
    behind = Run(redis_server, command(redis_server, "add.delay(1)"))
    (waiting,) = behind.reached(1, {"pending"}).values()
    assert "started_at" not in waiting
    assert "queue_time" not in waiting
    assert int(behind.counters()["job_count"]) == 1
    signals.go(name)
    run.ended(holders)
    (done,) = behind.ended(1).values()
    assert done["outcome"] == "completed"
    assert done["queue_time"] > 0
    run.check_counters()
    behind.check_counters()


def test_what_is_no_exception_ends_its_job(
    worker: Worker, redis_server: RedisServer, pool: str
) -> None:
    if pool == "solo":
        return  # it ends the whole worker
    run = Run(redis_server, command(redis_server, "be_cancelled.delay()"))
    (job,) = run.ended(1).values()
    assert job["outcome"] == "failed"
    assert job["error"]["class"].endswith("CancelledError")
    run.check_counters()
    assert worker.process.poll() is None


@pytest.mark.parametrize("protocol", ["1", "2"])
def test_both_message_protocols_carry_the_context(
    worker: Worker, redis_server: RedisServer, protocol: str
) -> None:
    run = Run(
        redis_server, command(redis_server, "nest.delay(1)\nflaky.delay(1)", TEST_PROTOCOL=protocol)
    )
    run.ended(3)
    assert [job["attempt"] for job in run.named("flaky")] == [2]
    run.check_counters()


def test_chains_groups_and_chords_stay_under_the_command(
    worker: Worker, redis_server: RedisServer
) -> None:
    process_id = command(
        redis_server,
        """
        from celery import chain, chord, group
        chain(add.s(1, 1), add.s(2), add.s(3)).delay()
        group(add.s(n, n) for n in range(3)).delay()
        chord([add.s(1, 1), add.s(2, 2)], nest.si(0)).delay()
        add.apply_async((1, 1), link=add.s(5))
        """,
    )
    run = Run(redis_server, process_id)
    run.ended(11)
    run.check_counters()
    assert len({job.get("group_id") for job in run.jobs().values()} - {None}) == 2


def test_a_publish_that_fails_leaves_nothing_behind(
    worker: Worker, redis_server: RedisServer
) -> None:
    process_id = command(
        redis_server,
        """
        from kombu.exceptions import OperationalError
        add.delay(1)
        try:
            add.apply_async((object(),))
        except Exception:
            pass
        else:
            raise AssertionError("published")
        add.delay(2)
        """,
    )
    run = Run(redis_server, process_id)
    run.ended(2)


def test_a_job_of_a_producer_without_jobmon_is_manual(
    worker: Worker, redis_server: RedisServer
) -> None:
    job_id = produce(
        redis_server,
        "print(json.dumps(nest.delay(1).id))",
        JOB_MONITOR_MONITORING_JOB_CORRELATION_ENABLED="false",
    )
    deadline = time.monotonic() + 20
    with redis_server.client() as client:
        while client.hget(f"jobmon:job:metrics:{job_id}", "status") != b"completed":
            assert time.monotonic() < deadline, client.hgetall(f"jobmon:job:metrics:{job_id}")
            time.sleep(0.02)
        stored = client.hgetall(f"jobmon:job:metrics:{job_id}")
        assert stored[b"process_id"].decode() == job_id
        assert stored[b"command_name"] == b"manual-dispatch"
        (child,) = client.smembers(f"jobmon:command:{job_id}:manual")
        assert client.hget(f"jobmon:job:metrics:{child.decode()}", "process_id").decode() == job_id


def test_a_worker_stops_in_time_and_loses_nothing(
    pool: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    with celery_worker(redis_server, tmp_path, "-Q", "stopping", pool=pool) as stopping:
        process_id = command(
            redis_server,
            """
            for number in range(50):
                add.apply_async((number,), queue="stopping")
            held.apply_async((run.id,), queue="stopping")
            """,
        )
        signals = Signals(redis_server)
        signals.wait_at(process_id)
        signals.go(process_id)
        stopping.stop()
        assert stopping.process.returncode == 0
        run = Run(redis_server, process_id)
        run.reached(51, {"completed", "pending"}, seconds=2)
        assert [job["status"] for job in run.named("held")] == ["completed"]
