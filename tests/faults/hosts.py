"""What a user's process does with commands and jobs, and all that a user can see of it.

Each host returns plain data: return values, exceptions, exit codes, what the engine's own storage
holds. It does the same with and without jobmon, and must return the same, whatever fails in jobmon.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import celery
import click
import redis
import rq
import typer
from celery import states
from celery.exceptions import Ignore, Reject

from tests.faults import jobs

_HOUR = timedelta(hours=1)

VOLATILE = frozenset(
    """
    created_at enqueued_at started_at ended_at last_heartbeat worker_name exc_info timestamp
    birth death current_job_working_time total_working_time hostname ip_address pid version
    python_version jobmon
    """.split()
)
"""Fields of RQ's hashes that differ from run to run; of ``exc_info`` its last line is compared."""


def outcome(what: Callable[[], Any]) -> Any:
    """What a call returns or raises."""
    try:
        return ["returned", plain(what())]
    except BaseException as error:
        return ["raised", type(error).__name__, plain(getattr(error, "code", str(error)))]


def plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


# Celery


def celery_app() -> celery.Celery:
    """An app with all of its broker and results in this process."""
    app = celery.Celery("host", broker="memory://", backend="cache+memory://", set_as_current=True)
    app.conf.update(
        task_publish_retry=False,
        worker_hijack_root_logger=False,
        worker_timer_precision=0.1,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=False,
        result_extended=True,
    )
    notes: list[Any] = []
    app.notes = notes  # type: ignore[attr-defined]

    @app.task(name="add")
    def add(one: int, other: int) -> int:
        return one + other

    @app.task(name="fail")
    def fail() -> None:
        raise ValueError("the task's own")

    @app.task(name="again", bind=True, max_retries=1)
    def again(self: Any) -> str:
        notes.append(["again", self.request.retries])
        if not self.request.retries:
            raise self.retry(countdown=0)
        return "at last"

    @app.task(name="ignore")
    def ignore() -> None:
        raise Ignore

    @app.task(name="reject")
    def reject() -> None:
        raise Reject("no reason")

    @app.task(name="replace", bind=True)
    def replace(self: Any) -> None:
        self.replace(add.s(3, 4))

    @app.task(name="publish")
    def publish() -> Any:
        return add.apply_async((5, 6), task_id="published by a task").id

    @app.task(name="note")
    def note(*args: Any) -> None:
        notes.append(["note", len(args)])

    @app.task(name="stop")
    def stop(waiting: list[str], until: float) -> None:
        open_ones = [
            one for one in waiting if app.AsyncResult(one).state not in states.READY_STATES
        ]
        if open_ones and time.monotonic() < until:
            time.sleep(0.005)
            stop.delay(open_ones, until)
            return
        notes.append(["open", open_ones])
        from celery.worker import state

        state.should_stop = 0

    return app


def celery_worker(_: redis.Redis) -> Any:
    """A worker that runs everything in its own thread, from its start to its end."""
    from celery.worker import state

    app = celery_app()
    tasks, notes = app.tasks, app.notes  # type: ignore[attr-defined]
    seen: dict[str, Any] = {}
    send = {
        "add": lambda: tasks["add"].apply_async((1, 2), task_id="add"),
        "fail": lambda: tasks["fail"].apply_async(task_id="fail", link_error=tasks["note"].s("f")),
        "again": lambda: tasks["again"].apply_async(task_id="again", link=tasks["note"].s("a")),
        "ignore": lambda: tasks["ignore"].apply_async(task_id="ignore"),
        "reject": lambda: tasks["reject"].apply_async(task_id="reject"),
        "replace": lambda: tasks["replace"].apply_async(task_id="replace"),
        "publish": lambda: tasks["publish"].apply_async(task_id="publish"),
        "revoked": lambda: tasks["add"].apply_async((1, 2), task_id="revoked"),
        "expired": lambda: tasks["add"].apply_async((1, 2), task_id="expired", expires=-10),
        "unknown": lambda: app.send_task("no such task", task_id="unknown"),
        "chain": lambda: (tasks["add"].s(1, 1) | tasks["add"].s(5).set(task_id="chain"))(),
        "bad": lambda: tasks["add"].apply_async((object(),), task_id="bad"),
    }
    for name, publish in send.items():
        seen[f"publish {name}"] = outcome(lambda publish=publish: publish().id)
        if name == "chain":
            assert seen[f"publish {name}"] == ["returned", "chain"]
    state.revoked.add("revoked")
    awaited = [*("add", "fail", "again", "replace", "publish", "revoked", "expired", "chain")]
    tasks["stop"].delay([*awaited, "published by a task"], time.monotonic() + 40)
    worker = app.Worker(pool="solo", concurrency=1, hostname="w@host", loglevel="CRITICAL")
    with contextlib.redirect_stdout(io.StringIO()):
        seen["worker"] = outcome(worker.start)
    seen["exit code"] = worker.exitcode
    for name in (*send, "published by a task"):
        result = app.AsyncResult(name)
        seen[name] = [result.state, plain(result.result), (result.traceback or "").count("raise ")]
    seen["notes"] = sorted(map(repr, notes))
    state.should_stop = None
    return seen


