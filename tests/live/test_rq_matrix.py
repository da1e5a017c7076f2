"""Each row of ``rq_matrix.py`` on a real worker of the RQ that is installed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest

from tests.conftest import RedisServer
from tests.live.matrix import Row
from tests.live.rq_fixtures import (
    JOBS,
    ROOT,
    SETTINGS,
    VERSION,
    Producer,
    Run,
    Signals,
    Worker,
    environment,
    rq_worker,
    wait_for,
)
from tests.live.rq_matrix import ROWS

pytestmark = pytest.mark.live


class Case(NamedTuple):
    """The job that a row is about."""

    run: Run
    job_id: str

    def record(self) -> dict[str, Any] | None:
        """As it stands."""
        return self.run.jobs().get(self.job_id)

    def reaches(self, status: str, attempt: int = 1) -> None:
        """Wait until it stands so."""

        def reached() -> bool:
            record = self.record()
            return record is not None and (record["status"], record["attempt"]) == (status, attempt)

        wait_for(reached, f"{status}, attempt {attempt}: {self.record()}")


@dataclass
class World:
    """A worker with a scheduler on the queue ``work``, and a producer."""

    server: RedisServer
    producer: Producer
    signals: Signals
    folder: Path

    def publish(self, body: str) -> Case:
        """Run a command that publishes ``job``."""
        run, job_id = self.producer.command(body, "job.id")
        return Case(run, job_id)

    def publish_held(self, name: str, more: str = "", function: str = "held") -> tuple[Case, int]:
        """Publish a job that holds; returns its process too, once it got there."""
        queue = f"Queue({name!r}, connection=connection)"
        case = self.publish(f"job = {queue}.enqueue(jobs.{function}, {name!r}{more})")
        return case, self.signals.wait_at(name)

    def worker(self, queue: str, kind: str = "fork") -> AbstractContextManager[Worker]:
        """A worker of the row's own."""
        return rq_worker(self.server, self.folder, kind=kind, queue=queue)

    def give_up(self, queue: str) -> None:
        """Let the leases on a queue's started jobs run out, then count them."""
        left = self.producer.run(
            f"""
            for member in connection.zrange("rq:wip:{queue}", 0, -1):
                connection.zadd("rq:wip:{queue}", {{member: 1}})
            said = Queue("{queue}", connection=connection).started_job_registry.count
            """
        )
        assert left == 0


Scenario: TypeAlias = Callable[[World], Case]
SCENARIOS: dict[str, tuple[tuple[int, int], Scenario]] = {}


def scenario(row: str, since: tuple[int, int] = (1, 16)) -> Callable[[Scenario], Scenario]:
    """Bring about what a row says, with RQ's versions from ``since`` on."""

    def register(function: Scenario) -> Scenario:
        assert row not in SCENARIOS
        SCENARIOS[row] = since, function
        return function

    return register


def in_one_step(row: str, body: str, since: tuple[int, int] = (1, 16)) -> None:
    """A scenario that only publishes."""
    scenario(row, since)(lambda world: world.publish(body))


@pytest.fixture(scope="module")
def shared(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Producer, Worker]]:
    with redis_server.client() as client:
        client.flushall()
    producer = Producer(redis_server, JOBS)
    folder = tmp_path_factory.mktemp("matrix")
    with rq_worker(redis_server, folder, "--with-scheduler") as worker:
        yield producer, worker
        assert "jobmon:" not in worker.log
    producer.close()


@pytest.fixture
def world(shared: tuple[Producer, Worker], redis_server: RedisServer, tmp_path: Path) -> World:
    return World(redis_server, shared[0], Signals(redis_server), tmp_path)


def test_every_row_has_a_scenario_and_every_scenario_a_row() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert set(names) == set(SCENARIOS)


# Published

