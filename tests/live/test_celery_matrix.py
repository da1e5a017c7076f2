"""Each row of ``celery_matrix.py`` on real workers of the Celery that is installed."""

from __future__ import annotations

import base64
import json
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import celery
import pytest

from tests.conftest import RedisServer
from tests.live.celery_fixtures import Producer, Run, Signals, Worker, celery_worker, wait_for
from tests.live.celery_matrix import ROWS
from tests.live.matrix import COUNTERS, Row

pytestmark = pytest.mark.live

APP = "tests.live.apps.celery_endings"
VERSION = tuple(int(part) for part in celery.__version__.split(".")[:2])
OTHER_DATABASE = 5
"""Of the workers that lose their connection to the broker."""


class Case(NamedTuple):
    """The job that a row is about."""

    run: Run
    job_id: str

    def record(self) -> dict[str, Any] | None:
        """As it stands."""
        return self.run.jobs().get(self.job_id)

    def reaches(self, status: str, attempt: int = 1) -> dict[str, Any]:
        """Wait until it stands so."""

        def reached() -> dict[str, Any] | None:
            record = self.record()
            stands = record is not None and (record["status"], record["attempt"])
            return record if stands == (status, attempt) else None

        return wait_for(reached, f"{status}, attempt {attempt}", 60)


@dataclass
class World:
    """A worker with two children on the queue ``work``, and a producer."""

    server: RedisServer
    folder: Path
    producer: Producer
    signals: Signals
    shared: Worker
    published: dict[str, Case] = field(default_factory=dict[str, Case])
    """Rows whose jobs were all published at the beginning."""
    stages: dict[Callable[..., Any], dict[str, Case]] = field(default_factory=dict[Any, Any])

    def publish(self, body: str) -> Case:
        """Run a command that publishes ``job``."""
        run, job_id = self.producer.command(body, "job.id")
        return Case(run, job_id)

    def publish_held(self, name: str, queue: str = "work", function: str = "held") -> Case:
        """Publish a job that holds, and wait until it got there."""
        case = self.publish(f"job = {function}.apply_async(({name!r},), queue={queue!r})")
        self.signals.wait_at(name)
        return case

    def worker(
        self, queue: str, *options: str, pool: str = "prefork", **conf: object
    ) -> AbstractContextManager[Worker]:
        """A worker of a row's own, or of some that belong together."""
        folder = self.folder / queue
        folder.mkdir(exist_ok=True)
        named = ("-Q", queue, "-n", f"{queue}@%h")
        return celery_worker(
            self.server, folder, *named, *options, pool=pool, app=APP, TEST_CONF=json.dumps(conf)
        )

    def revoke(self, case: Case, at: str = "work", **options: object) -> None:
        """Revoke a job, which a worker confirms."""
        more = "".join(f", {name}={value!r}" for name, value in options.items())
        self.producer.run(
            f"""
            import socket
            at = "{at}@" + socket.gethostname()
            said = app.control.revoke(
                {case.job_id!r}, destination=[at], reply=True, timeout=60{more}
            )
            assert said, "nobody has heard it"
            """
        )

    def restore(self) -> None:
        """Have the broker give up whoever holds its messages."""
        self.producer.run(
            """
            at_once = {"visibility_timeout": -1}
            with app.connection_for_write(transport_options=at_once) as connection:
                channel = connection.default_channel
                # Whoever holds it, like a worker that was killed meanwhile, makes this do nothing.
                channel.client.delete(channel.unacked_mutex_key)
                channel.qos.restore_visible(num=100)
            """
        )

    def altered(
        self, body: str, change: Callable[[dict[str, Any]], object], queue: str = "work"
    ) -> Case:
        """Publish, and change the message before a worker gets it."""
        case = self.publish(body + ".apply_async(queue='altered')")
        with self.server.client(db=1) as client:
            message = json.loads(client.rpop("altered"))
            message["properties"]["delivery_info"]["routing_key"] = queue
            change(message)
            client.lpush(queue, json.dumps(message))
        return case

    def stage(self, make: Callable[[World], dict[str, Case]], row: str) -> Case:
        """One of several rows that come about together."""
        if make not in self.stages:
            self.stages[make] = make(self)
        return self.stages[make][row]


