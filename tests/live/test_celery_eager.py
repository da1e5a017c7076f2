"""Tasks that run where they are called: ``apply()`` and ``task_always_eager``."""

from __future__ import annotations

import json
import platform
import textwrap
from typing import Any

import pytest

from tests.conftest import RedisServer
from tests.live.celery_fixtures import Run, produce

pytestmark = pytest.mark.live

PROGRAM = """
import sys, threading
from celery import chain, chord, group
from celery.exceptions import Retry

app.conf.task_always_eager = True
app.conf.task_eager_propagates = {propagates}

@app.task(bind=True)
def again(self):
    if self.request.retries < 2:
        raise self.retry(exc=ConnectionError("once more"), countdown=0)
    return self.request.retries

@app.task(bind=True)
def returns_its_retry(self):
    return self.retry(countdown=0, throw=False) if not self.request.retries else "done"

@app.task(bind=True)
def drops_its_retry(self):
    self.retry(countdown=0, throw=False)

@app.task
def raises_retry():
    raise Retry("by hand")

@app.task
def requeued():
    raise Reject("no", requeue=True)

@app.task
def leaves():
    sys.exit(3)

@app.task
def outer():
    publish("before")
    add.apply((1, 2))
    publish("after")

@app.task
def in_thread():
    thread = threading.Thread(target=publish, args=("from a thread",))
    thread.start()
    thread.join()

def publish(message):
    app.send_task(fail.name, (message,), queue="nobody")

@app.task
def publishes():
    publish("from a task")

@app.task(bind=True)
def becomes(self, task, *args):
    return self.replace(app.tasks[task].si(*args))

def raised(call, *args, **options):
    try:
        call(*args, **options)
    except BaseException as error:
        return type(error).__name__
"""


def ran(
    server: RedisServer,
    body: str,
    *,
    before: str = "",
    after: str = "",
    propagates: bool = False,
    **env: str,
) -> tuple[Run, Any]:
    """What a command recorded that ran these statements, and what they put into ``said``."""
    program = PROGRAM.format(propagates=propagates) + textwrap.dedent(before)
    program += "\nsaid = []\nwith jobmon.command('data:process') as run:\n"
    program += textwrap.indent(textwrap.dedent(body).strip(), "    ")
    program += "\n" + textwrap.dedent(after)
    process_id, said = produce(server, program + "\nprint(json.dumps((run.id, said)))", **env)
    return Run(server, process_id), said


def outcomes(run: Run) -> dict[str, list[tuple[str, str, int]]]:
    """(status, outcome, attempt) of each job, by the task's own name."""
    found: dict[str, list[tuple[str, str, int]]] = {}
    for job in sorted(run.jobs().values(), key=lambda job: job["created_at"]):
        name = job["class"].rsplit(".", 1)[-1]
        state = (job["status"], job.get("outcome", ""), job["attempt"])
        found.setdefault(name, []).append(state)
    return found


EVERY_END = """
said += [raised(task.delay, *args) for task, args in (
    (add, (1, 2)), (fail, ("no",)), (ignore, ()), (reject, ()), (requeued, ()), (again, ()),
    (returns_its_retry, ()), (drops_its_retry, ()), (raises_retry, ()), (leaves, ()),
    (becomes, (allocate.name, 1)), (becomes, (in_thread.name,)), (outer, ()),
)]
publish("from the command")
"""


@pytest.fixture(scope="module")
def ended(redis_server: RedisServer) -> tuple[Run, Any]:
    return ran(redis_server, EVERY_END)


@pytest.fixture(scope="module")
def propagated(redis_server: RedisServer) -> tuple[Run, Any]:
    return ran(redis_server, EVERY_END, propagates=True)


def test_each_way_to_end_has_its_outcome(ended: tuple[Run, Any]) -> None:
    run, _ = ended
    assert outcomes(run) == {
        "add": [("completed", "completed", 1)] * 2,
        "again": [("completed", "completed", 3)],
        "allocate": [("completed", "completed", 2)],
        "drops_its_retry": [("completed", "completed", 1)],
        "fail": [("failed", "failed", 1)] + [("pending", "", 1)] * 4,
        "ignore": [("completed", "ignored", 1)],
        "in_thread": [("completed", "completed", 2)],
        "leaves": [("failed", "failed", 1)],
        "outer": [("completed", "completed", 1)],
        "raises_retry": [("failed", "failed", 1)],
        "reject": [("failed", "rejected", 1)],
        "requeued": [("failed", "rejected", 1)],
        "returns_its_retry": [("completed", "completed", 2)],
    }
    run.check_counters()
    assert run.counters()["status"] == "completed"


def test_an_exception_that_goes_to_the_caller_is_how_the_job_ended(
    propagated: tuple[Run, Any],
) -> None:
    run, _ = propagated
    found = outcomes(run)
    assert found["fail"][0] == ("failed", "failed", 1)
    assert found["add"] == [("completed", "completed", 1)] * 2
    assert found["ignore"] == [("completed", "ignored", 1)]
    assert found["reject"] == [("failed", "rejected", 1)]
    # Celery gives the Retry to the caller, who is not going to run it again.
    assert found["again"] == [("failed", "failed", 1)]
    assert found["leaves"] == [("failed", "failed", 1)]
    assert found["allocate"] == [("completed", "completed", 2)]
    errors = {name: run.named(name)[0]["error"] for name in ("again", "leaves")}
    assert errors["again"]["message"] == "once more"
    assert errors["leaves"]["class"] == "SystemExit"
    (failed,) = [job for job in run.named("fail") if job["status"] == "failed"]
    assert [frame["function"] for frame in failed["error"]["frames"]] == ["_one", "_two", "_three"]
    run.check_counters()


