"""``workers`` on a live server, ``jobmon workers`` as a process, and the families of workers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from jobmon.metrics import queues as families
from jobmon.model import Beat
from jobmon.store import connection
from jobmon.store.beats import Beats
from tests.metrics.conftest import Sampled, sampled
from tests.serving import Recorded, Served, environment

__all__ = ["sampled"]

pytestmark = pytest.mark.live

SAID: dict[str, Any] = {
    "engine": "celery",
    "name": "celery@web-1",
    "hostname": "web-1",
    "pid": 7,
    "pool": "prefork",
    "version": "5.7.0",
    "started_at": 1754222280.9,
    "app": "shop",
    "beats_every": 10.0,
    "queues": ["celery", "mail"],
    "slots": 4,
    "busy": 1,
    "running": ["run-1/job-1"],
    "resident_memory_bytes": 50 * 1024 * 1024,
}


def tell(recorded: Recorded, own_id: str = "w", age_seconds: float = 0, **more: Any) -> None:
    body = json.dumps(SAID | more).encode()
    with connection.connect(recorded.settings) as client:
        beat = Beat("worker", own_id, int(age_seconds * 1000), body)
        assert Beats(client, recorded.settings).send([beat]).taken == 1


def take_for_lost(recorded: Recorded, *ids: str) -> None:
    with recorded.client() as client:
        client.zadd("jobmon:workers:lost", dict.fromkeys(ids, time.time() * 1000))
        client.hincrby("jobmon:totals:recorder", "workers_lost:celery", len(ids))


def command_line(recorded: Recorded, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", "workers", *options],
        env=environment(REDIS_URL=recorded.settings.redis.url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_worker_is_shown_with_all_it_told(served: Served, recorded: Recorded) -> None:
    assert served.data("workers") == []
    tell(recorded)
    [shown] = served.data("workers")
    seen = shown.pop("last_seen_at")
    assert seen > "2025"
    assert seen.endswith("Z")
    assert shown == {
        "id": "w",
        "engine": "celery",
        "name": "celery@web-1",
        "hostname": "web-1",
        "pid": 7,
        "app": "shop",
        "version": "5.7.0",
        "pool": "prefork",
        "state": "up",
        "started_at": "2025-08-03T11:58:00Z",
        "queues": ["celery", "mail"],
        "slots": 4,
        "busy": 1,
        "running": [{"process_id": "run-1", "job_id": "job-1"}],
        "resident_memory_bytes": 52428800,
    }


def test_silence_is_not_yet_a_verdict(served: Served, recorded: Recorded) -> None:
    tell(recorded, "silent", 70, name="a")
    tell(recorded, "slow", 70, name="b", beats_every=30)
    tell(recorded, "lost", 70, name="c")
    take_for_lost(recorded, "lost")
    assert {one["id"]: one["state"] for one in served.data("workers")} == {
        "silent": "silent",
        "slow": "up",
        "lost": "down",
    }


def test_a_dead_worker_is_hidden_once_another_of_its_name_lives_there(
    served: Served, recorded: Recorded
) -> None:
    tell(recorded, "old", 400)
    take_for_lost(recorded, "old")
    tell(recorded, "elsewhere", hostname="web-2")
    assert {one["id"] for one in served.data("workers")} == {"old", "elsewhere"}
    tell(recorded, "new")
    assert {one["id"] for one in served.data("workers")} == {"new", "elsewhere"}


@pytest.mark.parametrize(
    "body",
    [b"", b"[", b"7", b'{"engine":7,"queues":{},"running":[1],"slots":-1,"busy":true,"pid":"x"}'],
)
def test_what_makes_no_sense_breaks_nothing(
    body: bytes, served: Served, recorded: Recorded, sampled: Sampled
) -> None:
    with connection.connect(recorded.settings) as client:
        Beats(client, recorded.settings).send([Beat("worker", "w", body=body)])
    assert len(served.data("workers")) <= 1
    assert sampled("jobmon_workers_lost_total", engine="rq") == 0
    assert command_line(recorded).returncode == 0


def test_families_follow_a_worker_from_life_to_death(recorded: Recorded, sampled: Sampled) -> None:
    own = {"engine": "celery", "worker": "celery@web-1"}
    tell(recorded)
    assert sampled("jobmon_worker_up", **own) == 1
    assert sampled("jobmon_worker_slots", **own) == 4
    assert sampled("jobmon_worker_slots_busy", **own) == 1
    assert sampled("jobmon_worker_resident_memory_bytes", **own) == 52428800
    seen = sampled("jobmon_worker_last_heartbeat_timestamp_seconds", **own)
    assert seen == pytest.approx(time.time(), abs=30)
    info = {"hostname": "web-1", "version": "5.7.0", "queues": "celery,mail"}
    assert sampled("jobmon_worker_info", **own, **info) == 1
    assert sampled("jobmon_workers_lost_total", engine="celery") == 0
    tell(recorded, "twin", hostname="web-2", queues=["mail", "mail"])
    assert sampled("jobmon_worker_slots", **own) == 8
    assert sampled("jobmon_queue_workers", engine="celery", queue="mail") == 2
    assert sampled("jobmon_queue_slots", engine="celery", queue="celery") == 4
    take_for_lost(recorded, "twin")
    assert sampled("jobmon_worker_up", **own) == 1
    assert sampled("jobmon_queue_workers", engine="celery", queue="mail") == 1
    take_for_lost(recorded, "w")
    assert sampled("jobmon_worker_up", **own) == 0
    assert sampled("jobmon_worker_slots", **own) is None
    assert sampled("jobmon_queue_workers", engine="celery", queue="mail") is None
    assert sampled("jobmon_workers_lost_total", engine="celery") == 2
    with connection.connect(recorded.settings) as client:
        gone = [Beat("worker", name, gone=True) for name in ("w", "twin")]
        Beats(client, recorded.settings).send(gone)
    assert sampled("jobmon_worker_up", **own) is None


def test_many_queues_share_a_series(
    recorded: Recorded, sampled: Sampled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families, "MOST_QUEUES", 2)
    tell(recorded, queues=["a", "b", "c", "d"])
    assert sampled("jobmon_queue_workers", engine="celery", queue="b") == 1
    assert sampled("jobmon_queue_workers", engine="celery", queue="other") == 2


def test_the_command_line_shows_states_and_checks_them(recorded: Recorded) -> None:
    assert "Workers: none seen" in command_line(recorded, "--check").stdout
    tell(recorded)
    shown = command_line(recorded, "--check")
    assert (shown.returncode, shown.stderr) == (0, "")
    [row] = [line for line in shown.stdout.splitlines() if line.startswith("celery@web-1")]
    for text in ("celery 5.7.0 prefork", "web-1:7", " up ", "1 of 4", "50 MiB", "celery, mail"):
        assert text in row
    assert "\x1b" not in shown.stdout
    tell(recorded, "lost", 9000, name="\x1b]0;owned\x07[red]x[/red]")
    take_for_lost(recorded, "lost")
    shown = command_line(recorded, "--check")
    assert shown.returncode == 1
    assert "down for 2 h 30 m" in shown.stdout
    assert not set(shown.stdout) & set("\x1b\x07")
    document = json.loads(command_line(recorded, "--format", "json").stdout)
    assert [one["state"] for one in document["workers"]] == ["down", "up"]
