"""``jobmon run``: the program first, its record second. All with real processes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import textwrap
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RedisServer
from tests.otlp import Receiver, attributes

ROOT = Path(__file__).parents[2]
RUN = (sys.executable, "-m", "jobmon.cli.main", "run")
RUN_ELSEWHERE = (
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    "from jobmon.cli.main import main; sys.exit(main())",
    "run",
)
"""With jobmon found by the runner alone, as where it is installed in an environment of its own."""
NOWHERE = "redis://127.0.0.1:1/0"
PRODUCER = """
import sys
from celery import Celery
sent = Celery(broker=sys.argv[1]).send_task("far.away", kwargs={"token": "hunter2"})
print(sent.id, len([name for name in sys.modules if name.startswith("jobmon.instrument.")]) > 1)
"""


def environment(url: str = NOWHERE, **more: str) -> dict[str, str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JOB_MONITOR_", "OTEL_", "JOBMON_RUNNER"))
    }
    return {**clean, "PYTHONPATH": str(ROOT), "JOB_MONITOR_REDIS_URL": url, **more}


def run(
    *words: str, url: str = NOWHERE, stdin: str = "", cwd: Path = ROOT, **more: str
) -> subprocess.CompletedProcess[str]:
    if url == NOWHERE:
        more = {"JOB_MONITOR_RECORDER_SHUTDOWN_TIMEOUT": "0.1", **more}
    return subprocess.run(
        [*(RUN if cwd == ROOT else RUN_ELSEWHERE), *words],
        cwd=cwd,
        env=environment(url, **more),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def runs(store: RedisServer, state: str = "finished") -> list[dict[str, Any]]:
    with store.client() as client:
        return [json.loads(run) for run in client.hvals(f"jobmon:commands:{state}")]


def jobs(store: RedisServer, process_id: str) -> list[dict[str, Any]]:
    with store.client() as client:
        return [json.loads(job) for job in client.hvals(f"jobmon:command:{process_id}:jobs")]


@contextlib.contextmanager
def started(*words: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A run under way, killed with its whole session if the test leaves it."""
    process = subprocess.Popen(
        [*RUN, *words],
        env=environment(JOB_MONITOR_RECORDER_SHUTDOWN_TIMEOUT="0.1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (("true",), 0),
        (("false",), 1),
        (("sh", "-c", "exit 42"), 42),
        (("sh", "-c", "kill -9 $$"), 137),
        (("sh", "-c", "kill -TERM $$"), 143),
        (("no-such-program-anywhere",), 127),
        (("/etc/passwd",), 126),
        (("/",), 126),
    ],
    ids=lambda value: str(value),
)
def test_the_programs_exit_code_is_passed_on_and_recorded(
    store: RedisServer, program: tuple[str, ...], code: int
) -> None:
    assert run("nightly", "--", *program, url=store.url).returncode == code
    (recorded,) = runs(store)
    assert (recorded["command"], recorded["exit_code"]) == ("nightly", code)
    assert recorded["outcome"] == ("failed" if code else "completed")
    assert runs(store, "running") == []


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"JOB_MONITOR_REDIS_PORT": "many", "JOB_MONITOR_NONSENSE": "1"},
        {"JOB_MONITOR_CONFIG": "/no/such/file.toml"},
        {"JOB_MONITOR_MONITORING_COMMANDS_ENABLED": "false"},
        {"OTEL_TRACES_EXPORTER": "nonsense"},
        {"OTEL_PYTHON_CONTEXT": "nonsense", "TRACEPARENT": "nonsense"},
    ],
    ids=str,
)
def test_the_exit_code_is_passed_on_whatever_happens_to_jobmon(more: dict[str, str]) -> None:
    ran = run("x", "--", "sh", "-c", "echo out; exit 7", **more)
    assert (ran.returncode, ran.stdout) == (7, "out\n")


