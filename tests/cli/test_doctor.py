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

from jobmon.settings import KEYS

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
