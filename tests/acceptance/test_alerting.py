"""From a job to a page: real workers, server, Prometheus and Alertmanager, with what ships."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import RedisServer
from tests.live.celery_fixtures import celery_worker, command
from tests.prometheus import Alertmanager, Prometheus, Receiver, running
from tests.serving import Recorded, Served, environment, until

pytestmark = pytest.mark.live

ALERTS = Path(__file__).parents[2] / "alerts"
FASTER = 20
"""How much faster than shipped the clock of rules and routes runs here; thresholds stay."""
HOUR = 3600.0
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SLOW, FAILING, MISSED, HEALTHY = "reports:nightly", "orders:import", "backup:run", "data:process"
WORKER = "shop@test"
BEATS = {"JOB_MONITOR_BEATS_INTERVAL_SECONDS": "0.2", "JOB_MONITOR_ENVIRONMENT": "production"}


def labels(alertname: str, severity: str, **own: str) -> frozenset[tuple[str, str]]:
    named = {"alertname": alertname, "severity": severity, "app": "default"}
    return frozenset({**named, **own}.items())


WRONG = {
    labels("JobmonCommandSlow", "warning", command=SLOW, origin="learned"),
    labels("JobmonCommandFailed", "warning", command=FAILING),
    labels("JobmonCommandMissed", "critical", command=MISSED),
    labels("JobmonWorkerDown", "warning", engine="celery", worker=WORKER),
}
SOON_SECONDS = 90.0

PROMETHEUS = """
global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}
rule_files: ["{rules}/*.yaml"]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["{alertmanager}"]}}]}}]}}
scrape_configs:
  - job_name: jobmon
    static_configs: [{{targets: ["{server}"]}}]
"""


def faster(text: str) -> str:
    """Rules or routes whose ranges, offsets and waits are shorter; a range has two seconds."""

    def shorter(found: re.Match[str]) -> str:
        before, number, unit = found.groups()
        milliseconds = round(1000 * int(number) * SECONDS[unit] / FASTER)
        return f"{before}{max(milliseconds, 2000) if before == '[' else milliseconds}ms"

    waits = "for|keep_firing_for|interval|group_wait|group_interval|repeat_interval"
    return re.sub(rf"(\[|offset |(?:{waits}): )(\d+)([smhd])\b", shorter, text)


def past(recorded: Recorded, name: str, last_hours_ago: int) -> None:
    """A run of about a second every hour."""
    now = time.time()
    for hours in range(48, last_hours_ago - 1, -1):
        began = now - hours * HOUR
        run = recorded.run(name, started_at=began)
        run.end(finished_at=began + 1.0 + 0.01 * (hours * 7 % 11))


class Watched:
    """A server, what watches it, and what the pager was told."""

    def __init__(self, store: RedisServer, folder: Path) -> None:
        self._folder = folder
        self._settings = {
            "REDIS_URL": store.url,
            "DATABASE_URL": f"sqlite:///{folder / 'jobmon.db'}",
            "BEATS_INTERVAL_SECONDS": "0.2",
            "REAPER_LOST_AFTER_SECONDS": "3",
        }
        self.receiver = Receiver()
        self.server = Served(store.url, **self._settings)
        self.alertmanager = Alertmanager(folder / "alertmanager", self._routes())
        rules = folder / "rules"
        rules.mkdir()
        for one in (ALERTS / "prometheus").glob("*.rules.yaml"):
            (rules / one.name).write_text(faster(one.read_text()))
        self.prometheus = Prometheus(
            folder / "prometheus",
            PROMETHEUS.format(
                rules=rules,
                alertmanager=self.alertmanager.url[len("http://") :],
                server=self.server.url[len("http://") :],
            ),
        )

    def _routes(self) -> str:
        """What ships, with this receiver in place of everybody's mail."""
        config: dict[str, Any] = yaml.safe_load(
            faster((ALERTS / "alertmanager/alertmanager.yml").read_text())
        )
        del config["templates"]
        for one in config["receivers"]:
            if one.pop("email_configs", None):
                one["webhook_configs"] = [{"url": self.receiver.url, "send_resolved": True}]
        return yaml.safe_dump(config)

    def jobmon(self, *arguments: str) -> int:
        """The command line, beside the server."""
        return subprocess.run(
            [sys.executable, "-m", "jobmon.cli.main", *arguments],
            cwd=self._folder,
            env=environment(**self._settings),
            capture_output=True,
            check=False,
            timeout=60,
        ).returncode

    def judge(self) -> None:
        """Copy what ran, and judge it, without waiting for the server's next turn."""
        assert self.jobmon("sync") == 0
        assert self.jobmon("analyze") == 0

    def told(self, status: str) -> set[frozenset[tuple[str, str]]]:
        """All labels of each alert of this status."""
        return {frozenset(one.items()) for one in self.receiver.by_status(status)}


def test_exactly_what_is_wrong_is_told_and_that_it_is_over(
    own_redis_server: RedisServer, tmp_path: Path
) -> None:
    recorded = Recorded(own_redis_server)
    for name in (SLOW, FAILING):
        past(recorded, name, 1)
    watched = Watched(own_redis_server, tmp_path)
    prometheus = watched.prometheus
    worker = (own_redis_server, tmp_path, "-n", WORKER)
    with (
        running(prometheus, watched.alertmanager, watched.receiver),
        watched.server,
        celery_worker(*worker, **BEATS) as dying,
    ):
        load = "for number in range(20): add.delay(number, 1)"
        command(own_redis_server, load, name=HEALTHY, **BEATS)
        watched.judge()
        until(lambda: prometheus.value("count(jobmon_baseline_runs >= 20)") == 2, SOON_SECONDS)
        until(lambda: prometheus.value("sum(jobmon_worker_up)") == 1, SOON_SECONDS)
        until(
            lambda: prometheus.value('sum(jobmon_jobs_finished_total{outcome="completed"})') == 20,
            SOON_SECONDS,
        )
        assert prometheus.samples('ALERTS{alertstate="firing"}') == []

        past(recorded, MISSED, 4)
        assert watched.jobmon("run", SLOW, "--", "sleep", "4") == 0
        assert watched.jobmon("run", FAILING, "--", "false") == 1
        os.killpg(dying.process.pid, signal.SIGKILL)
        watched.judge()
        until(lambda: watched.told("firing") >= WRONG, SOON_SECONDS)
        # What would come too has come when the longest wait of a rule is over.
        settled = time.time() + 15 * 60 / FASTER
        until(lambda: time.time() > settled, SOON_SECONDS)
        assert watched.told("firing") == WRONG

        with celery_worker(*worker, **BEATS):
            for name in (SLOW, FAILING, MISSED):
                assert watched.jobmon("run", name, "--", "sleep", "1") == 0
            watched.judge()
            until(lambda: watched.told("resolved") == WRONG, SOON_SECONDS)
            assert watched.told("firing") == set()
    recorded.close()
