"""Commands and correlation: acceptance lines S3, S5-S7, S9-S11, S91."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import uuid
from typing import Any

import pytest

import jobmon
from tests.conftest import RedisServer
from tests.live import command_fixtures

pytestmark = pytest.mark.live

RUN = str(uuid.uuid4())


def script(store: RedisServer, text: str, **env: str) -> str:
    """Run a program of its own that instruments itself, and wait for its end."""
    program = "import jobmon\njobmon.instrument()\n" + textwrap.dedent(text)
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "JOB_MONITOR_REDIS_URL": store.url,
            "DEMO_URL": store.url,
            "JOB_MONITOR_ENVIRONMENT": "production",
            **env,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not ran.stderr, ran.stderr
    return ran.stdout.strip()


def hash_of(store: RedisServer, key: str) -> dict[str, Any]:
    """A Redis hash with JSON values decoded."""
    with store.client() as client:
        return {
            k.decode(): json.loads(v) if v[:1] in b'{["' else v.decode()
            for k, v in client.hgetall(key).items()
        }


def keys(store: RedisServer) -> set[str]:
    """All key names."""
    with store.client() as client:
        return {key.decode() for key in client.scan_iter()}


ENQUEUE = """
    import os, redis
    from rq import Queue
    queue = Queue("default", connection=redis.Redis.from_url(os.environ["DEMO_URL"]))
"""


def test_s3_explicit_process_id_and_name_link_a_job_without_a_command(store: RedisServer) -> None:
    script(
        store,
        ENQUEUE
        + f"""
    job = jobmon.track(os.getpid).set_command_process_id({RUN!r}).set_command_name("data:process")
    job.mark_job_created().enqueue(queue)
    """,
    )
    records = hash_of(store, f"jobmon:command:{RUN}:jobs")
    assert [record["command_name"] for record in records.values()] == ["data:process"]
    assert hash_of(store, f"jobmon:command:metrics:data:process:{RUN}")["job_count"] == "1"


def test_s4_a_job_outside_any_command_is_dispatched_manually(store: RedisServer) -> None:
    script(store, ENQUEUE + "    queue.enqueue(os.getpid, job_id='manual-1')\n")
    record = hash_of(store, "jobmon:job:metrics:manual-1")
    assert record["command_name"] == "manual-dispatch"
    assert str(uuid.UUID(record["process_id"])) == record["process_id"]
    assert not {"jobmon:commands:running", "jobmon:commands:finished"} & keys(store)


def test_s5_process_ids_are_uuids() -> None:
    tracked = jobmon.track(os.getpid)
    with pytest.raises(ValueError, match="process id must be a UUID"):
        tracked.set_command_process_id("nope")
    fresh = tracked.set_command_process_id(None).command_process_id
    assert fresh is not None
    assert str(uuid.UUID(fresh)) == fresh
    upper = RUN.upper()
    assert tracked.set_command_process_id(upper).command_process_id == RUN


def test_s6_no_name_is_manual_dispatch() -> None:
    assert jobmon.track(os.getpid).set_command_name(None).command_name == "manual-dispatch"


def test_s7_queue_time_is_known_once_both_ends_are() -> None:
    tracked = jobmon.track(os.getpid).mark_job_created()
    assert tracked.get_queue_time() is None
    queue_time = tracked.mark_job_started().get_queue_time()
    assert queue_time is not None
    assert queue_time >= 0


def test_s9_a_command_is_running_then_finished(store: RedisServer) -> None:
    printed = script(
        store,
        """
        import os, redis, time
        client = redis.Redis.from_url(os.environ["DEMO_URL"])
        with jobmon.command("data:process", arguments={"day": 1}) as run:
            until = time.monotonic() + 10
            while not client.hexists("jobmon:commands:running", run.id):
                assert time.monotonic() < until
                time.sleep(0.01)
            print(run.id, client.hget("jobmon:commands:running", run.id).decode(), sep="\\n")
            print(client.get("jobmon:command-pid-map:data:process").decode())
        """,
    )
    run_id, running, newest = printed.split("\n")
    begun = json.loads(running)
    documented = {"id", "command", "source", "started_at", "environment", "arguments", "options"}
    assert documented <= set(begun)
    assert begun["id"] == newest == run_id
    assert (begun["command"], begun["source"]) == ("data:process", "console")
    assert begun["environment"] == "production"
    assert (begun["arguments"], begun["options"]) == ({"day": 1}, {})
    assert hash_of(store, "jobmon:commands:running") == {}
    ended = hash_of(store, "jobmon:commands:finished")[run_id]
    assert {"id", "command", "source", "finished_at", "exit_code"} <= set(ended)
    assert ended["exit_code"] == 0


@pytest.mark.parametrize(
    ("statement", "exit_code"),
    [("raise ValueError('bad')", 1), ("raise SystemExit(4)", 4), ("raise SystemExit", 0)],
)
def test_s10_exit_codes(store: RedisServer, statement: str, exit_code: int) -> None:
    script(
        store,
        f"""
        try:
            with jobmon.command("data:process"):
                {statement}
        except BaseException:
            pass
        """,
    )
    ended = hash_of(store, "jobmon:commands:finished")
    assert [run["exit_code"] for run in ended.values()] == [exit_code]


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (("click_program.py", "orders", "import", "2026-11-25", "--limit", "3"), "orders:import"),
        (("shop/manage.py", "invoice", "november", "--currency", "USD"), "invoice"),
    ],
    ids=["click", "django"],
)
def test_s9_a_command_of_a_program_that_knows_nothing_of_jobmon_is_recorded(
    store: RedisServer, program: tuple[str, ...], name: str
) -> None:
    assert command_fixtures.run(store, *program).returncode == 0
    (ended,) = hash_of(store, "jobmon:commands:finished").values()
    assert {"id", "command", "source", "finished_at", "exit_code"} <= set(ended)
    assert (ended["command"], ended["source"], ended["exit_code"]) == (name, "console", 0)
    assert hash_of(store, "jobmon:commands:running") == {}
    with store.client() as client:
        assert client.get(f"jobmon:command-pid-map:{name}") == ended["id"].encode()


@pytest.mark.parametrize(
    ("program", "exit_code"),
    [
        (("click_program.py", "end", "error"), 1),
        (("click_program.py", "end", "exit-4"), 4),
        (("shop/manage.py", "invoice", "november", "--end", "error"), 1),
        (("shop/manage.py", "invoice", "november", "--end", "exit-4"), 4),
    ],
    ids=str,
)
def test_s10_exit_codes_of_programs_that_know_nothing_of_jobmon(
    store: RedisServer, program: tuple[str, ...], exit_code: int
) -> None:
    assert command_fixtures.run(store, *program).returncode == exit_code
    (ended,) = hash_of(store, "jobmon:commands:finished").values()
    assert ended["exit_code"] == exit_code


def test_s11_two_runs_at_once_are_both_running(store: RedisServer) -> None:
    printed = script(
        store,
        """
        import os, redis, time
        client = redis.Redis.from_url(os.environ["DEMO_URL"])
        with jobmon.command("data:process") as first, jobmon.command("data:process") as second:
            until = time.monotonic() + 10
            while client.hlen("jobmon:commands:running") < 2:
                assert time.monotonic() < until
                time.sleep(0.01)
            assert client.get("jobmon:command-pid-map:data:process").decode() == second.id
            print("both")
        """,
    )
    assert printed == "both"


def test_s91_no_engine_is_imported_before_the_user_does() -> None:
    program = """
    import sys, jobmon
    jobmon.instrument()
    assert not {"celery", "rq", "redis"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)
