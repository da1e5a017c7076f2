"""``jobmon doctor``: every value, its source, and the state of Redis."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobmon.history import migrate
from jobmon.model import Outcome
from jobmon.settings import KEYS, load
from jobmon.store.lease import Lease
from tests.serving import Recorded

ROOT = Path(__file__).parents[2]


def doctor(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", "doctor", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_every_key_is_shown_with_value_and_source(redis_server: Any, tmp_path: Path) -> None:
    (tmp_path / "jobmon.toml").write_text('app = "shop"\n')
    said = doctor(cwd=tmp_path, JOB_MONITOR_REDIS_URL=redis_server.url, JOB_MONITOR_TAGS="a,b")
    assert said.returncode == 0, said.stderr
    rows = {line.split()[0]: line for line in said.stdout.splitlines() if line}
    assert set(KEYS) <= set(rows)
    assert re.search(rf"app +shop +{re.escape(str(tmp_path))}/jobmon.toml: app$", rows["app"])
    assert re.search(r"tags +a, b +JOB_MONITOR_TAGS$", rows["tags"])
    assert re.search(r"failed_ttl +172800 +default$", rows["failed_ttl"])
    assert re.search(r"\nRedis is (redis|valkey) \d+\.\d+\.\d+, maxmemory-policy ", said.stdout)


def test_json_is_one_document(redis_server: Any, tmp_path: Path) -> None:
    said = doctor("--format", "json", cwd=tmp_path, JOB_MONITOR_REDIS_URL=redis_server.url)
    document = json.loads(said.stdout)
    assert [row["key"] for row in document["settings"]] == list(KEYS)
    assert document["redis"]["status"] == "ok"
    assert document["packages"]["python"]


def test_secrets_are_masked(redis_server: Any, tmp_path: Path) -> None:
    url = redis_server.url.replace("redis://", "redis://:hunter2@")
    for form in ("text", "json"):
        said = doctor(
            *("--format", form),
            cwd=tmp_path,
            JOB_MONITOR_REDIS_URL=url,
            JOB_MONITOR_REDIS_PASSWORD="hunter2",
            JOB_MONITOR_AUTH_TOKENS=f"hunter2:read:sha256:{'ab' * 32}",
        )
        assert "hunter2" not in said.stdout + said.stderr
        assert "abab" not in said.stdout
        assert "********" in said.stdout


def test_an_unreachable_redis_is_exit_69(tmp_path: Path) -> None:
    said = doctor(
        cwd=tmp_path,
        JOB_MONITOR_REDIS_URL=f"redis://127.0.0.1:{closed_port()}/0",
        JOB_MONITOR_REDIS_RETRY_INTERVAL="0",
    )
    assert said.returncode == 69
    assert "Redis cannot be reached" in said.stdout
    assert "redis.prefix" in said.stdout


def test_a_user_who_may_not_ask_is_told_so(own_redis_server: Any, tmp_path: Path) -> None:
    with own_redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "writer", "on", "nopass", "~*", "+evalsha")
    said = doctor(
        cwd=tmp_path,
        JOB_MONITOR_REDIS_HOST="127.0.0.1",
        JOB_MONITOR_REDIS_PORT=str(own_redis_server.port),
        JOB_MONITOR_REDIS_USERNAME="writer",
        JOB_MONITOR_REDIS_PASSWORD="x",
    )
    assert said.returncode == 1
    assert "Redis refused: " in said.stdout


def test_a_user_who_may_write_but_not_ask_for_info_will_do(
    own_redis_server: Any, tmp_path: Path
) -> None:
    with own_redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "writer", "on", ">x", "~*", "+@all", "-info")
    said = doctor(
        cwd=tmp_path,
        JOB_MONITOR_REDIS_HOST="127.0.0.1",
        JOB_MONITOR_REDIS_PORT=str(own_redis_server.port),
        JOB_MONITOR_REDIS_USERNAME="writer",
        JOB_MONITOR_REDIS_PASSWORD="x",
    )
    assert said.returncode == 0
    assert "Redis answers." in said.stdout
    assert "Warning: its version and memory policy are unknown: " in said.stdout


def test_a_policy_that_deletes_records_is_a_warning(own_redis_server: Any, tmp_path: Path) -> None:
    with own_redis_server.client() as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
    said = doctor(cwd=tmp_path, JOB_MONITOR_REDIS_URL=own_redis_server.url)
    assert said.returncode == 0
    assert "Warning: maxmemory-policy allkeys-lru lets Redis delete records" in said.stdout


def test_an_unknown_variable_is_a_warning(redis_server: Any, tmp_path: Path) -> None:
    said = doctor(cwd=tmp_path, JOB_MONITOR_REDIS_URL=redis_server.url, JOB_MONITOR_REDIS_PREFX="x")
    assert said.returncode == 0
    assert "did you mean JOB_MONITOR_REDIS_PREFIX?" in said.stdout


def test_a_bad_value_stops_it(tmp_path: Path) -> None:
    said = doctor(cwd=tmp_path, JOB_MONITOR_LISTEN="everywhere")
    assert said.returncode == 2
    assert said.stdout == ""
    assert "listen: 'everywhere' from JOB_MONITOR_LISTEN is not allowed" in said.stderr


def test_a_schedule_that_cannot_be_read_stops_it(tmp_path: Path) -> None:
    table = '{"reports:*": {"schedule": "61 4 * * *"}, "clean": {"schedule": "@daily"}}'
    said = doctor(cwd=tmp_path, JOB_MONITOR_ANALYZE_MODE_COMMANDS=table)
    assert said.returncode == 2
    assert "analyze_mode.commands: reports:*: schedule: '61 4 * * *' is no schedule" in said.stderr
    assert "clean" not in said.stderr


def test_the_database_is_looked_at_and_not_made(redis_server: Any, tmp_path: Path) -> None:
    own = {"JOB_MONITOR_REDIS_URL": redis_server.url}
    said = doctor(cwd=tmp_path, **own)
    assert said.returncode == 0, said.stderr
    assert "The database jobmon.db is not there yet" in said.stdout
    assert not list(tmp_path.iterdir())
    url = f"sqlite:///{tmp_path / 'own.db'}"
    migrate.prepare(load({"database.url": url}, environ={}))
    said = doctor(cwd=tmp_path, JOB_MONITOR_DATABASE_URL=url, **own)
    assert said.returncode == 0, said.stderr
    assert f"own.db has tables of version {migrate.versions()[-1]}." in said.stdout


def test_a_database_that_cannot_be_reached_is_exit_69_and_its_password_is_not_told(
    redis_server: Any, tmp_path: Path
) -> None:
    for form in ("text", "json"):
        said = doctor(
            *("--format", form),
            cwd=tmp_path,
            JOB_MONITOR_REDIS_URL=redis_server.url,
            JOB_MONITOR_DATABASE_URL=f"postgresql://u:hunter2@127.0.0.1:{closed_port()}/shop",
        )
        assert said.returncode == 69
        assert "the database shop on 127.0.0.1:" in said.stdout
        assert "hunter2" not in said.stdout + said.stderr


def test_how_far_the_history_is_behind_and_who_leads(recorded: Recorded, tmp_path: Path) -> None:
    recorded.run().jobs(2, Outcome.FAILED)
    url = recorded.settings.redis.url or ""
    with recorded.client() as client:
        client.hset("jobmon:totals:recorder", mapping={"dropped:full": 7, "expired_unsynced": 5})
        said = doctor(cwd=tmp_path, JOB_MONITOR_REDIS_URL=url)
        assert "1 runs and jobs wait to be copied, for " in said.stdout
        assert "2 failures wait to be copied." in said.stdout
        assert "Lost: 7 transitions dropped, 5 runs and jobs and 0 failures expired" in said.stdout
        assert "No server leads" in said.stdout
        assert Lease(client, recorded.settings).acquire() is not None
    said = doctor("--format", "json", cwd=tmp_path, JOB_MONITOR_REDIS_URL=url)
    history = json.loads(said.stdout)["history"]
    assert history["holders"]["leader"]["pid"] == os.getpid()
    assert history["holders"]["sync"] is None
    assert (history["unsynced"], history["last_success_at"]) == (1, None)


def test_an_interval_too_long_for_what_expires_is_a_warning(
    redis_server: Any, tmp_path: Path
) -> None:
    own = {"JOB_MONITOR_REDIS_URL": redis_server.url, "JOB_MONITOR_COMPLETED_TTL": "600"}
    said = doctor(cwd=tmp_path, **own)
    assert "Warning: sync.interval_minutes (5) is half of completed_ttl or more" in said.stdout
