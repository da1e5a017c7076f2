"""``jobmon rules`` as a process, and its rules in a real promtool and Prometheus."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from jobmon.cli.rules import LITERAL, literal
from jobmon.cli.shipped import folder
from jobmon.settings import load
from jobmon.store import connection
from jobmon.store.bounds import Bound, Bounds, BoundStore, Learned
from tests.conftest import RedisServer
from tests.prometheus import binary
from tests.serving import environment

SETTINGS = load({"app": "shop"}, environ={})
KNOWN = Learned(
    bounds=Bounds(Bound(29.0), Bound(90.0), Bound(0.11), Bound(25.0), Bound(110.0)), runs=20
)
ODD = 'we "ird" \\ {{ $labels }} \u2028 – \U0001f600'


def rules(*options: str, **given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", "rules", *options],
        env={**environment(REDIS_URL="redis://127.0.0.1:1"), **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def checked(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [binary("promtool"), "check", "rules", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_numbers_stand_where_the_shipped_rules_have_series(tmp_path: Path) -> None:
    declared = Learned(bounds=KNOWN.bounds, maximum_seconds=7230.5, runs=99)
    few = Learned(bounds=KNOWN.bounds, runs=19)
    text = literal(
        {"b": KNOWN, "a": declared, "few": few, ODD: KNOWN, "none": Learned(bounds=Bounds())},
        {("rq", "high"): Bound(5.1), ("celery", "low"): Bound(600.0)},
        SETTINGS,
    )
    (tmp_path / LITERAL).write_text(text)
    said = checked(tmp_path / LITERAL)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "SUCCESS: 17 rules found" in said.stdout
    assert text.index("jobmon-literal a") < text.index("jobmon-literal b")
    selector = r"{app=\"shop\", command=\"a\"}"
    assert (
        f"max by (app, command) (jobmon_command_last_duration_seconds{selector}) > 7230.5" in text
    )
    assert "few" not in text.replace("fewer", "")
    numbers = (" > 90", " < 29", " > 0.11", " > 110 or", " < 25", " > 5.1", " > 600")
    assert all(number in text for number in numbers)


def test_names_are_those_of_the_shipped_rules() -> None:
    text = literal({"a": KNOWN}, {("rq", "high"): Bound(5.1)}, SETTINGS)
    names = [line.split()[-1] for line in text.splitlines() if "- alert:" in line]
    assert len(names) == len(set(names)) == 6
    path = folder("alerts") / "prometheus/jobmon-learned.rules.yaml"
    if not path.exists():
        pytest.skip("no rules here")
    shipped = path.read_text()
    assert {name for name in names if f"- alert: {name}\n" not in shipped} == set()


def test_the_same_bounds_make_the_same_bytes_and_none_an_empty_file(tmp_path: Path) -> None:
    one = literal({"a": KNOWN, "b": KNOWN}, {}, SETTINGS)
    assert one == literal({"b": KNOWN, "a": KNOWN}, {}, SETTINGS)
    (tmp_path / LITERAL).write_text(literal({}, {}, SETTINGS))
    assert checked(tmp_path / LITERAL).returncode == 0


@pytest.mark.live
def test_prometheus_fires_by_the_numbers(tmp_path: Path) -> None:
    (tmp_path / LITERAL).write_text(literal({ODD: KNOWN, "calm": KNOWN}, {}, SETTINGS))
    selectors = [
        (f'app="shop", command={json.dumps(name, ensure_ascii=False)}, instance="{one}"', seconds)
        for name, seconds in ((ODD, 95), ("calm", 60))
        for one in ("s1", "s2")
    ]
    test = tmp_path / "test.json"
    document = {
        "rule_files": [LITERAL],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {
                        "series": f"jobmon_command_last_duration_seconds{{{selector}}}",
                        "values": f"{seconds}x5",
                    }
                    for selector, seconds in selectors
                ],
                "alert_rule_test": [
                    {
                        "eval_time": "3m",
                        "alertname": "JobmonCommandSlow",
                        "exp_alerts": [
                            {
                                "exp_labels": {
                                    "app": "shop",
                                    "command": ODD,
                                    "severity": "warning",
                                    "origin": "learned",
                                },
                                "exp_annotations": {
                                    "summary": f"{ODD} took 1m 35s.",
                                    "description": "In shop it is 95, beyond the bound that "
                                    "jobmon has learned.",
                                    "dashboard_url": "https://grafana.example/d/jobmon-command"
                                    f"?var-app=shop&var-command={quote_plus(ODD)}",
                                    "runbook_url": "https://runbooks.example/jobmon/"
                                    "JobmonCommandSlow.md",
                                },
                            }
                        ],
                    }
                ],
            }
        ],
    }
    test.write_text(json.dumps(document, ensure_ascii=False).replace("\u2028", r"\u2028"))
    said = subprocess.run(
        [binary("promtool"), "test", "rules", str(test)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.live
def test_rules_are_written_and_what_has_not_changed_is_not_touched(
    store: RedisServer, tmp_path: Path
) -> None:
    settings = load({"redis.url": store.url}, environ={})
    own = {"JOB_MONITOR_REDIS_URL": store.url}
    target = tmp_path / "new/rules"
    with connection.connect(settings) as client:
        kept = BoundStore(client, settings)
        kept.write({("default", "production", "a"): KNOWN})
        done = rules("export", str(target), "--literal", **own)
        assert (done.returncode, done.stderr) == (0, "")
        written = {path.name for path in target.iterdir()}
        shipped = {path.name for path in (folder("alerts") / "prometheus").glob("*.rules.yaml")}
        assert written == {LITERAL, *shipped}
        before = {path: path.stat().st_mtime_ns for path in target.iterdir()}
        again = rules("export", str(target), "--literal", **own)
        assert again.stdout.count("unchanged") == len(written)
        assert {path: path.stat().st_mtime_ns for path in target.iterdir()} == before
        moved = Learned(bounds=Bounds(duration_upper=Bound(120.0)), runs=20)
        kept.write({("default", "production", "a"): moved})
        assert (
            f"wrote {target / LITERAL}" in rules("export", str(target), "--literal", **own).stdout
        )
        assert " > 120" in (target / LITERAL).read_text()
    # The shipped ones alone need no store.
    assert rules("export", str(target)).returncode == 0
    assert rules("export", str(target), "--literal").returncode == 69


@pytest.mark.live
def test_promtool_checks_what_ships_or_what_is_named(tmp_path: Path) -> None:
    binary("promtool")
    bad = tmp_path / "bad.yaml"
    bad.write_text("groups: [{name: a, rules: [{record: b, expr: 'sum('}]}]\n")
    said = rules("check", str(bad))
    assert said.returncode == 1
    assert "parse error" in said.stderr
    good = tmp_path / LITERAL
    good.write_text(literal({"a": KNOWN}, {}, SETTINGS))
    assert rules("check", str(good)).returncode == 0
    if any((folder("alerts") / "prometheus").glob("*.rules.yaml")):
        assert rules("check").returncode == 0


@pytest.mark.live
def test_without_promtool_nothing_is_checked_and_that_is_said(tmp_path: Path) -> None:
    said = rules("check", PATH=str(tmp_path))
    assert said.returncode == 2
    assert "promtool is not on PATH" in said.stderr
