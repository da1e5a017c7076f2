"""Celery beat as it runs: alive by its ticks, its entries known, each firing a run of its own."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from jobmon.metrics.catalogue import shared
from jobmon.store import schedules
from jobmon.store.reader import Reader
from tests.conftest import RedisServer
from tests.live.celery_fixtures import ROOT, Run, environment, wait_for
from tests.live.scheduler_fixtures import BEAT_APP, Known, beat, beat_worker

pytestmark = pytest.mark.live

EVERY_SECOND: dict[str, tuple[str, str, list[Any]]] = {"report": ("work", "1", [1, 2])}
UNREACHABLE = "redis://127.0.0.1:1/0"


@pytest.fixture
def known(store: RedisServer) -> Iterator[Known]:
    reading = Known(store)
    yield reading
    reading.client.close()


def test_an_entry_fires_runs_that_begin_and_end_with_their_root_jobs(
    store: RedisServer, known: Known, tmp_path: Path
) -> None:
    entries = {**EVERY_SECOND, "nightly": ("work", "nightly", [])}
    with beat(store, tmp_path, entries):
        waiting = known.run("report", lambda run: "sent_at" in run)
        assert "started_at" not in waiting
        assert waiting["root_job_id"]
        assert 0 <= waiting["sent_at"] - waiting["due_at"] < 30
        with beat_worker(store, tmp_path):
            ended = known.run("report", lambda run: run["id"] == waiting["id"] and "outcome" in run)
        assert ended["due_at"] <= ended["sent_at"] <= ended["started_at"] <= ended["finished_at"]
        assert ended["due_at"] == pytest.approx(waiting["due_at"], abs=0.001)
        assert ended["sent_at"] == pytest.approx(waiting["sent_at"], abs=5)
        assert (ended["source"], ended["kind"], ended["schedule"]) == (
            "schedule",
            "beat",
            "every 1 s",
        )
        assert (ended["outcome"], ended["exit_code"]) == ("completed", 0)
        assert ended["duration"] == pytest.approx(
            ended["finished_at"] - ended["started_at"], abs=0.01
        )
        run = Run(store, ended["id"], name="report")
        assert run.one()["id"] == ended["root_job_id"]
        run.check_counters()
        counters = run.counters()
        assert counters["status"] == "completed"
        assert "partial" not in counters

        one = known.scheduler(lambda one: one.up and one.entries == 2)
        assert (one.engine, one.kind, one.name) == ("celery", "beat", "shop")
        report = known.entry("report", lambda one: one.last_run_id is not None)
        assert (report.state, report.schedule) == ("ok", "every 1 s")
        assert report.last_due_at is not None
        assert report.last_sent_at is not None
        assert 0 <= report.last_sent_at - report.last_due_at < 30
        nightly = known.entry("nightly")
        assert (nightly.schedule, nightly.timezone) == ("15 4 * * *", "UTC")
        assert nightly.next_due_at is not None
        assert nightly.next_due_at % 86_400 == pytest.approx(4 * 3600 + 15 * 60, abs=1)
        assert nightly.last_sent_at is None


def test_the_end_of_a_root_job_is_that_of_its_run(
    store: RedisServer, known: Known, tmp_path: Path
) -> None:
    entries: dict[str, tuple[str, str, list[Any]]] = {
        "fails": ("broken", "1", ["no"]),
        "retries": ("second_time", "1", []),
        "has-children": ("parent", "1", []),
        "dies": ("killed", "5", []),
        "unknown": ("no_such_task", "1", []),
    }
    with beat_worker(store, tmp_path), beat(store, tmp_path, entries):
        failed = known.run("fails")
        assert (failed["outcome"], failed["exit_code"], failed["status"]) == ("failed", 1, "failed")
        retried = known.run("retries")
        assert (retried["outcome"], retried["exit_code"]) == ("completed", 0)
        run = Run(store, retried["id"], name="retries")
        assert run.one()["attempt"] == 2
        [first] = run.attempts(retried["root_job_id"])
        assert retried["started_at"] == pytest.approx(first["started_at"], abs=0.001)
        parent = known.run("has-children")
        jobs = Run(store, parent["id"], name="has-children").ended(2)
        assert {job["id"] for job in jobs.values()} > {parent["root_job_id"]}
        unknown = known.run("unknown")
        assert (unknown["exit_code"], unknown["status"]) == (1, "failed")
        assert "started_at" not in unknown
        lost = known.run("dies")
        assert (lost["outcome"], lost["exit_code"], lost["status"]) == ("lost", -1, "lost")


def test_a_beat_whose_loop_stands_still_is_down_though_its_process_lives(
    store: RedisServer, known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "SILENT_SECONDS", 2.0)
    signals = store.client(db=3)
    with beat(store, tmp_path, {"blocks": ("work", "blocking", [])}) as process:
        before = known.scheduler(lambda one: one.up)
        known.entry("blocks", lambda one: one.state == "ok")
        signals.set("stand-still", 1)
        wait_for(lambda: signals.exists("stands-still"), "a loop that stands still")
        still = known.scheduler(lambda one: not one.up)
        assert still.id == before.id
        assert process.process.poll() is None
        assert known.entry("blocks").state == "down"
        # It still says what it knows: only the loop does not move.
        beats = known.client.hget("jobmon:schedulers", still.id)
        assert json.loads(beats)["pid"] == process.process.pid
        signals.delete("stand-still")
        known.scheduler(lambda one: one.up)
        known.entry("blocks", lambda one: one.state == "ok")


def test_a_beat_that_sleeps_for_long_is_alive(
    store: RedisServer, known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "SILENT_SECONDS", 2.0)
    with beat(store, tmp_path, {"rare": ("work", "nightly", [])}):
        first = known.scheduler(lambda one: one.entries == 1)
        seconds = first.last_turn_at
        assert seconds is not None
        later = known.scheduler(lambda one: one.last_seen_at - seconds > 4)
        assert later.up
        assert later.last_turn_at == first.last_turn_at


def test_a_killed_beat_is_down_and_its_schedule_stays_to_be_seen(
    store: RedisServer, known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "SILENT_SECONDS", 2.0)
    with beat(store, tmp_path, {"rare": ("work", "nightly", [])}) as process:
        dead = known.scheduler(lambda one: one.up)
        known.entry("rare", lambda one: one.state == "ok")
        process.stop(signal.SIGKILL)
        assert known.scheduler(lambda one: not one.up).id == dead.id
        assert known.entry("rare").state == "down"
        with beat(store, tmp_path, {"rare": ("work", "nightly", [])}) as successor:
            taken = known.scheduler(lambda one: one.up and one.id != dead.id)
            assert known.entry("rare", lambda one: one.state == "ok").scheduler_id == taken.id
            successor.stop()
            wait_for(lambda: not known.client.zcard("jobmon:schedulers:beats") - 1, "a clean end")
        assert known.entry("rare").state == "down"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_entry_that_a_deploy_renamed_has_its_new_name_alone(
    store: RedisServer,
    known: Known,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
) -> None:
    monkeypatch.setattr(schedules, "SILENT_SECONDS", 2.0)
    with beat(store, tmp_path, {"old": ("work", "nightly", [])}) as process:
        known.entry("old", lambda one: one.state == "ok")
        process.stop(how)
    assert known.entry("old", lambda one: one.state == "down").next_due_at
    with beat(store, tmp_path, {"new": ("work", "nightly", [])}):
        known.scheduler(lambda one: one.up)
        wait_for(lambda: [one.name for one in known.schedules().entries] == ["new"], "the new name")


def test_its_series_tell_of_a_beat_that_is_frozen_and_of_one_that_was_killed(
    store: RedisServer, known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "SILENT_SECONDS", 2.0)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(shared(Reader(known.client, known.settings), "shop"))

    def is_up(value: float) -> bool:
        """Whether there is one scheduler, and its series has this value."""
        series = [
            sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name == "jobmon_scheduler_up"
        ]
        return series == [value]

    with beat(store, tmp_path, {"rare": ("work", "nightly", [])}) as process:
        wait_for(lambda: is_up(1), "up")
        process.process.send_signal(signal.SIGSTOP)
        wait_for(lambda: is_up(0), "frozen")
        process.process.send_signal(signal.SIGCONT)
        wait_for(lambda: is_up(1), "up again")
        process.stop(signal.SIGKILL)
        wait_for(lambda: is_up(0), "killed")
    labels = {"app": "shop", "engine": "celery", "kind": "beat"}
    own = labels | {"hostname": socket.gethostname(), "scheduler": known.scheduler().name}
    assert registry.get_sample_value("jobmon_scheduler_entries", own) == 1
    due = registry.get_sample_value(
        "jobmon_schedule_entry_next_due_timestamp_seconds",
        labels | {"scheduler": own["scheduler"], "command": "rare"},
    )
    assert due is not None
    assert due > time.time()


def test_an_entry_taken_out_of_the_schedule_vanishes(
    store: RedisServer, known: Known, tmp_path: Path
) -> None:
    code = (
        "import time\nfrom tests.live.apps.beat_app import app\nfrom celery.beat import Scheduler\n"
        "beat = Scheduler(app)\nbeat.tick()\ninput()\ndel beat.schedule['gone']\n"
        "beat._jobmon_scheduler._read_every = 0\nbeat.tick()\ninput()\nbeat.close()\n"
    )
    schedule = {"gone": ("work", "nightly", []), "stays": ("work", "nightly", [])}
    env = environment(
        store, TEST_SCHEDULE=json.dumps(schedule), JOB_MONITOR_BEATS_INTERVAL_SECONDS="0.2"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=env, stdin=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        known.entry("gone")
        process.stdin.write("\n")
        process.stdin.flush()
        wait_for(
            lambda: [one.name for one in known.schedules().entries] == ["stays"], "one entry left"
        )
        process.stdin.write("\n")
        process.stdin.flush()
    assert process.returncode == 0
    assert known.schedules().schedulers == ()


def test_a_send_that_fails_is_a_failed_run(
    store: RedisServer, known: Known, tmp_path: Path
) -> None:
    with beat(store, tmp_path, {"report": ("work", "1", ["no JSON"])}):
        run = known.run("report")
        assert (run["outcome"], run["exit_code"]) == ("failed", 1)
        assert "sent_at" not in run
        entry = known.entry("report", lambda one: one.state == "failed")
        assert "JSON serializable" in (entry.error or "")
        assert entry.last_due_at is not None


def test_a_beat_that_waits_for_its_broker_is_down(
    store: RedisServer, known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "SILENT_SECONDS", 2.0)
    with beat(store, tmp_path, EVERY_SECOND, TEST_BROKER=UNREACHABLE):
        known.scheduler(lambda one: not one.up)
        assert known.runs("report") == []


def test_a_schedule_that_breaks_when_asked_hurts_nothing(
    store: RedisServer, known: Known, tmp_path: Path
) -> None:
    with beat(store, tmp_path, {**EVERY_SECOND, "odd": ("work", "broken", [])}) as process:
        assert known.entry("odd").schedule == "Broken"
        known.run("report", lambda run: "sent_at" in run)
        assert "jobmon:" not in process.log


def test_a_dead_store_delays_no_tick(own_redis_server: RedisServer, tmp_path: Path) -> None:
    with beat(
        own_redis_server, tmp_path, EVERY_SECOND, JOB_MONITOR_REDIS_URL=UNREACHABLE
    ) as process:
        wait_for(lambda: process.log.count("Sending due task") >= 4, "four tasks sent")
        moments = re.findall(r":(\d\d),(\d{3}): INFO/MainProcess\] Scheduler: Send", process.log)
        seconds = [int(second) + int(ms) / 1000 for second, ms in moments]
        gaps = [(b - a) % 60 for a, b in pairwise(seconds)]
        assert all(gap < 3 for gap in gaps)


def test_the_beat_inside_of_a_worker_is_seen_too(
    store: RedisServer, known: Known, tmp_path: Path
) -> None:
    schedule = json.dumps(EVERY_SECOND)
    options = ("-B", "-s", str(tmp_path / "schedule"))
    with beat_worker(store, tmp_path, *options, TEST_SCHEDULE=schedule) as worker:
        one = known.scheduler(lambda one: one.up)
        assert one.pid != worker.process.pid
        run = known.run("report")
        assert run["outcome"] == "completed"
        assert "sent_at" in run
        assert known.entry("report", lambda one: one.last_run_id is not None).state == "ok"


def test_redbeat_is_seen_whole(store: RedisServer, known: Known, tmp_path: Path) -> None:
    entries = {**EVERY_SECOND, "nightly": ("work", "nightly", [])}
    options = ("-S", "redbeat.RedBeatScheduler", "--max-interval", "1")
    with beat(store, tmp_path, entries, *options), beat_worker(store, tmp_path):
        run = known.run("report")
        assert (run["kind"], run["outcome"]) == ("beat", "completed")
        assert known.scheduler(lambda one: one.entries == 2).up
        nightly = known.entry("nightly")  # its scheduler loads only what is due
        assert nightly.schedule == "15 4 * * *"
        known.entry("report", lambda one: one.state == "ok" and one.last_run_id is not None)


def test_django_celery_beat_is_seen_whole(store: RedisServer, known: Known, tmp_path: Path) -> None:
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.live.apps.django_beat_settings",
        "TEST_DATABASE": str(tmp_path / "db.sqlite3"),
    }
    fill = (
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('migrate', verbosity=0)\n"
        "from django_celery_beat.models import *\n"
        "second = IntervalSchedule.objects.create(every=1, period='seconds')\n"
        "far = CrontabSchedule.objects.create(minute='15', hour='*/5', timezone='Europe/Berlin')\n"
        f"task = '{BEAT_APP}.work'\n"
        "PeriodicTask.objects.create(name='report', task=task, interval=second)\n"
        "PeriodicTask.objects.create(name='far', task=task, crontab=far)\n"
        "PeriodicTask.objects.create(name='off', task=task, interval=second, enabled=False)\n"
    )
    subprocess.run(
        [sys.executable, "-c", fill], cwd=ROOT, env=environment(store, **env), check=True
    )
    options = ("-S", "django_celery_beat.schedulers:DatabaseScheduler")
    with beat(store, tmp_path, {}, *options, **env), beat_worker(store, tmp_path):
        run = known.run("report")
        assert (run["schedule"], run["outcome"]) == ("every 1 s", "completed")
        report = known.entry("report", lambda one: one.last_run_id is not None)
        assert report.state == "ok"
        far = known.entry("far")
        assert (far.schedule, far.timezone) == ("15 */5 * * *", "Europe/Berlin")
        assert far.next_due_at is not None
        off = known.entry("off")
        assert (off.state, off.next_due_at) == ("disabled", None)
