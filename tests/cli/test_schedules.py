"""``jobmon schedules`` as a process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from jobmon.model import Beat
from jobmon.store import connection
from jobmon.store.beats import Beats
from tests.conftest import RedisServer
from tests.serving import Recorded, environment

pytestmark = pytest.mark.live


def schedules(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", "schedules", *options],
        env=environment(REDIS_URL=url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def tell(recorded: Recorded, *entries: dict[str, Any], age_seconds: float = 0) -> None:
    own = {"engine": "celery", "kind": "beat"}
    scheduler = own | {"name": "shop", "hostname": "web-1", "pid": 7, "entries": len(entries)}
    sent = [Beat("scheduler", "s", int(age_seconds * 1000), json.dumps(scheduler).encode())]
    sent += [
        Beat("schedule", f"s\x1f{one['name']}", body=json.dumps(own | one).encode())
        for one in entries
    ]
    with connection.connect(recorded.settings) as client:
        Beats(client, recorded.settings).send(sent)


def test_nothing_seen_yet_is_no_trouble(store: RedisServer) -> None:
    shown = schedules(store.url, "--check")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "Schedulers: none seen yet" in shown.stdout


def test_text_shows_schedulers_and_when_entries_are_due(
    recorded: Recorded, store: RedisServer
) -> None:
    now = time.time()
    tell(
        recorded,
        {
            "name": "report",
            "schedule": "0 4 * * *",
            "timezone": "UTC",
            "job_name": "app.r",
            "next_due_at": now + 7500,
            "last_due_at": now - 90_000,
            "last_sent_at": now - 100,
        },
        {"name": "copy", "schedule": "every 5 s", "enabled": False},
        {"name": "often", "schedule": "every 1 s", "next_due_at": now - 3},
    )
    shown = schedules(store.url, "--check")
    assert (shown.returncode, shown.stderr) == (0, "")
    rows = {line.split()[0]: line for line in shown.stdout.splitlines() if line.strip()}
    assert "celery beat" in rows["shop"]
    assert " up " in rows["shop"]
    assert "0 4 * * * UTC" in rows["report"]
    for text in (" ok ", "1 d 01 h ago", "1 m 4", "in 2 h 0", "app.r"):
        assert text in rows["report"]
    assert "disabled" in rows["copy"]
    assert rows["often"].rstrip().endswith("now")
    assert "\x1b" not in shown.stdout


@pytest.mark.parametrize(
    ("age_seconds", "entry", "text"),
    [
        (9000, {}, "down for 2 h 30 m"),
        (0, {"next_due_at": 1.0}, "late, late"),
        (0, {"error": "no broker"}, "not sent: no broker"),
    ],
)
def test_check_fails_when_something_is_wrong(
    recorded: Recorded, store: RedisServer, age_seconds: float, entry: dict[str, Any], text: str
) -> None:
    tell(recorded, {"name": "report", **entry}, age_seconds=age_seconds)
    shown = schedules(store.url, "--check")
    assert shown.returncode == 1
    assert text in shown.stdout
    assert schedules(store.url).returncode == 0


def test_json_is_one_document(recorded: Recorded, store: RedisServer) -> None:
    tell(recorded, {"name": "report", "schedule": "every 5 s", "last_due_at": 12.5})
    document = json.loads(schedules(store.url, "--format", "json").stdout)
    assert set(document) == {"at", "schedulers", "entries"}
    assert document["schedulers"][0]["up"] is True
    [entry] = document["entries"]
    assert (entry["name"], entry["state"], entry["last_due_at"]) == ("report", "ok", 12.5)


def test_what_users_named_does_not_act_on_the_terminal(
    recorded: Recorded, store: RedisServer
) -> None:
    evil = "\x1b]0;owned\x07[red]x[/red]\u202e"
    tell(recorded, {"name": evil, "schedule": evil, "job_name": evil, "error": evil})
    shown = schedules(store.url).stdout
    assert not set(shown) & set("\x1b\x07\u202e")
    assert "[red]x[/red]" in shown


def test_redis_away_is_said_with_its_exit_code() -> None:
    shown = schedules("redis://127.0.0.1:1/0")
    assert shown.returncode == 69
    assert "Redis cannot be reached" in shown.stderr