@pytest.mark.parametrize("propagates", [False, True])
def test_the_caller_sees_what_it_would_see_without_jobmon(
    ended: tuple[Run, Any],
    propagated: tuple[Run, Any],
    redis_server: RedisServer,
    propagates: bool,
) -> None:
    _, said = propagated if propagates else ended
    off = {"JOB_MONITOR_MONITORING_JOB_CORRELATION_ENABLED": "false"}
    _, bare = ran(redis_server, EVERY_END, propagates=propagates, **off)
    assert said == bare
    assert ("ValueError" in said) is propagates


def test_a_record_says_where_it_ran_and_that_it_never_waited(ended: tuple[Run, Any]) -> None:
    run, _ = ended
    (job,) = run.named("leaves")
    assert job["engine"] == "celery"
    assert job["queue"] == ""
    assert job["worker"] == f"gen{json.loads(run.counters()['run'])['pid']}@{platform.node()}"
    assert job["created_at"] <= job["started_at"] < job["finished_at"]
    assert job.keys().isdisjoint({"enqueued_at", "queue_time", "memory_usage"})
    assert job["arguments"] == {"args": [], "kwargs": {}}


def test_each_run_of_a_retry_is_an_attempt(ended: tuple[Run, Any]) -> None:
    run, _ = ended
    (job,) = run.named("again")
    earlier = run.attempts(job["id"])
    assert [(one["attempt"], one["outcome"]) for one in earlier] == [(1, "retried"), (2, "retried")]
    assert {one["error"]["message"] for one in earlier} == {"once more"}
    (job,) = run.named("allocate")
    (earlier,) = run.attempts(job["id"])
    assert (earlier["class"].rsplit(".", 1)[-1], earlier["outcome"]) == ("becomes", "retried")


def test_what_it_publishes_is_its_own_and_what_follows_is_the_callers(
    ended: tuple[Run, Any],
) -> None:
    run, _ = ended
    (outer,), (in_thread,) = run.named("outer"), run.named("in_thread")
    parents = [job.get("parent_id") for job in run.named("fail") if job["status"] == "pending"]
    assert sorted(parents, key=str) == sorted(
        [in_thread["id"], outer["id"], outer["id"], None], key=str
    )
    nested = [job for job in run.named("add") if "parent_id" in job]
    assert [job["parent_id"] for job in nested] == [outer["id"]]


def test_canvas_runs_in_place_and_a_link_of_apply_is_published(redis_server: RedisServer) -> None:
    run, _ = ran(
        redis_server,
        """
        app.conf.task_always_eager = True
        chain(add.s(1, 1), add.s(2)).delay()
        group(add.s(n, n) for n in range(3)).delay()
        chord([add.s(1, 1), add.s(2, 2)], nest.si(0)).delay()
        app.conf.task_always_eager = False
        allocate.apply((1,), link=fail.si("linked").set(queue="nobody"))
        """,
    )
    assert outcomes(run) == {
        "add": [("completed", "completed", 1)] * 7,
        "nest": [("completed", "completed", 1)],
        "allocate": [("completed", "completed", 1)],
        "fail": [("pending", "", 1)],
    }
    assert run.named("fail")[0]["parent_id"] == run.named("allocate")[0]["id"]
    run.check_counters()


def test_what_is_said_of_it_is_not_said_of_what_it_publishes(redis_server: RedisServer) -> None:
    run, other = ran(
        redis_server,
        """
        other = str(__import__("uuid").uuid4())
        tracked = lambda task: jobmon.track(task).set_command_process_id(other) \
            .set_command_name("nightly").set_job_type("report")
        tracked(outer).delay()
        tracked(add).s(1, 2).delay()
        said = other
        """,
    )
    said = Run(redis_server, other, name="nightly")
    assert outcomes(said) == {
        "outer": [("completed", "completed", 1)],
        "add": [("completed", "completed", 1)] * 2,
        "fail": [("pending", "", 1)] * 2,
    }
    typed = [job["class"].rsplit(".", 1)[-1] for job in said.jobs().values() if "job_type" in job]
    assert sorted(typed) == ["add", "outer"]
    assert run.jobs() == {}


def test_outside_of_every_command_it_is_a_tree_of_its_own(redis_server: RedisServer) -> None:
    job_id = produce(
        redis_server,
        "app.conf.task_always_eager = True\nprint(json.dumps(nest.delay(1).id))",
    )
    with redis_server.client() as client:
        stored = client.hgetall(f"jobmon:job:metrics:{job_id}")
        assert stored[b"status"] == b"completed"
        assert stored[b"command_name"] == b"manual-dispatch"
        assert client.scard(f"jobmon:command:{job_id}:manual") == 1


def test_its_span_is_a_child_of_the_commands_and_attempts_are_siblings(
    redis_server: RedisServer,
) -> None:
    _, spans = ran(
        redis_server,
        """
        again.delay()
        """,
        before="""
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        exported = InMemorySpanExporter()
        trace.set_tracer_provider(TracerProvider())
        trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exported))
        """,
        after="""
        said = [
            (span.name, span.context.span_id, span.parent and span.parent.span_id,
             {link.attributes["jobmon.link.type"]: link.context.span_id for link in span.links})
            for span in exported.get_finished_spans()
        ]
        """,
    )
    *attempts, (name, command, _, _) = spans
    assert name == "command data:process"
    assert [(name.rsplit(".", 1)[-1], parent) for name, _, parent, _ in attempts] == [
        ("again", command)
    ] * 3
    ids = [span_id for _, span_id, _, _ in attempts]
    assert [links.get("retry_of") for _, _, _, links in attempts] == [None, *ids[:2]]