def test_a_broken_jobmon_still_runs_the_program(tmp_path: Path) -> None:
    (tmp_path / "redis.py").write_text("raise RuntimeError('broken')")
    (tmp_path / "uuid.py").write_text("raise RuntimeError('broken')")
    ran = run("x", "--", "sh", "-c", "exit 7", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert ran.returncode == 7
    assert "this run is not recorded" in ran.stderr


def test_a_dead_or_frozen_store_delays_the_end_by_the_shutdown_timeout_at_most(
    own_redis_server: RedisServer,
) -> None:
    limit = {"JOB_MONITOR_RECORDER_SHUTDOWN_TIMEOUT": "1"}
    url = own_redis_server.url
    plain = quickest(url=url)
    assert own_redis_server.process is not None
    own_redis_server.process.send_signal(signal.SIGSTOP)
    try:
        assert quickest(url=url, **limit) < plain + 1.7
    finally:
        own_redis_server.process.send_signal(signal.SIGCONT)
    own_redis_server.stop()
    assert quickest(url=url, **limit) < plain + 1.7


def quickest(**more: str) -> float:
    """Seconds of a run; of several, since other work of the machine only ever adds to them."""
    taken: list[float] = []
    for _ in range(3):
        began = time.monotonic()
        assert run("x", "--", "false", **more).returncode == 1
        taken.append(time.monotonic() - began)
    return min(taken)


def test_name_and_source_are_recorded_and_arguments_only_when_it_fails(store: RedisServer) -> None:
    secret = ("python", "--password", "hunter2", "--token=hunter2")
    assert run("a", "--source", "schedule", "--", "echo", *secret, url=store.url).returncode == 0
    assert run("--source=api", "b", "--", "false", *secret, url=store.url).returncode == 1
    found = {one["command"]: one for one in runs(store)}
    assert (found["a"]["source"], found["b"]["source"]) == ("schedule", "api")
    assert found["a"]["arguments"] == {}
    assert found["b"]["arguments"] == {
        "command": ["false", "python", "--password", "[redacted]", "--token=[redacted]"]
    }


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("x",),
        ("x", "true"),
        ("x", "--"),
        ("--", "true"),
        ("x", "y", "--", "true"),
        ("a\nb", "--", "true"),
        ("--sorce", "x", "x", "--", "true"),
    ],
    ids=repr,
)
def test_a_wrong_call_is_refused_with_exit_code_2(words: tuple[str, ...]) -> None:
    ran = run(*words)
    assert ran.returncode == 2
    assert ran.stderr.startswith("jobmon run: ")
    assert "Traceback" not in ran.stderr


def test_everything_after_the_dashes_is_the_programs() -> None:
    ran = run("x", "--", "echo", "-h", "--", "--source", "y")
    assert ran.stdout == "-h -- --source y\n"


def test_input_output_folder_and_descriptors_pass_through(tmp_path: Path) -> None:
    ran = run("x", "--", "sh", "-c", "cat; echo err >&2", stdin="in\n")
    assert (ran.stdout, ran.stderr.splitlines()[0]) == ("in\n", "err")
    reader, writer = os.pipe()
    with started(
        "x",
        "--",
        "sh",
        "-c",
        f"pwd; echo through > /dev/fd/{writer}",
        cwd=tmp_path,
        pass_fds=[writer],
    ) as process:
        os.close(writer)
        assert line(process) == str(tmp_path)
        with os.fdopen(reader) as read:
            assert read.read() == "through\n"


TRAPS = """
import os, signal, sys
names = sys.argv[1:]
def got(number, frame):
    print(signal.Signals(number).name, flush=True)
for name in names:
    signal.signal(getattr(signal, name), got)
print("ready", os.getpid(), flush=True)
while True:
    signal.pause()
"""


def test_signals_are_forwarded(tmp_path: Path) -> None:
    names = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"]
    program = tmp_path / "traps.py"
    program.write_text(TRAPS)
    with started("x", "--", sys.executable, str(program), *names) as process:
        ready, pid = line(process).split()
        assert ready == "ready"
        try:
            for name in [*names, *names]:
                process.send_signal(getattr(signal, name))
                assert line(process) == name
            assert process.poll() is None
        finally:
            os.kill(int(pid), signal.SIGKILL)