in_one_step("created", "job = Job.create(jobs.add, (1,), connection=connection)\njob.save()")
in_one_step("enqueued", "job = Queue('idle', connection=connection).enqueue(jobs.add, 1)")
in_one_step(
    "many",
    """
    idle = Queue("idle", connection=connection)
    job, *_ = idle.enqueue_many([Queue.prepare_data(jobs.add, (n,)) for n in range(3)])
    """,
)
in_one_step(
    "unique",
    """
    from rq.exceptions import DuplicateJobError
    job = queue.enqueue(jobs.held, "unique", unique=True, job_id="unique")
    try:
        queue.enqueue(jobs.held, "unique", unique=True, job_id="unique")
    except DuplicateJobError:
        signals.set("go:unique", 1)
    """,
    since=(2, 8),
)
in_one_step("scheduled", "job = queue.enqueue_in(timedelta(hours=1), jobs.add, 1)")
in_one_step("handed over", "job = queue.enqueue_in(timedelta(seconds=1), jobs.add, 1)")
LIMITED = """
    from rq import RateLimit
    limited, limit = Queue({1!r}, connection=connection), RateLimit({0!r}, 1)
    limited.enqueue(jobs.held, {0!r}, rate_limit=limit)
    job = limited.enqueue(jobs.add, 1, rate_limit=limit)
"""


@scenario("rate limited", since=(3, 0))
def _(world: World) -> Case:
    case = world.publish(LIMITED.format("limited", "idle"))
    status = world.producer.run(
        f"said = Job.fetch({case.job_id!r}, connection=connection).get_status()"
    )
    assert status == "rate_limited"
    return case


@scenario("promoted", since=(3, 0))
def _(world: World) -> Case:
    case = world.publish(LIMITED.format("promoted", "work"))
    world.signals.wait_at("promoted")
    case.reaches("pending")
    world.signals.go("promoted")
    case.reaches("completed")
    record = case.record()
    assert record is not None
    assert record["created_at"] < record["enqueued_at"] <= record["started_at"]
    return case


DEFERRED = (
    "first = queue.enqueue(jobs.{1}, {0!r})\njob = queue.enqueue(jobs.add, 1, depends_on={2})"
)
MANY_DEFERRED = """
first = queue.enqueue(jobs.{1}, {0!r})
job = queue.enqueue(jobs.add, 1, depends_on={2})
"""
IDLE = "idle = Queue('idle', connection=connection)\n"
DEFERRED_IDLE = f"""{IDLE}
first = idle.enqueue(jobs.add, 1)
job = idle.enqueue(jobs.add, 1, depends_on=first)
"""
MANY_DEFERRED = """
first = queue.enqueue(jobs.{1}, {0!r})
(job,) = queue.enqueue_many([Queue.prepare_data(jobs.add, (1,), depends_on=first)])
"""


def deferred(
    world: World, name: str, body: str = DEFERRED, first: str = "held", on: str = "first"
) -> Case:
    """A job that depends on another one, which is let go once it was seen deferred."""
    case = world.publish(body.format(name, first, on))
    world.signals.wait_at(name)
    case.reaches("pending")
    world.signals.go(name)
    return case


@scenario("deferred")
def _(world: World) -> Case:
    case = world.publish(DEFERRED_IDLE)
    assert (
        world.producer.run(f"said = Job.fetch({case.job_id!r}, connection=connection).get_status()")
        == "deferred"
    )
    return case


@scenario("dependency met")
def _(world: World) -> Case:
    case = deferred(world, "met")
    case.reaches("completed")
    record = case.record()
    assert record is not None
    (first,) = [job for job in case.run.jobs().values() if job["id"] != case.job_id]
    assert max(record["created_at"], first["started_at"]) < record["enqueued_at"]
    assert record["queue_time"] < first["execution_time"] + 1
    return case


@scenario("many deferred")
def _(world: World) -> Case:
    return deferred(world, "many met", MANY_DEFERRED)


@scenario("dependency failed")
def _(world: World) -> Case:
    case = deferred(world, "unmet", first="held_and_fail")
    wait_for(lambda: case.run.counters()["failed_jobs"] == "1", "the first job failed")
    return case


@scenario("failure allowed")
def _(world: World) -> Case:
    world.producer.run("from rq.job import Dependency; jobs.Dependency = Dependency")
    on = "jobs.Dependency([first], allow_failure=True)"
    return deferred(world, "allowed", first="held_and_fail", on=on)


SYNC = "job = Queue('sync', is_async=False, connection=connection).enqueue(jobs.{})"
in_one_step("sync", SYNC.format("add, 1"))


@scenario("sync failure")
def _(world: World) -> Case:
    case = world.publish(SYNC.format("fail, 'no'"))
    case.reaches("failed")
    record = case.record()
    assert record is not None
    assert (record["worker"], record["error"]["message"]) == ("sync", "no")
    assert record["error"]["frames"][-1]["function"] == "_three"
    return case


in_one_step(
    "emptied",
    """
    idle = Queue("to empty", connection=connection)
    job = idle.enqueue(jobs.add, 1)
    assert idle.empty() == 1
    """,
)