def celery_eager(_: redis.Redis) -> Any:
    """Tasks that run in their caller."""
    app = celery_app()
    tasks = app.tasks

    def run(name: str, *args: Any, **options: Any) -> Any:
        def call() -> Any:
            result = tasks[name].apply(args, task_id=name, **options)
            return [result.state, plain(result.result)]

        return outcome(call)

    seen = {name: run(name) for name in ("fail", "again", "ignore", "reject", "replace")}
    seen["add"] = run("add", 1, 2)
    seen["throws"] = run("fail", throw=True)
    app.conf.task_always_eager = True
    seen["always"] = outcome(lambda: tasks["add"].delay(1, 2).get())
    app.conf.task_eager_propagates = True
    seen["propagates"] = outcome(lambda: tasks["fail"].delay())
    seen["called"] = outcome(lambda: tasks["add"](1, 2))
    return seen


def celery_beat(_: redis.Redis) -> Any:
    """Some turns of beat's scheduler."""
    import celery.beat

    app = celery_app()
    app.conf.task_always_eager = True
    app.conf.beat_schedule = {
        "always": {"task": "note", "schedule": 0.0, "args": ("beat",)},
        "hourly": {"task": "note", "schedule": 3600.0},
    }
    service = celery.beat.Service(app, scheduler_cls=celery.beat.Scheduler)
    scheduler = service.get_scheduler()
    seen = {"turns": [outcome(lambda: scheduler.tick() < 60) for _ in range(3)]}
    seen["close"] = outcome(scheduler.close)
    seen["notes"] = sorted(map(repr, app.notes))  # type: ignore[attr-defined]
    counts = {name: entry.total_run_count for name, entry in scheduler.schedule.items()}
    return {**seen, "counts": plain(counts)}


# RQ


def _rq_jobs(client: redis.Redis, *, leaves: bool) -> dict[str, Any]:
    queue = rq.Queue("work", connection=client)
    send: dict[str, Callable[[], Any]] = {
        "add": lambda: queue.enqueue(jobs.add, 1, 2, job_id="add", on_success=jobs.noted),
        "fail": lambda: queue.enqueue(jobs.fail, job_id="fail"),
        "again": lambda: queue.enqueue(jobs.once_more, job_id="again", retry=rq.Retry(max=1)),
        "publish": lambda: queue.enqueue(jobs.publish, job_id="publish"),
        "waits": lambda: queue.enqueue(jobs.add, 3, 4, job_id="waits", depends_on="add"),
        "cancelled": lambda: queue.enqueue(jobs.add, 1, 2, job_id="cancelled"),
        "deleted": lambda: queue.enqueue(jobs.add, 1, 2, job_id="deleted"),
        "later": lambda: queue.enqueue_in(_HOUR, jobs.add, 1, 2, job_id="later"),
    }
    if hasattr(rq.worker.Worker, "handle_job_retry"):  # older ones take it for a result
        send["returned"] = lambda: queue.enqueue(jobs.retried, job_id="returned")
    if leaves:
        send["leave"] = lambda: queue.enqueue(jobs.leave, 3, job_id="leave")
    seen = {f"publish {name}": outcome(lambda one=one: one().id) for name, one in send.items()}
    for name, how in (("cancelled", "cancel"), ("deleted", "delete")):
        seen[how] = outcome(getattr(rq.job.Job.fetch(name, connection=client), how))
    return seen


def rq_simple(client: redis.Redis) -> Any:
    """A worker that performs jobs itself."""
    seen = _rq_jobs(client, leaves=False)
    seen["sync"] = outcome(
        lambda: (
            rq.Queue("sync", is_async=False, connection=client)
            .enqueue(jobs.add, 1, 2, job_id="sync")
            .return_value()
        )
    )
    seen["sync fails"] = outcome(
        lambda: (
            rq.Queue("sync", is_async=False, connection=client)
            .enqueue(jobs.fail, job_id="sync_fails")
            .get_status()
        )
    )
    return _worked(client, rq.SimpleWorker, seen)