Scenario: TypeAlias = Callable[[World], Case]
SCENARIOS: dict[str, tuple[tuple[int, int], Scenario]] = {}
AT_ONCE: dict[str, str] = {}


def scenario(row: str, since: tuple[int, int] = (5, 4)) -> Callable[[Scenario], Scenario]:
    """Bring about what a row says, with Celery's versions from ``since`` on."""

    def register(function: Scenario) -> Scenario:
        assert row not in SCENARIOS
        SCENARIOS[row] = since, function
        return function

    return register


def in_one_step(row: str, body: str, since: tuple[int, int] = (5, 4)) -> None:
    """A scenario that only publishes; such are all published at the beginning."""
    if since <= VERSION:
        AT_ONCE[row] = body
    scenario(row, since)(lambda world: world.published[row])


def together(
    *rows: str, since: tuple[int, int] = (5, 4)
) -> Callable[[Callable[[World], dict[str, Case]]], None]:
    """Some rows that come about together."""

    def register(make: Callable[[World], dict[str, Case]]) -> None:
        for row in rows:
            scenario(row, since)(lambda world, row=row: world.stage(make, row))

    return register


@pytest.fixture(scope="module")
def world(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with redis_server.client() as client:
        client.flushall()
    folder = tmp_path_factory.mktemp("matrix")
    producer = Producer(redis_server, APP)
    options = ("-Q", "work", "-n", "work@%h", "--concurrency", "3")
    with celery_worker(redis_server, folder, *options, app=APP) as shared:
        found = World(redis_server, folder, producer, Signals(redis_server), shared)
        for row, body in AT_ONCE.items():
            found.published[row] = found.publish(body)
        yield found
        assert "jobmon: " not in shared.log, shared.log
    producer.close()


def test_every_row_has_a_scenario_and_every_scenario_a_row() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert set(names) == set(SCENARIOS)


# Published

in_one_step("published", "job = add.apply_async((1,), queue='idle')")
in_one_step("waiting", "job = add.apply_async((1,), countdown=3600)")
in_one_step("due", "job = add.apply_async((1,), countdown=1)")


@scenario("not published")
def _(world: World) -> Case:
    return world.publish(
        """
        class job:
            id = "unserializable"
        try:
            add.apply_async((object(),), task_id=job.id)
        except Exception:
            pass
        else:
            raise AssertionError("published")
        """
    )


@scenario("purged")
def _(world: World) -> Case:
    case = world.publish("job = add.apply_async((1,), queue='to purge')")
    case.reaches("pending")
    world.producer.run(
        """
        with app.connection_for_write() as connection:
            said = connection.default_channel.queue_purge("to purge")
        assert said == 1
        """
    )
    return case


@scenario("inline")
def _(world: World) -> Case:
    return world.publish("class job:\n    id = str(add(1, 2))")


# Ran


@scenario("running")
def _(world: World) -> Case:
    case = world.publish_held("running")
    case.reaches("processing")
    return case


in_one_step("success", "job = add.delay(1)")
in_one_step("exception", "job = fail.delay('no')")
in_one_step("ignore", "job = ignore.delay()")
in_one_step("reject", "job = reject.delay()")
in_one_step("reject early", "job = reject_early.delay(True)")
in_one_step("soft limit", "job = soft_limited.delay()")
in_one_step("soft limit handled", "job = soft_limited_caught.delay()")
in_one_step("hard limit", "job = hard_limited.delay()")
in_one_step("hard limit, late", "job = held_late.apply_async(('never',), time_limit=1)")


@scenario("built in")
def _(world: World) -> Case:
    case = world.publish("world = [(1, 1), (2, 2)]\njob = add.starmap(world).delay()")
    assert case.reaches("completed")["built_in"] is True
    return case


@together("recycled by tasks", "recycled by memory")
def _(world: World) -> dict[str, Case]:
    limits = ("--max-tasks-per-child", "3", "--max-memory-per-child", "250000")
    children: list[int] = []

    def child(name: str) -> None:
        world.signals.go(name)
        world.publish_held(name, "recycled").reaches("completed")
        children.append(world.signals.wait_at(name))

    with world.worker("recycled", "--concurrency", "1", *limits):
        child("at first")
        memory = world.publish("job = allocate.apply_async((300,), queue='recycled')")
        child("after memory")
        world.publish("job = add.apply_async((1,), queue='recycled')")
        tasks = world.publish("job = add.apply_async((1,), queue='recycled')")
        child("after tasks")
    assert len(set(children)) == 3
    return {"recycled by memory": memory, "recycled by tasks": tasks}


# Tried again

in_one_step("retried", "job = retry_later.delay(0)")
in_one_step("retried by itself", "job = flaky.delay(2)")
in_one_step("retried quietly", "job = retry_quietly.delay()")
in_one_step("retries exhausted", "job = give_up.delay()")
in_one_step("replaced", "job = replaced.delay()")


@scenario("waits for retry")
def _(world: World) -> Case:
    case = world.publish("job = retry_later.delay(3600)")
    case.reaches("pending", 2)

    def ended() -> bool:
        (earlier,) = case.run.attempts(case.job_id)
        return (earlier["status"], earlier.get("outcome")) == ("retrying", "retried")

    wait_for(ended, "the first attempt, which ends after the second is published")
    return case


# Killed, or left alone

in_one_step("child killed", "job = die.delay()")
in_one_step("os._exit", "job = vanish.delay()")
in_one_step("sys.exit", "job = leave.delay()")
in_one_step("child killed, late", "job = die_late.delay()")
in_one_step("retried when lost", "job = die_and_retry.delay('once', 1)", since=(5, 7))
in_one_step("lost once too often", "job = die_and_retry.delay('thrice', 3)", since=(5, 7))


@scenario("memory error")
def _(world: World) -> Case:
    with world.worker("memory", "--concurrency", "1") as worker:
        case = world.publish("job = exhaust.apply_async(queue='memory')")
        assert worker.process.wait(60) != 0
        assert "Unrecoverable error: MemoryError" in worker.log
    return case


@together("worker killed", "worker killed, reserved")
def _(world: World) -> dict[str, Case]:
    with world.worker("killed", "--concurrency", "1") as worker:
        running = world.publish_held("killed", "killed")
        running.reaches("processing")
        reserved = world.publish("job = add.apply_async((1,), queue='killed')")
        wait_for(lambda: f"[{reserved.job_id}] received" in worker.log, "it has that one too")
        worker.stop(signal.SIGKILL)
    return {"worker killed": running, "worker killed, reserved": reserved}


# Revoked, expired

TASK_ID = "job_id = {!r}\njob = add.apply_async((1,), task_id=job_id)"


@scenario("revoked before")
def _(world: World) -> Case:
    job_id = str(uuid.uuid4())
    world.revoke(Case(Run(world.server, ""), job_id))
    return world.publish(f"job = add.apply_async((1,), task_id={job_id!r})")


@together(
    "requeued",
    "revoked, reserved",
    "expired, reserved",
    "warm shutdown",
    "warm shutdown, reserved",
)
def _(world: World) -> dict[str, Case]:
    with world.worker("busy", "--concurrency", "1") as worker:
        requeued = world.publish_held("requeued", "busy", "killed_meanwhile")
        requeued.reaches("processing")
        busy = world.publish("job = held.apply_async(('busy',), queue='busy')")
        wait_for(lambda: f"[{busy.job_id}] received" in worker.log, "the next one")
        os.kill(world.signals.wait_at("requeued"), signal.SIGKILL)
        world.signals.wait_at("busy")
        requeued.reaches("retrying")
        requeued.run.check_counters()
        revoked = world.publish("job = add.apply_async((1,), queue='busy')")
        expired = world.publish("job = add.apply_async((1,), queue='busy', expires=1)")
        last = world.publish("job = held.apply_async(('warm',), queue='busy')")
        for case in (revoked, expired):
            wait_for(lambda case=case: f"[{case.job_id}] received" in worker.log, "it has both")
        world.revoke(revoked, "busy")
        wait_for(lambda: passed(world, expired), "it expired")
        world.signals.go("busy")
        world.signals.wait_at("warm")
        reserved = world.publish("job = add.apply_async((1,), queue='busy')")
        wait_for(lambda: f"[{reserved.job_id}] received" in worker.log, "it has that one too")
        worker.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "Warm shutdown" in worker.log, "the worker knows")
        world.signals.go("warm")
        assert worker.process.wait(60) == 0
        assert world.server.client(db=1).llen("busy") == 1
        requeued.reaches("completed")
    return {
        "requeued": requeued,
        "revoked, reserved": revoked,
        "expired, reserved": expired,
        "warm shutdown": last,
        "warm shutdown, reserved": reserved,
    }


