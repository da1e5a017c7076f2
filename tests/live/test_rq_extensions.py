"""django-rq and rq-scheduler, which build on RQ's classes: recorded like RQ's own."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.metadata import version

import pytest

from tests.conftest import RedisServer
from tests.live.rq_fixtures import ROOT, VERSION, Run, command, environment, produce

pytestmark = pytest.mark.live

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.live.apps.django_rq_settings"}
WORK = """
from rq import SimpleWorker
SimpleWorker([queue], connection=connection).work(burst=True, logging_level="CRITICAL")
"""


def test_rq_schedulers_runs_of_one_job_are_attempts_of_it(store: RedisServer) -> None:
    run = Run(
        store,
        command(
            store,
            """
            from datetime import datetime, timezone
            from rq_scheduler import Scheduler
            scheduler = Scheduler("work", connection=connection)
            now = datetime.now(timezone.utc)
            scheduler.enqueue_at(now, jobs.add, 1, job_id="once")
            scheduler.schedule(now, jobs.add, [1], interval=1, repeat=2, id="twice")
            """,
        ),
    )
    assert not run.jobs()  # not yet published
    hand_over = """
    from rq_scheduler import Scheduler
    connection.zadd("rq:scheduler:scheduled_jobs", {"twice": 1}, xx=True)
    Scheduler("work", interval=1, connection=connection).run(burst=True)
    """
    before = time.time()
    produce(store, hand_over)
    for job in run.reached(2, {"pending"}).values():
        # It begins to wait when it is put into its queue, not when it was scheduled.
        assert job["created_at"] < before < job["enqueued_at"]
        assert job["process_id"] == run.process_id
    produce(store, WORK)
    assert {job["attempt"] for job in run.reached(2, {"completed"}).values()} == {1}
    produce(store, hand_over)
    assert run.reached(2, {"completed", "pending"})
    produce(store, WORK)
    jobs = run.reached(2, {"completed"})
    assert {name: job["attempt"] for name, job in jobs.items()} == {"once": 1, "twice": 2}
    meta = produce(
        store,
        "print(json.dumps(Job.fetch('twice', connection=connection).meta))",
    )
    assert meta == {"interval": 1, "repeat": 0}
    run.check_counters()


def django(store: RedisServer, *arguments: str) -> str:
    """Run Django's command line, or a program in the project."""
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(store, **SETTINGS),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


PROGRAM = """
import django
django.setup()
import django_rq, jobmon
from django.db import transaction
from rq import Retry
from tests.live.apps import rq_jobs as jobs
with jobmon.command("data:process") as run:
    django_rq.enqueue(jobs.add, 1, 2)
    django_rq.get_queue().enqueue(jobs.flaky, 1, retry=Retry(max=1))
    django_rq.job(jobs.fail).delay("no")
    django_rq.job("default")(jobs.add).delay(1)
    with transaction.atomic():
        django_rq.enqueue(jobs.add, 3)
    django_rq.get_scheduler().enqueue_in(__import__("datetime").timedelta(0), jobs.add, 4)
print(run.id)
"""

# The newer django-rq needs RQ >= 2.6.
if VERSION >= (2, 6) or version("django-rq").startswith("2."):

    def test_a_django_projects_queues_and_worker_are_recorded(store: RedisServer) -> None:
        run = Run(store, django(store, "-c", PROGRAM).strip())
        assert len(run.reached(5, {"pending"})) == 5
        django(
            store,
            "-c",
            "import django; django.setup(); import django_rq\n"
            "django_rq.get_scheduler().run(burst=True)",
        )
        django(store, "-m", "django", "rqworker", "default", "--burst")
        jobs = run.ended(6).values()
        outcomes = sorted((job["class"].rpartition(".")[2], job["outcome"]) for job in jobs)
        assert outcomes == [("add", "completed")] * 4 + [
            ("fail", "failed"),
            ("flaky", "completed"),
        ]
        assert {job["queue"] for job in jobs} == {"default"}
        run.check_counters()
        with store.client() as client:
            runs = client.keys("jobmon:command:metrics:*")
        assert len(runs) == 1, runs  # `rqworker` itself is none
