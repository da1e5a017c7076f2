"""What the hooks change in a process that uses RQ, and what they leave alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from jobmon.instrument.context import JobContext
from tests.conftest import RedisServer
from tests.live.rq_fixtures import SETTINGS, Run, command, environment, produce, rq_worker

pytestmark = pytest.mark.live


def bare(store: RedisServer, program: str, **env: str) -> Any:
    """Run a program without jobmon that has RQ's ``queue``; what it prints is JSON."""
    text = f"""
import json, sys
from redis import Redis
from rq import Queue, Retry, SimpleWorker
connection = Redis(port={store.port}, db=1)
queue = Queue("work", connection=connection)
"""
    ran = subprocess.run(
        [sys.executable, "-c", text + textwrap.dedent(program)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout) if ran.stdout.strip() else None


def field(store: RedisServer, job_id: str) -> JobContext:
    with store.client(db=1) as client:
        found = JobContext.decode(client.hget(f"rq:job:{job_id}", "jobmon"))
    assert found is not None
    return found


METHODS = """
import importlib, pkgutil, warnings
warnings.simplefilter("ignore")
import rq
for module in pkgutil.walk_packages(rq.__path__, "rq."):
    importlib.import_module(module.name)
class Mine(SimpleWorker):
    def perform_job(self, *args, **kwargs):
        return super().perform_job(*args, **kwargs)
def attributes():
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] == "rq"]
    found = {(m.__name__, name): value for m in modules for name, value in vars(m).items()
             if name[:2] != "__"}
    classes = {c for c in [*found.values(), Mine] if isinstance(c, type)}
    owners = {owner for c in classes for owner in c.__mro__ if owner is not object}
    return found | {(c.__qualname__, c, name): value for c in owners
                    for name, value in vars(c).items() if name[:2] != "__"}
def differ(one, other):
    assert one.keys() == other.keys(), one.keys() ^ other.keys()
    return {(name[0], name[-1]) for name in one if one[name] is not other[name]}
"""


def test_uninstrument_gives_every_attribute_back(store: RedisServer) -> None:
    """However often it was switched on, and whatever a worker at work had hooked besides."""
    bare(
        store,
        METHODS
        + """
before = attributes()
import jobmon
jobmon.instrument()
once = attributes()
hooked = {name for _, name in differ(before, once)}
assert {"create", "_enqueue_job", "perform_job", "cleanup"} <= hooked, hooked
jobmon.instrument()
assert not differ(once, attributes())
queue.enqueue("operator.add", 1, 2)
Mine([queue], connection=connection).work(burst=True, logging_level="CRITICAL")
assert vars(Mine)["perform_job"] is not before["Mine", Mine, "perform_job"]
jobmon.uninstrument()
assert not differ(before, attributes()), differ(before, attributes())
jobmon.instrument()
assert differ(before, attributes()) == differ(before, once)
jobmon.uninstrument()
jobmon.uninstrument()
assert not differ(before, attributes())
""",
    )


def test_only_schedulers_are_patched_where_jobs_are_not_wanted(store: RedisServer) -> None:
    bare(
        store,
        METHODS
        + """
before = attributes()
import jobmon
jobmon.instrument()
hooked = {owner for owner, _ in differ(before, attributes())}
assert hooked <= {"CronScheduler", "CronJob", "RQScheduler"}, hooked
""",
        JOB_MONITOR_MONITORING_JOB_CORRELATION_ENABLED="false",
    )


def test_a_patch_of_a_subclass_does_not_lead_past_ours(store: RedisServer, tmp_path: Path) -> None:
    # As Sentry's integration does it, which may run first.
    run = Run(store, command(store, "queue.enqueue(jobs.add, 1)"))
    produce(
        store,
        """
        from rq import SimpleWorker, Worker
        from jobmon.instrument import rq
        rq.uninstall()
        for kind in (Worker, SimpleWorker):
            def perform_job(self, *args, old=kind.perform_job, **kwargs):
                return old(self, *args, **kwargs)
            kind.perform_job = perform_job
        rq.install()
        SimpleWorker([queue], connection=connection).work(burst=True, logging_level="WARNING")
        """,
    )
    (job,) = run.ended(1).values()
    assert job["outcome"] == "completed"
    run.check_counters()


def test_an_overriding_worker_that_calls_super_is_seen_once(store: RedisServer) -> None:
    run = Run(store, command(store, "queue.enqueue(jobs.add, 1)\nqueue.enqueue(jobs.fail, '')"))
    seen = produce(
        store,
        """
        from rq import SimpleWorker
        from jobmon.instrument import recorder
        seen, record = [], recorder.record
        recorder.record = lambda item: (seen.append(item.status), record(item))
        class Mine(SimpleWorker):
            def perform_job(self, *args, **kwargs):
                return super().perform_job(*args, **kwargs)
            def handle_job_failure(self, *args, **kwargs):
                return super().handle_job_failure(*args, **kwargs)
        Mine([queue], connection=connection).work(burst=True, logging_level="CRITICAL")
        print(json.dumps(seen))
        """,
    )
    assert seen == ["processing", "completed", "processing", "failed"]
    run.ended(2)
    run.check_counters()


def test_a_failing_hook_hurts_nobody(store: RedisServer) -> None:
    """Every function that the hooks call raises; producer and worker do their work."""
    failures, result = produce(
        store,
        """
        import logging
        from rq import SimpleWorker
        from jobmon.instrument import guard, jobs as recording
        logging.disable()
        def broken(*args, **kwargs):
            raise RuntimeError("ours")
        for name in ("publish_context", "published", "start", "finish", "end_elsewhere"):
            setattr(recording, name, broken)
        job = queue.enqueue(jobs.add, 1, 2)
        queue.enqueue(jobs.fail, "", retry=Retry(max=1))
        SimpleWorker([queue], connection=connection).work(burst=True, logging_level="CRITICAL")
        print(json.dumps([guard.failures(), job.return_value()]))
        """,
    )
    assert failures > 5
    assert result == 3


def test_what_a_method_raises_comes_through_and_records_nothing(store: RedisServer) -> None:
    process_id = command(
        store,
        """
        import inspect
        from unittest import TestCase
        if "unique" in inspect.signature(Queue.enqueue_job).parameters:
            from rq.exceptions import DuplicateJobError
            with TestCase().assertRaisesRegex(ValueError, "explicit job_id"):
                queue.enqueue(jobs.add, 1, unique=True)
            queue.enqueue(jobs.add, 1, unique=True, job_id="once")
            with TestCase().assertRaises(DuplicateJobError):
                queue.enqueue(jobs.add, 1, unique=True, job_id="once")
        else:
            queue.enqueue(jobs.add, 1, job_id="once")
        """,
    )
    run = Run(store, process_id)
    (job,) = run.reached(1, {"pending"}).values()
    assert (job["id"], job["attempt"]) == ("once", 1)


def test_the_users_meta_is_left_alone(store: RedisServer) -> None:
    produce(
        store,
        """
        meta = {"mine": 1}
        job = queue.enqueue(jobs.add, 1, meta=meta)
        assert meta == {"mine": 1} and job.meta is meta
        assert Job.fetch(job.id, connection=connection).meta == meta
        """,
    )


WAYS = {
    "enqueue": "queue.enqueue(jobs.add, 1)",
    "enqueue_call": "queue.enqueue_call(jobs.add, (1,))",
    "enqueue_in": "queue.enqueue_in(timedelta(hours=1), jobs.add, 1)",
    "enqueue_job": "queue.enqueue_job(Job.create(jobs.add, (1,), connection=connection))",
    "own_id": "queue.enqueue(jobs.add, 1, job_id='mine')",
    "id_set_later": """
        job = Job.create(jobs.add, (1,), connection=connection)
        job.id = "later"
        queue.enqueue_job(job)
    """,
    "string": "queue.enqueue('tests.live.apps.rq_jobs.add', 1)",
    "many": "queue.enqueue_many([Queue.prepare_data(jobs.add, (1,))])",
    "json": "Queue('work', connection=connection, serializer='rq.serializers.JSONSerializer')"
    ".enqueue(jobs.add, 1)",
    "pipeline": """
        with connection.pipeline() as pipeline:
            queue.enqueue(jobs.add, 1, pipeline=pipeline)
            assert len(pipeline.execute()) >= 3
    """,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_job_carries_its_context_however_it_is_enqueued(store: RedisServer, way: str) -> None:
    run = Run(store, command(store, textwrap.dedent(WAYS[way])))
    (job,) = run.reached(1, {"pending"}).values()
    assert job["class"] == "tests.live.apps.rq_jobs.add"
    carried = field(store, job["id"])
    assert carried.process_id == run.process_id
    assert carried.command == "data:process"
    assert carried.job_id == carried.root_id == job["id"]
    assert ("eta" in job) == (way == "enqueue_in")


def test_the_context_survives_processes_without_jobmon(store: RedisServer, tmp_path: Path) -> None:
    process_id = command(store, "queue.enqueue(jobs.add, 'x', 1, job_id='kept')")
    bare(
        store,
        """
        import logging, types, sys
        SimpleWorker([queue], connection=connection).work(burst=True, logging_level="CRITICAL")
        queue.failed_job_registry.requeue("kept")
        """,
    )
    run = Run(store, process_id)
    with rq_worker(store, tmp_path, "--burst", ready=False):
        (job,) = run.ended(1).values()
    assert job["outcome"] == "failed"


def test_a_requeue_is_a_further_attempt(store: RedisServer, tmp_path: Path) -> None:
    run = Run(store, command(store, "queue.enqueue(jobs.fail, 'no', job_id='failing')"))
    with rq_worker(store, tmp_path, "--burst", ready=False):
        run.ended(1)
    produce(store, "queue.failed_job_registry.requeue('failing')")
    (waiting,) = run.reached(1, {"pending"}).values()
    assert waiting["attempt"] == 2
    assert waiting["process_id"] == run.process_id
    assert int(run.counters()["failed_jobs"]) == 0
    with rq_worker(store, tmp_path, "--burst", ready=False):
        (job,) = run.ended(1).values()
    assert (job["attempt"], job["outcome"]) == (2, "failed")
    assert [one["attempt"] for one in run.attempts("failing")] == [1]
    run.check_counters()


def test_an_id_published_again_in_a_run_is_a_further_attempt(
    store: RedisServer, tmp_path: Path
) -> None:
    body = "for n in range(3): queue.enqueue(jobs.add, n, job_id='same')"
    run = Run(store, command(store, body))
    with rq_worker(store, tmp_path, "--burst", ready=False):
        (job,) = run.ended(1).values()
    assert job["attempt"] == 3
    other = Run(store, command(store, body.replace("3", "1")))
    assert other.reached(1, {"pending"})["same"]["attempt"] == 1


def test_a_repeated_job_is_a_further_attempt(store: RedisServer, tmp_path: Path) -> None:
    rq = pytest.importorskip("rq.repeat")
    assert rq.Repeat
    body = "from rq import Repeat\nqueue.enqueue(jobs.add, 1, repeat=Repeat(times=2, interval=0))"
    run = Run(store, command(store, body))
    with rq_worker(store, tmp_path, "--burst", ready=False) as worker:
        worker.wait()
        (job,) = run.ended(1).values()
    assert (job["attempt"], job["outcome"]) == (3, "completed")
    assert [one["outcome"] for one in run.attempts(job["id"])] == ["completed", "completed"]
    run.check_counters()


def test_a_job_of_a_producer_without_jobmon_is_dispatched_manually(
    store: RedisServer, tmp_path: Path
) -> None:
    job_id = bare(
        store,
        """
        print(json.dumps(queue.enqueue("tests.live.apps.rq_jobs.flaky", 1, retry=Retry(max=1)).id))
        """,
    )
    with rq_worker(store, tmp_path, "--burst", ready=False) as worker:
        worker.wait()
    with store.client() as client:
        record = json.loads(client.hget(f"jobmon:job:metrics:{job_id}", "record"))
    assert record["command_name"] == "manual-dispatch"
    assert record["process_id"] == job_id
    assert record["class"] == "tests.live.apps.rq_jobs.flaky"
    assert (record["attempt"], record["outcome"]) == (2, "completed")
    assert record["queue_time"] >= 0


def test_a_dependent_keeps_the_context_it_was_created_in(
    store: RedisServer, tmp_path: Path
) -> None:
    first = Run(store, command(store, "queue.enqueue(jobs.add, 1, job_id='first')", name="one"))
    second = Run(
        store,
        command(store, "queue.enqueue(jobs.add, 1, depends_on='first', job_id='then')", name="two"),
    )
    with rq_worker(store, tmp_path, "--burst", ready=False):
        first.name, second.name = "one", "two"
        (parent,) = first.ended(1).values()
        (dependent,) = second.ended(1).values()
    assert dependent["command_name"] == "two"
    assert dependent["attempt"] == 1
    # It waits in the queue from when its dependency is met, not from its creation.
    assert dependent["created_at"] < parent["started_at"] < dependent["enqueued_at"]
    assert "parent_id" not in dependent


def test_a_worker_pool_records_too(store: RedisServer, tmp_path: Path) -> None:
    run = Run(store, command(store, "for n in range(10): queue.enqueue(jobs.add, n)"))
    pool = ["worker-pool", "--burst", "-n", "2", "-c", SETTINGS, "work"]
    ran = subprocess.run(
        [sys.executable, "-m", "rq.cli", *pool],
        env=environment(store),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert {job["outcome"] for job in run.jobs().values()} == {"completed"}
    run.check_counters()