@scenario("expired")
def _(world: World) -> Case:
    body = "job = Queue('idle', connection=connection).enqueue(jobs.add, 1, ttl=1)"
    case = world.publish(body)
    with world.server.client(db=1) as client:
        wait_for(lambda: not client.exists(f"rq:job:{case.job_id}"), "it expired")
    return case


# Ran


@scenario("running")
def _(world: World) -> Case:
    case = world.publish("job = queue.enqueue(jobs.held, 'running')")
    world.signals.wait_at("running")
    case.reaches("processing")
    return case


in_one_step("success", "signals.set('go:running', 1)\njob = queue.enqueue(jobs.add, 1)")
in_one_step("no result kept", "job = queue.enqueue(jobs.add, 1, result_ttl=0)")
in_one_step("exception", "job = queue.enqueue(jobs.fail, 'no')")
in_one_step("sys.exit", "job = queue.enqueue(jobs.exit_with, 0)")
in_one_step("timeout", "job = queue.enqueue(jobs.sleep, 30, job_timeout=1)")
in_one_step(
    "callback",
    "from rq import Callback\njob = queue.enqueue(jobs.add, 1, on_success=Callback(jobs.refuse))",
)
in_one_step("not importable", "job = queue.enqueue('tests.live.apps.rq_jobs.missing')")


@scenario("warm shutdown")
def _(world: World) -> Case:
    with world.worker("warm") as worker:
        case, _ = world.publish_held("warm")
        worker.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "shut down" in worker.log, "the worker knows")
        world.signals.go("warm")
        worker.wait()
    return case


# Tried again

in_one_step("retried", "job = queue.enqueue(jobs.flaky, 1, retry=Retry(max=1))")
in_one_step("retried later", "job = queue.enqueue(jobs.flaky, 1, retry=Retry(max=1, interval=1))")
WAITS = "job = queue.enqueue(jobs.flaky, 1, retry=Retry(max=1, interval=3600))"


@scenario("waits for retry")
def _(world: World) -> Case:
    case = world.publish(WAITS)
    case.reaches("pending", 2)
    (earlier,) = wait_for(lambda: case.run.attempts(case.job_id), "the first attempt")
    assert (earlier["status"], earlier["outcome"]) == ("retrying", "retried")
    return case


in_one_step("retries exhausted", "job = queue.enqueue(jobs.flaky, 9, retry=Retry(max=2))")
in_one_step("returned Retry", "job = queue.enqueue(jobs.give_back_once)", since=(2, 1))
in_one_step("returned Retry exhausted", "job = queue.enqueue(jobs.give_back, 1)", since=(2, 1))
in_one_step(
    "repeated",
    "from rq import Repeat\njob = queue.enqueue(jobs.add, 1, repeat=Repeat(times=2, interval=0))",
    since=(2, 3),
)