def rq_forks(client: redis.Redis) -> Any:
    """A worker that forks a horse for each job."""
    return _worked(client, rq.Worker, _rq_jobs(client, leaves=True))


def _worked(client: redis.Redis, kind: Any, seen: dict[str, Any]) -> Any:
    worker = kind(["work"], connection=client, name="worker")
    seen["work"] = outcome(lambda: worker.work(burst=True, logging_level="CRITICAL"))
    seen["counts"] = [worker.successful_job_count, worker.failed_job_count]
    seen["redis"] = dump(client)
    seen["callbacks"], jobs.seen[:] = len(jobs.seen), []
    return seen


def rq_schedulers(client: redis.Redis) -> Any:
    """A turn of RQ's two schedulers."""
    import rq.scheduler

    queue = rq.Queue("work", connection=client)
    seen = {
        "in": outcome(lambda: queue.enqueue_in(timedelta(0), jobs.add, 1, 2, job_id="due").id),
    }
    scheduler = rq.scheduler.RQScheduler([queue], connection=client)
    seen["lock"] = outcome(lambda: len(scheduler.acquire_locks()))
    seen["turn"] = outcome(scheduler.enqueue_scheduled_jobs)
    seen["beat"] = outcome(scheduler.heartbeat)
    seen["release"] = outcome(scheduler.release_locks)
    try:
        import rq.cron
    except ImportError:  # new in RQ 2.4
        pass
    else:
        cron = rq.cron.CronScheduler(connection=client)
        cron.register(jobs.add, "cron", args=(1, 2), interval=60)
        seen["fires"] = outcome(lambda: len(cron.enqueue_jobs()))
        seen["sleeps"] = outcome(lambda: cron.calculate_sleep_interval() > 1)
    seen["queue"] = [
        outcome(lambda: queue.job_ids),
        outcome(lambda: rq.Queue("cron", connection=client).count),
    ]
    return seen


def dump(client: redis.Redis) -> dict[str, Any]:
    """All keys of RQ, without what differs from run to run."""
    seen: dict[str, Any] = {}
    for key in sorted(client.keys()):  # type: ignore[arg-type]
        name = _named(key)
        kind = client.type(key)
        if kind == b"hash":
            fields = client.hgetall(key)
            seen[name] = {
                k.decode(): _named(v) for k, v in fields.items() if k.decode() not in VOLATILE
            }
            if b"exc_info" in fields:
                seen[name]["exc_info"] = (
                    fields[b"exc_info"].decode(errors="replace").strip().rpartition("\n")[2]
                )
        elif kind == b"zset":
            seen[name] = sorted(map(_named, client.zrange(key, 0, -1)))
        elif kind == b"set":
            seen[name] = sorted(map(_named, client.smembers(key)))
        elif kind == b"list":
            seen[name] = [_named(one) for one in client.lrange(key, 0, -1)]
        else:
            seen[name] = kind.decode()
    return seen


def _named(text: bytes) -> str:
    """An id that RQ made up, without what is random in it."""
    return re.sub(r"[0-9a-f]{8,}(-[0-9a-f]+)*|\d{6,}[\d.-]*", "#", text.decode(errors="replace"))


# Commands


def commands(_: redis.Redis) -> Any:
    """Functions and blocks that are commands."""
    import jobmon

    notes: list[Any] = []

    def block(error: BaseException | None) -> None:
        with jobmon.command("data:process", arguments={"a": 1}) as run:
            notes.append([type(run.id).__name__, type(run.name).__name__, run.started_at > 0])
            repr(run), run.trace_id
            if error is not None:
                raise error

    @jobmon.command("decorated", source="http")
    def decorated(number: int) -> int:
        if number < 0:
            raise KeyError(number)
        return number + 1

    @jobmon.command("asynchronous")
    async def asynchronous(number: int) -> int:
        async with jobmon.command("inside"):
            return number + 1

    def running() -> Any:
        import asyncio

        return asyncio.run(asynchronous(1))

    seen = {
        "fine": outcome(lambda: block(None)),
        "fails": outcome(lambda: block(ValueError("the command's own"))),
        "exits": outcome(lambda: block(SystemExit(3))),
        "interrupted": outcome(lambda: block(KeyboardInterrupt())),
        "decorated": outcome(lambda: decorated(1)),
        "decorated fails": outcome(lambda: decorated(-1)),
        "asynchronous": outcome(running),
    }
    return {**seen, "notes": notes}