def passed(world: World, case: Case) -> bool:
    """Whether a second went by since a job was published."""
    record = case.record()
    with world.server.client() as client:
        return record is not None and client.time()[0] > record["created_at"] + 1.5


@scenario("revoked, waiting")
def _(world: World) -> Case:
    case = world.publish("job = add.apply_async((1,), countdown=2)")
    wait_for(lambda: f"[{case.job_id}] received" in world.shared.log, "a worker has it")
    world.revoke(case)
    return case


def terminated(world: World, how: str) -> Case:
    case = world.publish_held(f"terminated {how}")
    world.revoke(case, terminate=True, signal=how)
    return case


scenario("terminated")(lambda world: terminated(world, "SIGTERM"))
scenario("terminated, SIGKILL")(lambda world: terminated(world, "SIGKILL"))
in_one_step("expired before", "job = add.apply_async((1,), expires=-1)")
in_one_step("expired, waiting", "job = add.apply_async((1,), countdown=2, expires=1)")


# Refused by the worker


def set_body(message: dict[str, Any], body: bytes) -> None:
    assert message["properties"]["body_encoding"] == "base64"
    message["body"] = base64.b64encode(body).decode()


in_one_step("unknown", "job = app.send_task('nobody.knows')")


@scenario("undecodable")
def _(world: World) -> Case:
    return world.altered("job = add.s(1)", lambda message: set_body(message, b"[[1], {"))


