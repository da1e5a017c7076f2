"""Programs and workers that know nothing of jobmon, started by what instruments them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import rq.worker

from tests.conftest import RedisServer
from tests.live.celery_fixtures import wait_for
from tests.live.command_fixtures import APPS, ROOT, environment, jobs, run, runs
from tests.otlp import Receiver, attributes

pytestmark = pytest.mark.live

BIN = Path(sys.executable).parent
OTEL = (str(BIN / "opentelemetry-instrument"),)
JOBMON = (sys.executable, "-m", "jobmon.cli.main", "run", "workers", "--")
BARE = "tests.live.apps.bare"
HOW_TO_SEND = ROOT / "exporters/otel-collector/README.md"
WAYS = [pytest.param(OTEL, id="opentelemetry-instrument"), pytest.param(JOBMON, id="jobmon run")]
CELERY = (
    *("-A", BARE, "worker", "--concurrency", "1"),
    *("--without-gossip", "--without-mingle", "-l", "INFO"),
)
KINDS = ["Worker", "SimpleWorker", "SpawnWorker"]
if not hasattr(rq.worker, "SpawnWorker"):
    KINDS.remove("SpawnWorker")  # new in RQ 2.2


def bare(server: RedisServer, **more: str) -> dict[str, str]:
    """Environment in which nothing instruments a process unless its command line does."""
    return environment(server, **{"PYTHONPATH": str(ROOT), **more})


@contextmanager
def started(
    server: RedisServer, log: Path, words: tuple[str, ...], ready: str, **more: str
) -> Iterator[Callable[[], int]]:
    """A worker that is ready; calling what is yielded stops it and gives its exit code."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env=bare(server, **more),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def stop() -> int:
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    try:
        wait_for(lambda: ready in log.read_text() or process.poll() is not None, "ready", 60)
        yield stop
    except BaseException:
        print(log.read_text())
        raise
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(10)


def published(server: RedisServer, command: str, **more: str) -> dict[str, Any]:
    """The run of a command that published, instrumented by its command line alone."""
    ran = subprocess.run(
        [*OTEL, sys.executable, "-m", BARE, command],
        cwd=ROOT,
        env=bare(server, **more),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    found = runs(server)[-1]
    assert found["command"] == command
    assert ran.stdout.strip() in jobs(server, found["id"])
    return found


def completed(server: RedisServer, process_id: str) -> dict[str, str]:
    """The jobs of a run by their class, once both have ended."""

    def both() -> dict[str, str]:
        found = jobs(server, process_id).values()
        ended = {job["class"].rpartition(".")[2]: job["command_name"] for job in found
                 if job["status"] == "completed"}  # fmt: skip
        return ended if len(ended) == 2 else {}

    return wait_for(both, "both jobs completed", 60)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "worker",
    [
        pytest.param((str(BIN / "celery"),), id="celery"),
        pytest.param((sys.executable, "-m", "celery"), id="python -m celery"),
    ],
)
def test_a_celery_worker_is_instrumented_and_its_jobs_keep_their_run(
    store: RedisServer, tmp_path: Path, way: tuple[str, ...], worker: tuple[str, ...]
) -> None:
    words = (*way, *worker, *CELERY)
    with started(store, tmp_path / "log", words, " ready.") as stop:
        run_id = published(store, "tasks")["id"]
        assert completed(store, run_id) == {"first": "tasks", "second": "tasks"}
        of_worker(store, way, stop)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_rq_worker_is_instrumented_and_its_jobs_keep_their_run(
    store: RedisServer, tmp_path: Path, way: tuple[str, ...], kind: str
) -> None:
    url = store.url.rsplit("/", 1)[0] + "/1"
    words = (*way, str(BIN / "rq"), "worker", "--url", url, "-w", f"rq.worker.{kind}", "work")
    with started(store, tmp_path / "log", words, "Listening on") as stop:
        run_id = published(store, "jobs")["id"]
        assert completed(store, run_id) == {"outer": "jobs", "inner": "jobs"}
        of_worker(store, way, stop)