def test_a_signal_that_ends_the_program_ends_the_run(store: RedisServer) -> None:
    with subprocess.Popen(
        [*RUN, "x", "--", "sh", "-c", "echo ready; exec sleep 60"],
        env=environment(store.url),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert line(process) == "ready"
        until = time.monotonic() + 20
        while not (running := runs(store, "running")):
            assert time.monotonic() < until
            time.sleep(0.01)
        process.terminate()
        assert process.wait(20) == 143
    (recorded,) = runs(store)
    assert (recorded["id"], recorded["exit_code"]) == (running[0]["id"], 143)


def test_the_terminals_interrupt_reaches_the_program_once(tmp_path: Path) -> None:
    program = tmp_path / "traps.py"
    program.write_text(TRAPS)
    words = ["x", "--", sys.executable, str(program), "SIGINT", "SIGUSR1"]
    pid, terminal = pty.fork()
    if not pid:
        os.execve(RUN[0], [*RUN, *words], environment(JOB_MONITOR_RECORDER_SHUTDOWN_TIMEOUT="0.1"))
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        said = b""

        def until(word: bytes) -> None:
            nonlocal said
            while word not in said:
                said += screen.read(1024)

        until(b"ready")
        screen.write(b"\x03")
        until(b"SIGINT\r\n")
        os.kill(pid, signal.SIGUSR1)
        until(b"SIGUSR1\r\n")
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 143
    assert said.count(b"SIGINT") == 1


def test_the_program_starts_with_the_signal_settings_it_would_have_had() -> None:
    show = "grep -E '^Sig(Blk|Ign)' /proc/self/status"
    bare = subprocess.run(["sh", "-c", show], capture_output=True, text=True, check=True)
    ours = run("x", "--", "sh", "-c", show)
    assert signals(ours.stdout) == signals(bare.stdout)
    ignoring = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *RUN, "x", "--", "sh", "-c", show]
    ignored = subprocess.run(
        ignoring, env=environment(), cwd=ROOT, capture_output=True, text=True, check=True
    )
    expected = signals(bare.stdout)
    expected["SigIgn"] |= 1 << (signal.SIGINT - 1)
    assert signals(ignored.stdout) == expected


def signals(status: str) -> dict[str, int]:
    """Masks of /proc/self/status, without the two signals that glibc keeps for itself."""
    masks = dict(line.split(":") for line in status.splitlines())
    return {name: int(mask, 16) & ~(0b11 << 31) for name, mask in masks.items()}


def test_jobs_of_uninstrumented_children_belong_to_the_run(store: RedisServer) -> None:
    ran = run("x", "--", sys.executable, "-c", PRODUCER, store.url, url=store.url)
    job_id, instrumented = ran.stdout.split()
    assert instrumented == "True"
    (recorded,) = runs(store)
    (job,) = jobs(store, recorded["id"])
    assert (job["command_name"], job["process_id"]) == ("x", recorded["id"])
    assert (job["class"], job["status"]) == ("far.away", "pending")
    with store.client() as client:
        assert client.hkeys(f"jobmon:command:{recorded['id']}:jobs") == [job_id.encode()]


def test_a_run_inside_of_a_run_is_its_own_with_a_parent(store: RedisServer) -> None:
    inner = (*RUN, "inner", "--", sys.executable, "-c", PRODUCER, store.url)
    assert run("outer", "--", *inner, url=store.url).returncode == 0
    found = {one["command"]: one for one in runs(store)}
    assert found["inner"]["parent_process_id"] == found["outer"]["id"]
    assert len(jobs(store, found["inner"]["id"])) == 1
    assert jobs(store, found["outer"]["id"]) == []


def interpreters(*wanted: str) -> list[str]:
    """Pythons of this machine, of any age, whose path holds one of the words."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    base = Path(sys.base_prefix, "bin", "python3")
    found = [base, *sorted(versions.glob("*/bin/python")), Path("/usr/bin/python3")]
    return [str(one) for one in found if one.exists() and any(word in str(one) for word in wanted)]


@pytest.mark.parametrize("python", interpreters("/"))
def test_an_interpreter_without_jobmon_runs_as_ever(
    store: RedisServer, python: str, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("print('my own')")
    program = """
import sys
print(sys.modules["sitecustomize"].__file__.replace(".pyc", ".py"))
print([path for path in sys.path if "_bootstrap" in path])
try:
    import jobmon
except ImportError:
    print([name for name in sys.modules if "jobmon" in name])
"""
    words = ("x", "--", python, "-c", program)
    ran = run(*words, url=store.url, cwd=tmp_path, PYTHONPATH=str(own))
    assert (ran.returncode, ran.stderr) == (0, "")
    # The runner is a Python program too.
    assert ran.stdout.splitlines() == [
        "my own",
        "my own",
        str(own / "sitecustomize.py"),
        "[]",
        "[]",
    ]


def test_a_sitecustomize_that_fails_fails_as_ever(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import no_such_module")
    bare = subprocess.run(
        [sys.executable, "-c", "print(1)"],
        env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )
    ran = run("x", "--", sys.executable, "-c", "print(1)", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert ran.stdout == bare.stdout == "1\n"
    assert ran.stderr.count("no_such_module") == 2 * bare.stderr.count("no_such_module") == 2


def lacking_jobmon(folder: Path) -> Path:
    """Packages of an environment that has Celery and its broker's client, and nothing of ours."""
    needed = """celery kombu billiard vine amqp click click_didyoumean click_plugins click_repl
        dateutil six tzlocal tzdata packaging prompt_toolkit wcwidth redis""".split()
    folder.mkdir()
    site = Path(sysconfig.get_path("purelib"))
    for name in needed:
        for place in (
            *site.glob(name),
            *site.glob(f"{name}.py"),
            *site.glob(f"{name}-*.dist-info"),
        ):
            (folder / place.name).symlink_to(place)
    return folder


