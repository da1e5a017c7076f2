"""``jobmon rules`` as a process, and its rules in a real promtool and Prometheus."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from jobmon.cli.rules import LEARNED, LITERAL, literal
from jobmon.cli.shipped import folder
from jobmon.settings import Settings, load
from jobmon.store import connection
from jobmon.store.bounds import Bound, Bounds, BoundStore, Learned
from tests.conftest import RedisServer
from tests.prometheus import binary
from tests.serving import Recorded, environment

SETTINGS = load({"app": "shop"}, environ={})
KNOWN = Learned(
    bounds=Bounds(Bound(29.0), Bound(90.0), Bound(0.11), Bound(25.0), Bound(110.0)), runs=20
)
ODD = 'we "ird" \\ {{ $labels }} \u2028 – \U0001f600'


def written(
    commands: dict[str, Learned], queues: dict[tuple[str, ...], Bound], settings: Settings
) -> str:
    shipped = (folder("alerts") / "prometheus" / LEARNED).read_text()
    return literal(commands, queues, settings, shipped)


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
    text = written(
        {"b": KNOWN, "a": declared, "few": few, ODD: KNOWN, "none": Learned(bounds=Bounds())},
        {("rq", "high"): Bound(5.1), ("celery", "low"): Bound(600.0)},
        SETTINGS,
    )
    (tmp_path / LITERAL).write_text(text)
    said = checked(tmp_path / LITERAL)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "SUCCESS: 19 rules found" in said.stdout
    assert text.index("jobmon-literal a") < text.index("jobmon-literal b")
    selector = r"{app=\"shop\", command=\"a\"}"
    assert (
        f"max by (app, command) (jobmon_command_last_duration_seconds{selector}) > 7230.5" in text
    )
    assert "few" not in text.replace("fewer", "")
    numbers = (" > 90", " < 29", " > 0.11", " > 110 or", " < 25", " > 5.1", " > 600")
    assert all(number in text for number in numbers)


def test_names_are_those_of_the_shipped_rules() -> None:
    text = written({"a": KNOWN}, {("rq", "high"): Bound(5.1)}, SETTINGS)
    shipped = (folder("alerts") / "prometheus" / LEARNED).read_text()
    names = re.findall(r"- (?:alert|record): (.*)", text)
    assert sorted(names) == sorted(re.findall(r"- (?:alert|record): (.*)", shipped))


def test_links_to_runbooks_are_those_of_the_settings() -> None:
    address = "https://wiki.example/jobmon"
    own = load({"app": "shop", "alertmanager.runbook_url": address}, environ={})
    links = re.findall(r'runbook_url: "?([^"\n]+)/\w+\.md', written({"a": KNOWN}, {}, own))
    assert set(links) == {address}
    assert len(links) == 6


def test_the_same_bounds_make_the_same_bytes_and_none_is_fine(
    tmp_path: Path,
) -> None:
    one = written({"a": KNOWN, "b": KNOWN}, {}, SETTINGS)
    assert one == written({"b": KNOWN, "a": KNOWN}, {}, SETTINGS)
    (tmp_path / LITERAL).write_text(written({}, {}, SETTINGS))
    assert checked(tmp_path / LITERAL).returncode == 0


@pytest.mark.live
def test_prometheus_fires_by_the_numbers(tmp_path: Path) -> None:
    (tmp_path / LITERAL).write_text(written({ODD: KNOWN, "calm": KNOWN}, {}, SETTINGS))
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
        assert written == {LITERAL, *shipped} - {LEARNED}
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
    alone = rules("export", str(target))
    assert alone.returncode == 0
    assert f"remove {target / LITERAL}: " in alone.stdout
    assert f"remove {target / LEARNED}: " in rules("export", str(target), "--literal", **own).stdout
    assert rules("export", str(target), "--literal").returncode == 69


@pytest.mark.live
def test_a_declared_maximum_holds_before_anything_was_learned(
    store: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "jobmon.toml").write_text(
        f"""
redis.url = "{store.url}"
[analyze_mode.commands."data:process"]
maximum_run_time_seconds = 7230
[analyze_mode.commands.quiet]
maximum_run_time_seconds = 60
mute = true
[analyze_mode.commands."known*"]
maximum_run_time_seconds = 100
"""
    )
    settings = load({"redis.url": store.url}, environ={})
    with connection.connect(settings) as client:
        kept = BoundStore(client, settings)
        kept.write({("default", "production", "known"): KNOWN})
    recorded = Recorded(store)
    recorded.run("known")
    recorded.close()
    own = {"JOB_MONITOR_CONFIG": str(tmp_path / "jobmon.toml")}
    done = rules("export", str(tmp_path), "--literal", JOB_MONITOR_REDIS_URL=store.url, **own)
    assert (done.returncode, done.stderr) == (0, "")
    text = (tmp_path / LITERAL).read_text()
    assert text.count(r"command=\"data:process\"}) > 7230") == 2
    assert text.count(r"command=\"known\"}) > 100") == 2
    assert "jobmon-literal quiet" not in text
    assert checked(tmp_path / LITERAL).returncode == 0


@pytest.mark.live
def test_promtool_checks_what_ships_or_what_is_named(tmp_path: Path) -> None:
    binary("promtool")
    bad = tmp_path / "bad.yaml"
    bad.write_text("groups: [{name: a, rules: [{record: b, expr: 'sum('}]}]\n")
    said = rules("check", str(bad))
    assert said.returncode == 1
    assert "parse error" in said.stderr
    good = tmp_path / LITERAL
    good.write_text(written({"a": KNOWN}, {}, SETTINGS))
    assert rules("check", str(good)).returncode == 0
    if any((folder("alerts") / "prometheus").glob("*.rules.yaml")):
        assert rules("check").returncode == 0


@pytest.mark.live
def test_without_promtool_nothing_is_checked_and_that_is_said(tmp_path: Path) -> None:
    said = rules("check", PATH=str(tmp_path))
    assert said.returncode == 2
    assert "promtool is not on PATH" in said.stderr