def test_spans_go_where_the_environment_says_and_none_are_of_our_own_calls(
    store: RedisServer, tmp_path: Path
) -> None:
    url = store.url.rsplit("/", 1)[0] + "/1"
    # What `opentelemetry-distro` is: the SDK's own set-up by the environment, under a name, and
    # OTLP for traces.
    distribution = tmp_path / "distro-1.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: distro\nVersion: 1\n")
    (distribution / "entry_points.txt").write_text(
        "[opentelemetry_configurator]\n"
        "configurator = opentelemetry.sdk._configuration:_OTelSDKConfigurator\n"
    )
    with Receiver() as receiver, ExitStack() as workers:
        env = {
            "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT))),
            **dict(re.findall(r"(OTEL_\w+)=(\S+)", HOW_TO_SEND.read_text())),
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "celery",  # that of Redis is live
            "JOB_MONITOR_BEATS_INTERVAL_SECONDS": "1",
        }
        rq = (*OTEL, str(BIN / "rq"), "worker", "--url", url, "work")
        celery = (*OTEL, str(BIN / "celery"), *CELERY)
        stops = [
            workers.enter_context(started(store, tmp_path / name, words, ready, **env))
            for name, words, ready in (
                ("celery", celery, " ready."),
                ("rq", rq, "Listening on"),
            )
        ]
        ids = [published(store, command, **env)["id"] for command in ("tasks", "jobs")]
        records = [job for run_id in ids if completed(store, run_id)
                   for job in jobs(store, run_id).values()]  # fmt: skip
        for stop in stops:
            stop()

    ours = {span.name for span in receiver.spans if receiver.scopes[span.span_id] == "jobmon"}
    names = {f"process {BARE}.{name}" for name in ("first", "second", "outer", "inner")}
    assert ours == {"command tasks", "command jobs"} | names
    calls = [span for span in receiver.spans if receiver.scopes[span.span_id].endswith("redis")]
    databases = {attributes(span).get("db.redis.database_index", 0) for span in calls}
    assert databases == {1, 3}, "the broker's and the user's; the state store is 0"
    parents = {span.parent_span_id.hex() for span in calls if span.name == "GET"}
    asking = {job["span_id"] for job in records if job["class"].endswith(("second", "inner"))}
    assert parents >= asking
    assert len(asking) == 2


def of_worker(server: RedisServer, way: tuple[str, ...], stop: Callable[[], int]) -> None:
    """A worker is no run by itself, and one as long as it lives under ``jobmon run``."""
    if way != JOBMON:
        assert runs(server, "running") == []
        assert stop() == 0
        assert len(runs(server)) == 1
        return
    (wrapper,) = runs(server, "running")
    assert wrapper["command"] == "workers"
    assert jobs(server, wrapper["id"]) == {}
    assert stop() == 0
    ended = {found["command"]: found for found in runs(server)}["workers"]
    assert (ended["id"], ended["exit_code"]) == (wrapper["id"], 0)


def test_a_script_is_instrumented(store: RedisServer) -> None:
    program = f"from {BARE} import first; print(first.delay(1).id)"
    ran = subprocess.run(
        [*OTEL, sys.executable, "-c", program],
        cwd=ROOT,
        env=bare(store),
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    with store.client() as client:
        record = client.hgetall(f"jobmon:job:metrics:{ran.stdout.strip()}")
    assert record[b"command_name"] == b"manual-dispatch"


def test_a_django_project_is_instrumented(store: RedisServer) -> None:
    manage = str(APPS / "shop" / "manage.py")
    ran = run(store, *OTEL, sys.executable, manage, "nightly", python=False, PYTHONPATH=str(ROOT))
    assert ran.returncode == 0, ran.stderr
    nightly, invoice = runs(store)
    assert (nightly["command"], invoice["command"]) == ("nightly", "invoice")
    assert list(jobs(store, nightly["id"])) == ran.stdout.split()[-1:]


def test_opentelemetrys_own_switch_leaves_jobmon_out(store: RedisServer) -> None:
    program = "import sys, click.core; print('jobmon' in sys.modules)"
    for disabled, loaded in (("", "True"), ("jobmon", "False")):
        ran = subprocess.run(
            [*OTEL, sys.executable, "-c", program],
            env=bare(store, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert ran.stdout.strip() == loaded


def test_a_broken_jobmon_does_not_keep_a_program_from_starting(
    store: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "redis.py").write_text("raise RuntimeError('broken')")
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    ran = subprocess.run(
        [*OTEL, sys.executable, str(ROOT / "tests/live/apps/click_program.py"), "end", "exit-4"],
        env=environment(store, PYTHONPATH=path),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 4, ran.stderr


def test_the_instrumentor_installs_and_restores(store: RedisServer) -> None:
    program = """
import click.core
before = dict(vars(click.core.Command))
from jobmon.instrument.instrumentor import JobmonInstrumentor
instrumentor = JobmonInstrumentor()
assert not instrumentor.instrumentation_dependencies()
instrumentor.instrument()
assert dict(vars(click.core.Command)) != before
assert instrumentor.is_instrumented_by_opentelemetry
instrumentor.uninstrument()
assert dict(vars(click.core.Command)) == before
"""
    assert run(store, "-c", program, PYTHONPATH=str(ROOT)).stderr == ""


def test_the_instrumentor_takes_a_tracer_provider(store: RedisServer) -> None:
    program = """
import jobmon
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from jobmon.instrument.instrumentor import JobmonInstrumentor
memory = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
instrumentor = JobmonInstrumentor()
instrumentor.instrument(tracer_provider=provider)
with jobmon.command("with"):
    pass
instrumentor.uninstrument()
with jobmon.command("without"):
    pass
assert [span.name for span in memory.get_finished_spans()] == ["command with"]
"""
    assert run(store, "-c", program, PYTHONPATH=str(ROOT)).stderr == ""