def tracked(client: redis.Redis) -> Any:
    """Jobs of which the user says what they belong to."""
    import jobmon

    app = celery_app()
    queue = rq.Queue("tracked", connection=client)
    add = app.tasks["add"]
    sent: list[Any] = []

    def celery_task() -> Any:
        builder = jobmon.track(add).set_command_name("data:process").set_job_type("report")
        return type(builder.mark_job_created().delay(1, 2)).__name__

    def signature() -> Any:
        signature = jobmon.track(add).set_command_process_id().s(1, 2)
        sent.append([signature.task, signature.args])
        return type(signature.delay()).__name__

    def enqueued() -> Any:
        return jobmon.track(jobs.add).set_command_name("data:process").enqueue(queue, 1, 2).origin

    class Report(jobmon.TrackableJob):
        def handle(self, number: int) -> Any:
            return [number, self.command_name, self.job_type, self.get_queue_time()]

    return {
        "celery": outcome(celery_task),
        "signature": outcome(signature),
        "rq": outcome(enqueued),
        "performs": outcome(lambda: Report.perform(1)),
        "sent": plain(sent),
        "queue": queue.count,
    }


def click_programs(_: redis.Redis) -> Any:
    """Command lines of Click and Typer."""

    @click.group()
    @click.option("--flag")
    def program(flag: str | None) -> None:
        pass

    @program.command()
    @click.argument("number", type=int)
    @click.pass_context
    def work(ctx: click.Context, number: int) -> int:
        if number == 1:
            raise ValueError("the command's own")
        if number == 2:
            ctx.exit(4)
        if number == 3:
            sys.exit(3)
        if number == 4:
            raise click.ClickException("said")
        if number == 5:
            ctx.invoke(work, number=6)
        return number

    shop = typer.Typer()

    @shop.command()
    def sell(number: int) -> None:
        if number:
            raise typer.Exit(number)

    seen: dict[str, Any] = {}
    with contextlib.redirect_stderr(io.StringIO()) as said:
        for number in range(6):
            words = ["work", str(number)]
            seen[f"program {number}"] = outcome(lambda words=words: program.main(words, "program"))
            seen[f"called {number}"] = outcome(
                lambda words=words: program.main(words, "program", standalone_mode=False)
            )
        seen["wrong"] = outcome(lambda: program.main(["no such"], "program"))
        seen["typer 0"] = outcome(lambda: shop(["0"], standalone_mode=False))
        seen["typer 3"] = outcome(lambda: shop(["3"]))
    return {**seen, "said": said.getvalue()}


def django_commands(_: redis.Redis) -> Any:
    """Management commands, from the command line and called."""
    from django.conf import settings
    from django.core.management import BaseCommand, CommandError, call_command, load_command_class

    if not settings.configured:
        settings.configure(INSTALLED_APPS=[], DATABASES={})
        import django

        django.setup()

    class Command(BaseCommand):
        requires_system_checks: Any = ()

        def add_arguments(self, parser: Any) -> None:
            parser.add_argument("number", type=int)

        def handle(self, *args: Any, **options: Any) -> str | None:
            number = options["number"]
            if number == 1:
                raise ValueError("the command's own")
            if number == 2:
                raise CommandError("said", returncode=5)
            if number == 3:
                sys.exit(3)
            return f"handled {number}"

    seen: dict[str, Any] = {}
    with (
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()) as said,
    ):
        for number in range(4):
            seen[f"called {number}"] = outcome(
                lambda number=number: call_command(Command(), number)
            )
            words = ["manage.py", "nightly", str(number)]
            seen[f"typed {number}"] = outcome(lambda words=words: Command().run_from_argv(words))
        seen["loaded"] = outcome(
            lambda: type(load_command_class("django.core", "check")).__module__
        )
    return {**seen, "said": said.getvalue()}


def jobmon_run(_: redis.Redis) -> Any:
    """``jobmon run``, with what it prints: nothing."""
    from jobmon.cli.main import main

    with contextlib.redirect_stderr(io.StringIO()):
        return {
            "fails": outcome(lambda: main(["run", "nightly", "--", "sh", "-c", "exit 3"])),
            "killed": outcome(lambda: main(["run", "nightly", "--", "sh", "-c", "kill -9 $$"])),
            "missing": outcome(lambda: main(["run", "nightly", "--", "/no/such/program"])),
        }


HOSTS: dict[str, Callable[[redis.Redis], Any]] = {
    host.__name__: host
    for host in (
        *(celery_eager, celery_beat, celery_worker, rq_simple, rq_forks, rq_schedulers),
        *(commands, tracked, click_programs, django_commands, jobmon_run),
    )
}