@pytest.fixture(params=["venv", *interpreters("/3.12", "/3.13", "/3.14")])
def foreign(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    """A program's start: an interpreter that has Celery and redis, but neither jobmon nor OTel."""
    python: str = request.param
    if python == "venv":
        venv.create(tmp_path / "venv", with_pip=False)
        python = str(tmp_path / "venv" / "bin" / "python")
    site = lacking_jobmon(tmp_path / "site")
    return ("sh", "-c", f'PYTHONPATH="$PYTHONPATH:{site}" exec "$@"', "sh", python)


@pytest.mark.parametrize("traced", [False, True], ids=["plain", "traced"])
def test_an_interpreter_that_lacks_jobmon_is_attached_to_the_run(
    store: RedisServer, tmp_path: Path, foreign: tuple[str, ...], traced: bool
) -> None:
    trace = {"TRACEPARENT": f"00-{'a' * 32}-{'b' * 16}-01"} if traced else {}
    program = PRODUCER + "print([n for n in sys.modules if n == 'opentelemetry.trace'])"
    ran = run(
        "x", "--", *foreign, "-c", program, store.url,
        url=store.url, cwd=tmp_path, PYTHONPATH="", **trace,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    first, second = ran.stdout.splitlines()
    assert first.split()[1] == "True"
    assert second == ("['opentelemetry.trace']" if traced else "[]")
    (recorded,) = runs(store)
    (job,) = jobs(store, recorded["id"])
    assert job["class"] == "far.away"
    with store.client() as client:
        headers = json.loads(client.lindex("celery", 0))["headers"]
    assert headers.get("traceparent") == trace.get("TRACEPARENT")


def test_a_child_that_cannot_use_what_it_is_lent_is_silent(
    store: RedisServer, tmp_path: Path, foreign: tuple[str, ...]
) -> None:
    shutil.copytree(ROOT / "jobmon", tmp_path / "lent" / "jobmon")
    (tmp_path / "lent" / "jobmon" / "settings" / "__init__.py").write_text("raise RuntimeError")
    program = ("env", f"JOBMON_RUNNER_PATH={tmp_path / 'lent'}", *foreign, "-c", PRODUCER)
    ran = run("x", "--", *program, store.url, url=store.url, cwd=tmp_path, PYTHONPATH="")
    assert (ran.returncode, ran.stderr) == (0, "")
    (recorded,) = runs(store)
    assert recorded["exit_code"] == 0
    with store.client() as client:
        assert client.llen("celery") == 1


def test_the_runs_span_is_exported_where_otel_variables_ask_for_it(store: RedisServer) -> None:
    with Receiver() as receiver:
        ran = run(
            *("x", "--", "sh", "-c", "echo $TRACEPARENT; exit 3"),
            url=store.url,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
            OTEL_SERVICE_NAME="cron",
        )
        assert (ran.returncode, ran.stderr) == (3, "")
        (span,) = receiver.spans
    assert span.name == "command x"
    assert attributes(span)["process.exit.code"] == 3
    assert attributes(span)["error.type"] == "3"
    (recorded,) = runs(store)
    assert recorded["trace_id"] == span.trace_id.hex()
    assert ran.stdout.split("-")[1:3] == [span.trace_id.hex(), span.span_id.hex()]


def test_a_collector_that_never_answers_delays_the_end_by_the_shutdown_timeout(
    store: RedisServer,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        ran = run(
            *("x", "--", "true"),
            url=store.url,
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        )
        assert ran.returncode == 0
        assert time.monotonic() - began < 7, "the SDK's own last flush takes 10 s"
    assert len(runs(store)) == 1


def test_help_tells_how_it_is_called() -> None:
    ran = run("--help")
    assert ran.returncode == 0
    assert textwrap.dedent(ran.stdout).startswith(
        "usage: jobmon run [-h] NAME [--source SOURCE] --"
    )