@scenario("not accepted")
def _(world: World) -> Case:
    return world.altered(
        "job = add.s(1)",
        lambda message: message.update({"content-type": "application/x-python-serialize"}),
    )


@scenario("invalid")
def _(world: World) -> Case:
    return world.altered(
        "job = add.s(1)", lambda message: message["headers"].update(eta="tomorrow")
    )


@scenario("no task")
def _(world: World) -> Case:
    return world.altered("job = add.s(1)", lambda message: message["headers"].pop("task"))


@scenario("no mapping")
def _(world: World) -> Case:
    return world.altered("job = add.s(1)", lambda message: set_body(message, b"[[1], [2], {}]"))


@scenario("poisonous body")
def _(world: World) -> Case:
    with world.worker("poisonous") as worker:
        case = world.altered(
            "job = add.s(1)", lambda message: set_body(message, b"[[1]]"), "poisonous"
        )
        assert worker.process.wait(60) != 0
        assert "Unrecoverable error: ValueError" in worker.log
    return case


@scenario("poisonous headers")
def _(world: World) -> Case:
    with world.worker("without id") as worker:
        case = world.altered(
            "job = add.s(1)", lambda message: message["headers"].pop("id"), "without id"
        )

        def useless() -> bool:
            lost = worker.log.count("onnection to broker lost")
            return lost > 1 or worker.process.poll() is not None

        wait_for(useless, "it begins anew for ever, or stops")
    return case