@scenario("requeued")
def _(world: World) -> Case:
    case = world.publish("job = queue.enqueue(jobs.flaky, 3)")
    case.reaches("failed")
    world.producer.run(f"queue.failed_job_registry.requeue({case.job_id!r})")
    case.reaches("failed", 2)
    world.producer.run(f"Job.fetch({case.job_id!r}, connection=connection).requeue()")
    case.reaches("failed", 3)
    ran = subprocess.run(
        [sys.executable, "-m", "rq.cli", "requeue", "-c", SETTINGS, "--queue", "work", case.job_id],
        cwd=ROOT,
        env=environment(world.server),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return case


@scenario("cancelled, requeued")
def _(world: World) -> Case:
    case = world.publish(WAITS.replace("queue.", "Queue('again', connection=connection)."))
    case.reaches("pending")
    world.producer.run(
        f"""
        from rq.registry import CanceledJobRegistry
        Job.fetch({case.job_id!r}, connection=connection).cancel()
        signals.set("flaky:{case.job_id}", 1)
        """
    )
    case.reaches("revoked")
    world.producer.run(
        f"""
        from rq.registry import CanceledJobRegistry
        CanceledJobRegistry("again", connection=connection).requeue({case.job_id!r})
        """
    )
    with world.worker("again"):
        case.reaches("completed", 2)
    return case


# Killed, or left alone

in_one_step("horse killed", "job = queue.enqueue(jobs.kill_itself)")
in_one_step("terminated", f"job = queue.enqueue(jobs.kill_itself, {int(signal.SIGTERM)})")
in_one_step("crashed", f"job = queue.enqueue(jobs.kill_itself, {int(signal.SIGSEGV)})")
in_one_step("os._exit(3)", "job = queue.enqueue(jobs.leave, 3)")
in_one_step("os._exit(0)", "job = queue.enqueue(jobs.vanish)")
in_one_step(
    "killed, retried", "job = queue.enqueue(jobs.kill_itself_once, 'once', retry=Retry(max=1))"
)


@scenario("kill-horse")
def _(world: World) -> Case:
    case = world.publish("job = queue.enqueue(jobs.held, 'kill-horse')")
    world.signals.wait_at("kill-horse")
    world.producer.run(
        f"""
        from rq.command import send_kill_horse_command
        worker = Job.fetch({case.job_id!r}, connection=connection).worker_name
        send_kill_horse_command(connection, worker)
        """
    )
    return case


@scenario("hung")
def _(world: World) -> Case:
    with world.worker("hung", "tests.live.apps.rq_classes.ImpatientWorker"):
        case = world.publish(
            "job = Queue('hung', connection=connection).enqueue(jobs.hang, job_timeout=1)"
        )
        case.reaches("failed")
    return case


@scenario("cold shutdown")
def _(world: World) -> Case:
    with world.worker("cold") as worker:
        case, _ = world.publish_held("cold")
        worker.stop_cold()
    return case


@scenario("orphan")
def _(world: World) -> Case:
    with world.worker("orphan") as worker:
        case, _ = world.publish_held("orphan")
        worker.stop(signal.SIGKILL)
        world.signals.go("orphan")
        case.reaches("completed")
    return case


@scenario("abandoned")
def _(world: World) -> Case:
    with world.worker("abandoned") as worker:
        case, horse = world.publish_held("abandoned")
        worker.stop(signal.SIGKILL)
        os.kill(horse, signal.SIGKILL)
    world.give_up("abandoned")
    return case


@scenario("abandoned, retried")
def _(world: World) -> Case:
    with world.worker("again later") as worker:
        case, horse = world.publish_held("again later", ", retry=Retry(max=1)")
        worker.stop(signal.SIGKILL)
        os.kill(horse, signal.SIGKILL)
    world.give_up("again later")
    return case


@scenario("abandoned, alive")
def _(world: World) -> Case:
    with world.worker("alive") as worker:
        case, _ = world.publish_held("alive")
        worker.stop(signal.SIGKILL)
        world.give_up("alive")
        case.reaches("lost")
        case.run.check_counters()
        world.signals.go("alive")
        case.reaches("completed")
    return case


@scenario("abandoned, alive, failed")
def _(world: World) -> Case:
    with world.worker("failing") as worker:
        case, _ = world.publish_held("failing", function="held_and_fail")
        worker.stop(signal.SIGKILL)
        world.give_up("failing")
        case.reaches("lost")
        world.signals.go("failing")
        case.reaches("failed")
    return case


@scenario("stuck")
def _(world: World) -> Case:
    case = world.publish("job = Queue('stuck', connection=connection).enqueue(jobs.add, 1)")
    case.reaches("pending")
    world.producer.run(
        """
        import time
        from rq import SimpleWorker
        from rq.intermediate_queue import IntermediateQueue
        stuck = Queue("stuck", connection=connection)
        taken = IntermediateQueue(stuck.key, connection)
        job_id = connection.rpoplpush(stuck.key, taken.key).decode()
        connection.set(taken.get_first_seen_key(job_id), time.time() - 100)
        taken.cleanup(SimpleWorker([stuck], connection=connection), stuck)
        """
    )
    return case


# Cancelled, stopped, deleted


def undone(world: World, body: str, how: str, at: tuple[str, int] = ("pending", 1)) -> Case:
    """A job that is published, reaches a status, and is undone in another process."""
    case = world.publish(body)
    case.reaches(*at)
    world.producer.run(f"Job.fetch({case.job_id!r}, connection=connection).{how}")
    return case


@scenario("cancelled")
def _(world: World) -> Case:
    return undone(world, IDLE + "job = idle.enqueue(jobs.add, 1)", "cancel()")


@scenario("cancelled, scheduled")
def _(world: World) -> Case:
    body = IDLE + "job = idle.enqueue_in(timedelta(hours=1), jobs.add, 1)"
    return undone(world, body, "cancel()")


@scenario("cancelled, retrying")
def _(world: World) -> Case:
    return undone(world, WAITS, "cancel()", ("pending", 2))


@scenario("cancelled, deferred")
def _(world: World) -> Case:
    return undone(world, DEFERRED_IDLE, "cancel()")


@scenario("dependency cancelled")
def _(world: World) -> Case:
    body = f"{IDLE}first = idle.enqueue(jobs.add, 1)\n"
    case = world.publish(body + "job = queue.enqueue(jobs.add, 1, depends_on=first)")
    case.reaches("pending")
    (first,) = case.run.jobs().keys() - {case.job_id}
    world.producer.run(
        f"Job.fetch({first!r}, connection=connection).cancel(enqueue_dependents=True)"
    )
    return case


def undone_while_running(world: World, name: str, how: str) -> Case:
    """A job that goes on, whatever RQ calls it."""
    case = world.publish(f"job = queue.enqueue(jobs.held, {name!r})")
    world.signals.wait_at(name)
    case.reaches("processing")
    world.producer.run(f"Job.fetch({case.job_id!r}, connection=connection).{how}")
    world.signals.go(name)
    case.reaches("completed")
    return case


@scenario("cancelled, running")
def _(world: World) -> Case:
    return undone_while_running(world, "cancelled", "cancel()")


@scenario("deleted, running")
def _(world: World) -> Case:
    return undone_while_running(world, "deleted", "delete()")


@scenario("deleted")
def _(world: World) -> Case:
    return undone(world, IDLE + "job = idle.enqueue(jobs.add, 1)", "delete()")


@scenario("dependency deleted")
def _(world: World) -> Case:
    case = world.publish(DEFERRED_IDLE)
    case.reaches("pending")
    (first,) = case.run.jobs().keys() - {case.job_id}
    world.producer.run(
        f"Job.fetch({first!r}, connection=connection).delete(delete_dependents=True)"
    )
    return case


STOP = """
from rq.command import send_stop_job_command
send_stop_job_command(connection, {!r})
"""


@scenario("stopped")
def _(world: World) -> Case:
    case = world.publish("job = queue.enqueue(jobs.held, 'stopped')")
    world.signals.wait_at("stopped")
    world.producer.run(STOP.format(case.job_id))
    return case


@scenario("execution stopped", since=(3, 0))
def _(world: World) -> Case:
    case = world.publish("job = queue.enqueue(jobs.held, 'execution')")
    world.signals.wait_at("execution")
    world.producer.run(
        f"""
        from rq.command import send_stop_execution_command
        (execution,) = Job.fetch({case.job_id!r}, connection=connection).get_executions()
        send_stop_execution_command(connection, {case.job_id!r}, execution.id)
        """
    )
    return case


# In a SimpleWorker


@scenario("simple stop", since=(2, 7))
def _(world: World) -> Case:
    with world.worker("simple stop", "simple") as worker:
        case, _ = world.publish_held("simple stop")
        world.producer.run(STOP.format(case.job_id))
        world.signals.go("simple stop")
        case.reaches("completed")
        worker.stop()
    return case


@scenario("simple exit")
def _(world: World) -> Case:
    with world.worker("simple exit", "simple") as worker:
        case, _ = world.publish_held("simple exit", function="held_and_vanish")
        case.reaches("processing")
        world.signals.go("simple exit")
        worker.process.wait(30)
    world.give_up("simple exit")
    return case


@scenario("simple cold shutdown")
def _(world: World) -> Case:
    with world.worker("simple cold", "simple") as worker:
        case, _ = world.publish_held("simple cold")
        worker.stop_cold()
    return case


APPLICABLE = [row for row in ROWS if SCENARIOS[row.name][0] <= VERSION]


@pytest.mark.parametrize("row", APPLICABLE, ids=lambda row: row.name)
def test_what_is_recorded(row: Row, world: World) -> None:
    _, bring_about = SCENARIOS[row.name]
    case = bring_about(world)
    if not row.status:
        assert case.record() is None
        return
    counters: dict[str, str] = {}

    def stands() -> bool:
        nonlocal counters
        record, counters = case.record(), case.run.counters()
        if record is None:
            return False
        try:
            row.check(record, counters)
        except AssertionError:
            return False
        return True

    try:
        wait_for(stands, row.name)
    except AssertionError:
        record = case.record()
        assert record is not None, "nothing was recorded"
        row.check(record, counters)
        raise
    case.run.check_counters()
