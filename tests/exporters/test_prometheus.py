"""A real Prometheus with what ships, live servers before it, a real Alertmanager behind it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobmon.model import Outcome
from tests.conftest import RedisServer
from tests.prometheus import Alertmanager, Prometheus, binary, running
from tests.serving import METRICS, TOKENS, Recorded, Served, until

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "exporters/prometheus"
ALERTMANAGER = ROOT / "alerts/alertmanager/alertmanager.yml"


@pytest.mark.parametrize("name", ["prometheus.yml", "replicas.yml"])
def test_promtool_finds_no_fault(name: str) -> None:
    checked = subprocess.run(
        [binary("promtool"), "check", "config", str(FOLDER / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "3 rule files found" in checked.stdout


def test_the_operator_is_told_of_both_pages_and_of_a_token() -> None:
    monitor = yaml.safe_load((FOLDER / "servicemonitor.yaml").read_text())
    assert (monitor["apiVersion"], monitor["kind"]) == (
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
    )
    endpoints = monitor["spec"]["endpoints"]
    assert [one["path"] for one in endpoints] == ["/metrics", "/metrics/self"]
    assert all(one["authorization"]["credentials"]["key"] for one in endpoints)
    # Both have the labels of the same pod and port, so without a job of its own for one of them
    # they would be the same series of `up`.
    shipped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    (own,) = [one["job_name"] for one in shipped if one.get("metrics_path") == "/metrics/self"]
    assert [one.get("relabelings") for one in endpoints] == [
        None,
        [{"targetLabel": "job", "replacement": own}],
    ]


@contextmanager
def prometheus(
    folder: Path, name: str, *servers: Served, alertmanager: str = "", token: str = ""
) -> Iterator[Prometheus]:
    """What ships, but for addresses, and sooner."""
    folder.mkdir()
    text = (FOLDER / name).read_text()
    if token:
        (folder / "token").write_text(token)
        text = text.replace("# authorization", "authorization")
        text = text.replace("#   credentials_file", "  credentials_file")
    config: dict[str, Any] = yaml.safe_load(text)
    config["global"] = dict.fromkeys(config["global"], "200ms")
    for place, path in enumerate(config["rule_files"]):
        shipped = FOLDER / path
        (folder / shipped.name).write_text(shipped.read_text().replace("interval: 1m", ""))
        config["rule_files"][place] = shipped.name
    for target in config["alerting"]["alertmanagers"]:
        target["static_configs"] = [{"targets": [alertmanager] if alertmanager else []}]
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [one.url.removeprefix("http://") for one in servers]}]
        if token:
            job["authorization"]["credentials_file"] = str(folder / "token")
    started = Prometheus(folder, yaml.safe_dump(config), "--enable-feature=exemplar-storage")
    with running(started):
        yield started


def health(asked: Prometheus) -> list[str]:
    """Of each rule."""
    answer = asked.get("/api/v1/rules")
    groups = answer["data"]["groups"] if answer else []
    return [rule["health"] for group in groups for rule in group["rules"]]


@pytest.mark.live
def test_it_scrapes_with_a_token_and_evaluates_every_rule(
    redis_server: RedisServer, recorded: Recorded, tmp_path: Path
) -> None:
    recorded.run().jobs(2, Outcome.FAILED)
    with (
        Served(redis_server.url, AUTH_TOKENS=TOKENS) as server,
        prometheus(tmp_path / "prometheus", "prometheus.yml", server, token=METRICS) as asked,
    ):
        until(lambda: asked.value("sum(up)") == 2)
        until(lambda: bool(asked.samples("app_command:jobmon_command_runs:increase1d")))
        until(lambda: set(health(asked)) == {"ok"})
        assert len(health(asked)) > 40


@pytest.mark.live
def test_a_run_that_fails_is_told_once_by_two_servers_and_is_over_with_the_next(
    redis_server: RedisServer, recorded: Recorded, tmp_path: Path
) -> None:
    recorded.run("nightly").end(Outcome.FAILED, exit_code=1)
    (tmp_path / "alertmanager").mkdir()
    shutil.copy(ALERTMANAGER.parent / "jobmon.tmpl", tmp_path / "alertmanager")
    alertmanager = Alertmanager(tmp_path / "alertmanager", ALERTMANAGER.read_text())

    def told() -> list[dict[str, Any]]:
        filters = {"filter": 'alertname="JobmonCommandFailed"'}
        return alertmanager.get("/api/v2/alerts", **filters) or []

    with (
        running(alertmanager),
        Served(redis_server.url) as one,
        Served(redis_server.url) as other,
        prometheus(
            tmp_path / "prometheus",
            "replicas.yml",
            one,
            other,
            alertmanager=alertmanager.url.removeprefix("http://"),
        ) as asked,
    ):
        until(lambda: asked.value('count(up{job="jobmon"} == 1)') == 2)
        until(lambda: bool(told()))
        (alert,) = told()
        assert alert["labels"] == {
            "alertname": "JobmonCommandFailed",
            "app": "default",
            "command": "nightly",
            "severity": "warning",
        }
        assert alert["annotations"]["summary"] == "The last run of nightly failed."
        assert [receiver["name"] for receiver in alert["receivers"]] == ["team"]
        recorded.run("nightly").end()
        until(lambda: not told())