# Its worker shut down


@together("soft shutdown", "soft shutdown, too long", since=(5, 5))
def _(world: World) -> dict[str, Case]:
    with world.worker("soft", worker_soft_shutdown_timeout=3) as worker:
        short, long = (world.publish_held(f"soft {n}", "soft") for n in ("short", "long"))
        worker.process.send_signal(signal.SIGQUIT)
        wait_for(lambda: "Soft Shutdown" in worker.log, "the worker knows")
        world.signals.go("soft short")
        worker.process.wait(60)
    return {"soft shutdown": short, "soft shutdown, too long": long}


def cold(world: World) -> dict[str, Case]:
    with world.worker("cold") as worker:
        early = world.publish_held("cold", "cold")
        late = world.publish_held("cold late", "cold", "once_held_late")
        worker.process.send_signal(signal.SIGQUIT)
        worker.process.wait(60)
    if VERSION < (5, 5):
        late.reaches("lost")
    else:
        late.reaches("retrying")
        late.run.check_counters()
        world.producer.run("app.control.add_consumer('cold')")
    return {"cold shutdown": early, "cold shutdown, late": late}


together("cold shutdown")(cold)
together("cold shutdown, late", since=(5, 5))(cold)


# Celery itself failed


@together("backend down", "backend down, raised", "backend down, killed")
def _(world: World) -> dict[str, Case]:
    nowhere = {"retry_policy": {"max_retries": 1, "interval_start": 0}}
    with world.worker(
        "backend",
        result_backend="redis://127.0.0.1:9/0",
        result_backend_transport_options=nowhere,
    ):
        success = world.publish("job = add.apply_async((1,), queue='backend')")
        raised = world.publish("job = fail.apply_async(('no',), queue='backend')")
        killed = world.publish("job = die.apply_async(queue='backend')")
        success.reaches("completed")
        killed.reaches("lost")
        assert raised.reaches("failed")["error"]["message"] == "no"
    return {
        "backend down": success,
        "backend down, raised": raised,
        "backend down, killed": killed,
    }


@scenario("errback raised")
def _(world: World) -> Case:
    case = world.publish("job = fail.apply_async(('no',), link_error=refuse.s())")
    assert case.reaches("failed")["error"]["message"] == "no"
    return case


# Delivered again

in_one_step("requeued by itself", "job = requeue.delay('itself')")
in_one_step("timed out, again", "job = slow_once.delay('timed out')", since=(5, 7))


@scenario("visibility timeout")
def _(world: World) -> Case:
    case = world.publish_held("visibility", function="once_held_late")
    case.reaches("processing")
    world.restore()
    case.reaches("completed")
    world.signals.go("visibility")
    wait_for(lambda: world.shared.log.count(f"[{case.job_id}] succeeded") == 2, "both ended")
    return case


@scenario("deduplicated")
def _(world: World) -> Case:
    copies: list[str] = []

    def copy(message: dict[str, Any]) -> None:
        copies.append(json.dumps(message))

    case = world.altered("job = held_late.s('deduplicated')", copy)
    world.signals.go("deduplicated")
    case.reaches("completed")
    again = json.loads(copies[0])
    # As kombu's Redis transport does when it restores a message.
    again["headers"]["redelivered"] = True
    again["properties"]["delivery_info"]["redelivered"] = True
    with world.server.client(db=1) as client:
        client.lpush("work", json.dumps(again))
        wait_for(lambda: world.shared.log.count(f"[{case.job_id}] received") > 1, "it came again")
        wait_for(
            lambda: not any(case.job_id.encode() in held for held in client.hvals("unacked")),
            "a child has seen it",
        )
    assert world.shared.log.count(f"[{case.job_id}] succeeded") == 1
    return case


