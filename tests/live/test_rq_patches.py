"""jobmon's hooks beside those of others, and what Redis gets to see of them."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from tests.conftest import RedisServer
from tests.live.rq_fixtures import ROOT, Run, environment

pytestmark = pytest.mark.live

PROGRAM = """
import json, logging, os, warnings
warnings.simplefilter("ignore")
from redis import Redis
from rq import Queue, Retry, SimpleWorker, Worker, registry, worker
from rq.job import Job
connection = Redis.from_url(os.environ["TEST_URL"] + "/1")
queue = Queue("work", connection=connection)
def methods():
    classes = [Job, Queue, *vars(registry).values(), *vars(worker).values()]
    classes = {owner for c in classes if isinstance(c, type) for owner in c.__mro__}
    return {(c, name): value for c in classes for name, value in vars(c).items()
            if callable(value) or isinstance(value, classmethod)}
def work():
    for kind in (SimpleWorker, Worker):
        queue.enqueue("operator.add", 1, 2)
        queue.enqueue("operator.truediv", 1, 0)
        kind([queue], connection=connection).work(burst=True, logging_level="CRITICAL")
"""


def run_program(store: RedisServer, program: str, **env: str) -> Any:
    """Run a program with RQ's classes; what it prints last is JSON."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(program)],
        cwd=ROOT,
        env=environment(store, **env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1]) if ran.stdout.strip() else None


