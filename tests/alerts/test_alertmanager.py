"""The configuration of Alertmanager that ships, in a real one, and what its messages say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.alerts.rules import ALERTS, UNIT_TESTS, alerts, loaded
from tests.prometheus import Alertmanager, binary, running
from tests.serving import until

SHIPPED = ALERTS / "alertmanager/alertmanager.yml"
CONFIG: dict[str, Any] = yaml.safe_load(SHIPPED.read_text())


def amtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [binary("amtool"), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_amtool_finds_no_fault() -> None:
    assert "13 inhibit rules" in amtool("check-config", SHIPPED)


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=JobmonQueueNoWorkers", "severity=critical"], "on-call"),
        (["alertname=JobmonCommandFailed", "severity=warning"], "team"),
        (["alertname=JobmonAllSlotsBusy", "severity=info"], "nobody"),
    ],
)
def test_alerts_go_to_whom_their_severity_concerns(labels: list[str], receiver: str) -> None:
    routed = amtool("config", "routes", "test", "--config.file", SHIPPED, *labels)
    assert routed.split()[0] == receiver


def labels_of_alerts() -> dict[str, set[str]]:
    """Labels that each alert has in the unit tests; of several kinds, those that all have."""
    found: dict[str, set[str]] = {}
    for path in UNIT_TESTS:
        for group in loaded(path)["tests"]:
            for test in group.get("alert_rule_test", ()):
                for expected in test["exp_alerts"]:
                    labels = set(expected["exp_labels"])
                    name = test["alertname"]
                    found[name] = found.get(name, labels) & labels
    # Known by its absence, it may have no label app.
    found["JobmonServerDown"].add("app")
    return found


@pytest.mark.parametrize("rule", CONFIG["inhibit_rules"], ids=str)
def test_an_inhibit_rule_names_alerts_that_have_its_labels(rule: dict[str, Any]) -> None:
    known = labels_of_alerts()
    assert set(known) == set(alerts())
    for side in ("source_matchers", "target_matchers"):
        named = re.fullmatch(r'alertname =~? "(.+)"', rule[side][0])
        assert named, rule
        names = [name for name in known if re.fullmatch(named[1], name)]
        assert len(names) >= len(named[1].split("|"))
        for name in names:
            assert set(rule["equal"]) <= known[name], name


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """A real one, with what ships."""
    folder = tmp_path_factory.mktemp("alertmanager")
    shutil.copy(SHIPPED.parent / "jobmon.tmpl", folder)
    started = Alertmanager(folder, SHIPPED.read_text())
    with running(started):
        until(lambda: started.get("/api/v2/status") is not None)
        yield started


def muted(alertmanager: Alertmanager, *active: dict[str, str]) -> dict[str, bool]:
    """Whether each alert that is active is muted, by all its labels but the application."""
    app = f"app-{uuid.uuid4()}"
    posted = [{"labels": {"app": app, **labels}} for labels in active]
    address = f"{alertmanager.url}/api/v2/alerts"
    assert httpx.post(address, json=posted, trust_env=False).status_code == 200

    def held() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = alertmanager.get("/api/v2/alerts", filter=f'app="{app}"')
        return found

    until(lambda: len(held()) == len(active))
    return {
        " ".join(value for name, value in sorted(one["labels"].items()) if name != "app"): bool(
            one["status"]["inhibitedBy"]
        )
        for one in held()
    }


@pytest.mark.live
def test_without_a_server_that_alone_is_told(alertmanager: Alertmanager) -> None:
    assert muted(
        alertmanager,
        {"alertname": "JobmonServerDown"},
        {"alertname": "JobmonNoLeader"},
        {"alertname": "JobmonAnomaly", "command": "nightly", "signal": "memory_growth"},
    ) == {
        "JobmonServerDown": False,
        "JobmonNoLeader": True,
        "JobmonAnomaly nightly memory_growth": True,
    }


@pytest.mark.live
def test_what_is_worse_mutes_what_it_implies_for_the_same_command(
    alertmanager: Alertmanager,
) -> None:
    assert muted(
        alertmanager,
        {"alertname": "JobmonCommandFailingRepeatedly", "command": "nightly"},
        {"alertname": "JobmonCommandFailed", "command": "nightly"},
        {"alertname": "JobmonCommandFailed", "command": "hourly"},
        {"alertname": "JobmonCommandNotSucceeding", "command": "nightly"},
        {"alertname": "JobmonCommandMissed", "command": "weekly"},
        {"alertname": "JobmonCommandMissed", "command": "weekly", "origin": "learned"},
        {"alertname": "JobmonCommandMissed", "command": "daily", "origin": "learned"},
        {"alertname": "JobmonCommandNotSucceeding", "command": "weekly"},
    ) == {
        "JobmonCommandFailingRepeatedly nightly": False,
        "JobmonCommandFailed nightly": True,
        "JobmonCommandFailed hourly": False,
        "JobmonCommandNotSucceeding nightly": True,
        "JobmonCommandMissed weekly": False,
        "JobmonCommandMissed weekly learned": True,
        "JobmonCommandMissed daily learned": False,
        "JobmonCommandNotSucceeding weekly": True,
    }


@pytest.mark.live
def test_an_anomaly_is_muted_by_the_alert_that_says_the_same(alertmanager: Alertmanager) -> None:
    assert muted(
        alertmanager,
        {"alertname": "JobmonCommandSlow", "command": "nightly"},
        {"alertname": "JobmonAnomaly", "command": "nightly", "signal": "performance_degradation"},
        {"alertname": "JobmonAnomaly", "command": "nightly", "signal": "memory_growth"},
        {"alertname": "JobmonAnomaly", "command": "hourly", "signal": "performance_degradation"},
    ) == {
        "JobmonCommandSlow nightly": False,
        "JobmonAnomaly nightly performance_degradation": True,
        "JobmonAnomaly nightly memory_growth": False,
        "JobmonAnomaly hourly performance_degradation": False,
    }


@pytest.mark.live
def test_a_queue_that_stands_still_mutes_that_it_grows(alertmanager: Alertmanager) -> None:
    mail = {"engine": "rq", "queue": "mail"}
    assert muted(
        alertmanager,
        {"alertname": "JobmonQueueNoWorkers", **mail},
        {"alertname": "JobmonQueueNotDraining", **mail},
        {"alertname": "JobmonQueueBacklogGrowing", **mail},
        {"alertname": "JobmonQueueBacklogGrowing", "engine": "celery", "queue": "mail"},
    ) == {
        "JobmonQueueNoWorkers rq mail": False,
        "JobmonQueueNotDraining rq mail": True,
        "JobmonQueueBacklogGrowing rq mail": True,
        "JobmonQueueBacklogGrowing celery mail": False,
    }


def rendered(template: str, folder: Path, **data: Any) -> str:
    """A message, as amtool prints it."""
    path = folder / "data.json"
    path.write_text(
        json.dumps(
            {
                "receiver": "team",
                "externalURL": "https://alertmanager.example",
                "groupLabels": {"app": "shop", "alertname": "JobmonCommandFailed"},
                "commonLabels": {"severity": "warning"},
                **data,
            }
        )
    )
    return amtool(
        *("template", "render", f"--template.glob={SHIPPED.parent / '*.tmpl'}"),
        *(f'--template.text={{{{ template "{template}" . }}}}', f"--template.data={path}"),
    ).removesuffix("\n")


def alert(status: str, command: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": "JobmonCommandFailed", "command": command},
        "annotations": {
            "summary": f"The last run of {command} failed.",
            "description": "It did not complete.",
            "runbook_url": "https://runbooks.example/jobmon/JobmonCommandFailed.md",
            "dashboard_url": "https://grafana.example/d/jobmon-command",
        },
        "startsAt": "2026-11-30T03:00:00Z",
        "endsAt": "2026-11-30T03:20:00Z",
    }


def test_a_message_says_what_is_wrong_in_its_first_line(tmp_path: Path) -> None:
    one, two = alert("firing", "nightly"), alert("firing", "hourly")
    over = alert("resolved", "nightly")
    title = "jobmon.title"
    assert (
        rendered(title, tmp_path, status="firing", alerts=[one])
        == "WARNING: The last run of nightly failed. [shop]"
    )
    assert (
        rendered(title, tmp_path, status="firing", alerts=[one, two, over])
        == "WARNING: JobmonCommandFailed, 2 at once [shop]"
    )
    assert (
        rendered(title, tmp_path, status="resolved", alerts=[over])
        == "Over: The last run of nightly failed. [shop]"
    )


def test_a_message_says_since_when_and_where_to_look(tmp_path: Path) -> None:
    text = rendered(
        "jobmon.text",
        tmp_path,
        status="firing",
        alerts=[alert("firing", "nightly"), alert("resolved", "hourly")],
    )
    assert text.rstrip("\n") == (
        "The last run of nightly failed.\n"
        "It did not complete.\n"
        "Since 2026-11-30 03:00:00 UTC\n"
        "What to do: https://runbooks.example/jobmon/JobmonCommandFailed.md\n"
        "Dashboard: https://grafana.example/d/jobmon-command\n"
        "\n"
        "Over: The last run of hourly failed.\n"
        "2026-11-30 03:00:00 to 03:20:00 UTC\n"
        "\n"
        "Silence: https://alertmanager.example/#/alerts?receiver=team"
    )