def disconnected(world: World, name: str, **conf: object) -> Case:
    """A job whose worker loses its connections to the broker meanwhile."""
    broker = world.server.url.rsplit("/", 1)[0] + f"/{OTHER_DATABASE}"
    with world.worker(name, broker_url=broker, **conf) as worker:
        case = world.publish(
            f"""
            from kombu import Connection
            with Connection({broker!r}) as connection:
                job = once_held_late.apply_async(
                    ({name!r},), queue={name!r}, connection=connection
                )
            """
        )
        world.signals.wait_at(name)
        case.reaches("processing")
        with world.server.client() as client:
            for other in client.client_list():
                if int(other["db"]) == OTHER_DATABASE:
                    client.client_kill_filter(_id=other["id"])
        wait_for(lambda: "onnection to broker lost" in worker.log, "the worker has seen it")
        if not conf:  # else its child is killed, and its message comes again at once
            world.signals.go(name)
        case.reaches("completed")
    return case


@scenario("connection lost")
def _(world: World) -> Case:
    return disconnected(world, "lost")


@scenario("connection lost, cancelled")
def _(world: World) -> Case:
    return disconnected(
        world, "cancelled", worker_cancel_long_running_tasks_on_connection_loss=True
    )


# Run by its caller

scenario("eager")(lambda world: world.publish("job = add.apply((1,))"))
scenario("eager failure")(lambda world: world.publish("job = fail.apply(('no',))"))
scenario("eager retry")(lambda world: world.publish("job = flaky.apply((1,))"))


@scenario("eager, thrown")
def _(world: World) -> Case:
    return world.publish(
        """
        class job:
            id = "thrown"
        try:
            fail.apply(("no",), task_id=job.id, throw=True)
        except ValueError:
            pass
        else:
            raise AssertionError("not thrown")
        """
    )


# In other pools


@together("solo limit", "solo exit")
def _(world: World) -> dict[str, Case]:
    with world.worker("solo", pool="solo") as worker:
        limited = world.publish("job = nap.apply_async((1.5,), queue='solo', time_limit=1)")
        left = world.publish("job = leave.apply_async(queue='solo')")
        worker.process.wait(60)
    return {"solo limit": limited, "solo exit": left}


@together("threads exit", "threads limit", "threads terminate")
def _(world: World) -> dict[str, Case]:
    with world.worker("threads", pool="threads"):
        left = world.publish("job = leave.apply_async(queue='threads')")
        limited = world.publish("job = nap.apply_async((1.5,), queue='threads', time_limit=1)")
        going_on = world.publish_held("threads", "threads")
        world.revoke(going_on, "threads", terminate=True)
        world.signals.go("threads")
        for case, status in ((left, "failed"), (limited, "completed"), (going_on, "completed")):
            case.reaches(status)
    return {
        "threads exit": left,
        "threads limit": limited,
        "threads terminate": going_on,
    }


APPLICABLE = [row for row in ROWS if SCENARIOS[row.name][0] <= VERSION]


@pytest.mark.parametrize("row", APPLICABLE, ids=lambda row: row.name)
def test_what_is_recorded(row: Row, world: World) -> None:
    _, bring_about = SCENARIOS[row.name]
    case = bring_about(world)
    counters: dict[str, str] = {}
    if not row.status:
        counters = case.run.counters()
        expected = dict.fromkeys(COUNTERS, 0) | row.counters
        assert {name: int(counters.get(name, 0)) for name in COUNTERS} == expected
        assert case.record() is None
        return

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
        wait_for(stands, row.name, 60)
    except AssertionError:
        record = case.record()
        assert record is not None, "nothing was recorded"
        row.check(record, counters)
        raise
    case.run.check_counters()