SENTRY = """
import sentry_sdk
from sentry_sdk.integrations.rq import RqIntegration
from sentry_sdk.transport import Transport
seen = connection  # Sentry has its own process-wide hub; horses count in Redis
class Counting(Transport):
    def capture_envelope(self, envelope):
        if envelope.get_event() is not None:
            connection.incr("sentry")
    def capture_event(self, event):
        connection.incr("sentry")
def load():
    sentry_sdk.init(
        "http://key@127.0.0.1:9/1", integrations=[RqIntegration()], transport=Counting,
        default_integrations=False,
    )
def check():
    assert int(connection.get("sentry")) == 2, connection.get("sentry")
"""
WRAPT = """
import wrapt
def counting(wrapped, instance, args, kwargs):
    # How OpenTelemetry's instrumentations patch: for whom it is called matters to them.
    assert instance is not None, wrapped
    connection.incr(f"wrapt:{wrapped.__name__}")
    return wrapped(*args, **kwargs)
def load():
    wrapt.wrap_function_wrapper("rq.job", "Job.create", counting)
    wrapt.wrap_function_wrapper("rq.job", "Job.to_dict", counting)
    wrapt.wrap_function_wrapper("rq.queue", "Queue._enqueue_job", counting)
    wrapt.wrap_function_wrapper("rq.queue", "Queue.schedule_job", counting)
    for kind in ("Worker", "SimpleWorker"):
        for name in ("perform_job", "handle_job_failure"):
            wrapt.wrap_function_wrapper("rq.worker", f"{kind}.{name}", counting)
def check():
    counts = {name: int(connection.get(f"wrapt:{name}") or 0)
              for name in ("create", "_enqueue_job", "perform_job", "handle_job_failure")}
    assert counts["create"] == counts["_enqueue_job"] == 4, counts
    # Where one worker class inherits from the other, both wrappers are in the way of it.
    assert counts["perform_job"] >= 4 and counts["handle_job_failure"] >= 2, counts
"""
ORDERS = {
    "ours first": ("jobmon.instrument()", "load()"),
    "theirs first": ("load()", "jobmon.instrument()"),
    "theirs, ours, ours again": (
        "load()",
        "jobmon.instrument(); jobmon.uninstrument(); jobmon.instrument()",
    ),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("other", [SENTRY, WRAPT], ids=["sentry", "wrapt"])
def test_both_see_every_job_whoever_was_first(store: RedisServer, other: str, order: str) -> None:
    first, then = ORDERS[order]
    process_id = run_program(
        store,
        f"{textwrap.dedent(other)}\nimport jobmon\n{first}\n{then}\n"
        """
with jobmon.command("data:process") as run:
    work()
check()
print(json.dumps(run.id))
""",
    )
    run = Run(store, process_id)
    outcomes = [job["outcome"] for job in run.ended(4).values()]
    assert sorted(outcomes) == ["completed", "completed", "failed", "failed"]
    assert [job["attempt"] for job in run.jobs().values()] == [1] * 4
    run.check_counters()


@pytest.mark.parametrize("other", [SENTRY, WRAPT], ids=["sentry", "wrapt"])
def test_uninstrument_gives_back_what_others_had_put_there(store: RedisServer, other: str) -> None:
    run_program(
        store,
        textwrap.dedent(other)
        + """
import jobmon
load()
theirs = methods()
jobmon.instrument()
changed = [name for name, value in methods().items() if value is not theirs[name]]
assert len(changed) > 15, changed
jobmon.uninstrument()
assert all(value is theirs[name] for name, value in methods().items())
work()
check()
""",
    )
    with store.client() as client:
        assert not client.keys("jobmon:*")


@pytest.mark.parametrize("other", [SENTRY, WRAPT], ids=["sentry", "wrapt"])
def test_uninstrument_leaves_alone_what_others_put_around_ours(
    store: RedisServer, other: str
) -> None:
    run_program(
        store,
        textwrap.dedent(other)
        + """
import jobmon
jobmon.instrument()
load()
theirs = methods()
jobmon.uninstrument()
work()
check()
""",
    )
    with store.client() as client:
        assert not client.keys("jobmon:*")


COMMANDS = """
connection.flushall()
{instrument}
from datetime import timedelta
queue.enqueue("operator.add", 1, 2)
queue.enqueue("operator.add", 1, 2, result_ttl=0)
queue.enqueue("operator.truediv", 1, 0)
queue.enqueue("operator.truediv", 1, 0, retry=Retry(max=1))
queue.enqueue("operator.truediv", 1, 0, retry=Retry(max=1, interval=60))
first = queue.enqueue("operator.add", 1, 2)
queue.enqueue("operator.add", 1, 2, depends_on=first)
queue.enqueue_in(timedelta(hours=1), "operator.add", 1, 2)
queue.enqueue_many([Queue.prepare_data("operator.add", (1, n)) for n in range(3)])
with connection.pipeline() as pipeline:
    queue.enqueue("operator.add", 1, 2, pipeline=pipeline)
    results = len(pipeline.execute())
connection.config_resetstat()
workers = [kind([queue], connection=connection) for kind in (SimpleWorker, Worker)]
for one in workers:
    one.work(burst=True, logging_level="CRITICAL", max_jobs=6 if one is workers[0] else None)
statistics = connection.info("commandstats")
statuses = sorted(str(job.get_status()) for job in Job.fetch_many(
    [key.decode()[7:] for key in connection.keys("rq:job:*") if b":" not in key[7:]], connection)
    if job)
counts = {{name[8:]: value["calls"] for name, value in statistics.items()}}
failed = sum(value.get(f"{{kind}}_calls", 0) for value in statistics.values()
             for kind in ("failed", "rejected"))
print(json.dumps([counts, failed, statuses, results]))
"""


def test_rqs_redis_gets_the_same_commands_with_jobmon_and_without(
    store: RedisServer, own_redis_server: RedisServer
) -> None:
    """Nothing of ours is in RQ's pipelines, so nothing of ours fails there.

    RQ's user may touch RQ's keys alone: a command of ours would be refused, and counted.
    """
    with own_redis_server.client() as client:
        client.acl_setuser(
            "rq", True, nopass=True, keys=["rq:*"], channels=["*"], categories=["+@all"]
        )
        address = own_redis_server.url.rsplit("/", 1)[0].removeprefix("redis://")
    state = {"JOB_MONITOR_REDIS_URL": store.url, "TEST_URL": f"redis://rq:any@{address}"}
    of_rq = own_redis_server
    bare = run_program(of_rq, COMMANDS.format(instrument=""), **state)
    with store.client() as client:
        assert not client.keys("jobmon:*")
    ours = run_program(
        of_rq, COMMANDS.format(instrument="import jobmon; jobmon.instrument()"), **state
    )
    with store.client() as client:
        assert client.keys("jobmon:*")
    assert ours == bare
    assert bare[1] == 0


def test_a_store_that_refuses_everything_changes_nothing_of_rqs(
    own_redis_server: RedisServer,
) -> None:
    # RQ's server is its own, too: in the session's some server's reaper may be at work.
    binary = own_redis_server.binary
    store, full = own_redis_server, RedisServer(binary, "--maxmemory", "1")
    full.start()
    try:
        results = [
            run_program(store, COMMANDS.format(instrument=instrument), JOB_MONITOR_REDIS_URL=url)
            for instrument, url in (
                ("", store.url),
                ("import jobmon; jobmon.instrument()", full.url),
                ("import jobmon; jobmon.instrument()", "redis://127.0.0.1:1/0"),
            )
        ]
    finally:
        full.stop()
    assert results[0] == results[1] == results[2]
