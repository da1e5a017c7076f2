"""The rules: what promtool says, and what it does not see."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jobmon.store.reaper import LOST_WORKER_KEPT_SECONDS
from tests.alerts import rules
from tests.alerts.rules import ALERTS, REPLICAS, RULES, UNIT_TESTS, labels_of_metrics, uses
from tests.prometheus import binary

EXPRESSIONS = {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules.rules()}
NAMES = sorted(rules.alerts())
ANNOTATIONS = {"summary", "description", "runbook_url", "dashboard_url"}
DASHBOARDS = "overview|commands|command|jobs|queues|workers|anomalies|health"
VARIABLES = {"app", "engine", "queue", "command", "job_name"}


def test_promtool_finds_no_fault() -> None:
    checked = subprocess.run(
        [binary("promtool"), "check", "rules", *map(str, RULES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.name)
def test_promtool_proves_each_alert(path: Path) -> None:
    proved = subprocess.run(
        [binary("promtool"), "test", "rules", path.name],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert proved.returncode == 0, proved.stdout + proved.stderr


def proofs(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each test of an alert, after the test group that it is in."""
    return [
        (group, test)
        for path in UNIT_TESTS
        for group in rules.loaded(path)["tests"]
        for test in group.get("alert_rule_test", ())
        if test["alertname"] == name
    ]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_shown_to_fire_and_not_to_fire(name: str) -> None:
    found = proofs(name)
    assert any(test["exp_alerts"] for _, test in found)
    assert any(not test["exp_alerts"] for _, test in found)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"JobmonServerDown"}))
def test_it_is_shown_to_fire_once_where_two_servers_are_scraped(name: str) -> None:
    def instances(group: dict[str, Any]) -> set[str]:
        return set(re.findall(r'instance="(\w+)"', str(group["input_series"])))

    assert any(test["exp_alerts"] and len(instances(group)) > 1 for group, test in proofs(name))


@pytest.mark.parametrize("name", NAMES)
def test_it_tells_what_is_wrong_and_where_to_look(name: str) -> None:
    alert = rules.alerts()[name]
    assert alert["labels"]["severity"] in ("info", "warning", "critical")
    annotations = alert["annotations"]
    assert set(annotations) == ANNOTATIONS
    assert annotations["runbook_url"] == f"https://runbooks.example/jobmon/{name}.md"
    page, _, variables = annotations["dashboard_url"].partition("?")
    assert re.fullmatch(f"https://grafana.example/d/jobmon-({DASHBOARDS})", page)
    wanted = dict(part.split("=", 1) for part in variables.split("&"))
    assert "var-app" in wanted
    assert {key.removeprefix("var-") for key in wanted} <= VARIABLES
    for value in wanted.values():
        assert re.fullmatch(r"\{\{ \$labels\.\w+ \| urlquery \}\}", value)
    assert annotations["summary"].rstrip("}").endswith((".", "$labels.signal "))
    assert annotations["description"].endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_its_text_names_labels_that_it_has(name: str) -> None:
    labels = {
        label
        for _, test in proofs(name)
        for expected in test["exp_alerts"]
        for label in expected["exp_labels"]
    }
    named = set(re.findall(r"\$labels\.(\w+)", str(rules.alerts()[name]["annotations"])))
    assert named <= labels


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_metric_and_label_is_in_the_catalogue(name: str) -> None:
    known = labels_of_metrics()
    found = list(uses(EXPRESSIONS[name]))
    told = re.findall(r'alertname=~?"([^"]+)"', EXPRESSIONS[name])
    assert found or told
    assert {one for names in told for one in names.split("|")} <= rules.alerts().keys()
    for use in found:
        assert use.metric in known
        labels = known[use.metric]
        assert use.matched <= labels, use
        for call in use.around:
            if call.clause.startswith("by"):
                assert call.labels <= labels, use


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_two_servers_that_are_both_scraped_count_once(name: str) -> None:
    for use in uses(EXPRESSIONS[name]):
        if ":" in use.metric:
            continue
        names = [call.name for call in use.around]
        if "sum" in names:
            inner = names.index("sum")
            folded = use.around[:inner]
            assert any(call.name == "max" and call.clause == REPLICAS for call in folded), use
        else:
            assert "max" in names or "absent" in names, use


@pytest.mark.parametrize("name", NAMES)
def test_a_restart_of_the_only_server_does_not_end_what_took_long_to_fire(name: str) -> None:
    alert = rules.alerts()[name]
    waits = rules.seconds(alert.get("for", "0s")) >= 300
    # It is about the absence of servers.
    assert ("keep_firing_for" in alert) == (waits and name != "JobmonServerDown")


def test_a_worker_that_died_is_seen_for_longer_than_its_alert_waits() -> None:
    waits = rules.seconds(rules.alerts()["JobmonWorkerDown"]["for"])
    assert waits * 2 < LOST_WORKER_KEPT_SECONDS


def test_learned_alerts_wait_for_a_baseline() -> None:
    groups = rules.loaded(ALERTS / "prometheus/jobmon-learned.rules.yaml")["groups"]
    for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        assert rule["labels"]["origin"] == "learned"
        if rule["alert"].startswith("JobmonCommand"):
            assert "max by (app, command) (jobmon_baseline_runs) >= 20" in rule["expr"]


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        ("sum by (app) (rate(jobmon_transitions_total[5m]))", False),
        (f"sum by (app) (max {REPLICAS} (rate(jobmon_transitions_total[5m])))", True),
        (f"max {REPLICAS} (sum by (app) (rate(jobmon_transitions_total[5m])))", False),
        ("jobmon_dead_letters_kept > 0", False),
    ],
)
def test_the_check_of_sums_knows_a_bad_one(expression: str, verdict: bool) -> None:
    EXPRESSIONS["probe"] = expression
    try:
        if verdict:
            test_two_servers_that_are_both_scraped_count_once("probe")
        else:
            with pytest.raises(AssertionError):
                test_two_servers_that_are_both_scraped_count_once("probe")
    finally:
        del EXPRESSIONS["probe"]
