"""A real Alertmanager hears of anomalies: once each, and of their end, whatever happens between."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from jobmon.analysis.checks import Kind
from jobmon.publish import alertmanager as module
from jobmon.publish.alertmanager import (
    AGAIN_SECONDS,
    HOLDS_SECONDS,
    OVER_SECONDS,
    SOON_SECONDS,
    current,
)
from jobmon.publish.alertmanager import Alertmanager as Sender
from jobmon.settings import Settings, load
from jobmon.store import connection
from jobmon.store.anomalies import ShownAnomalies, ShownAnomaly, anomalies
from jobmon.store.judged import understood
from jobmon.store.keys import Keys
from jobmon.store.series import label
from tests.analysis.evaluated import evaluated
from tests.conftest import RedisServer
from tests.databases import made
from tests.prometheus import Alertmanager, Receiver, free_port, running
from tests.publish.receiver import receiver
from tests.serving import PREFIX, Served, until

NOW = 1_800_000_000.0
CONFIG = """
route:
  receiver: test
  group_by: [alertname, command]
  group_wait: 100ms
  group_interval: 200ms
  repeat_interval: 1h
receivers:
  - name: test
    webhook_configs:
      - url: {url}
        send_resolved: true
"""
SLOW = ShownAnomaly(
    command="data:process",
    app="shop",
    environment="production",
    signal="performance_degradation",
    severity="high",
    ratio=1.84,
    summary="data:process took 9.4 min",
    owner="data@shop.example",
    opened_at=NOW - 600,
)


def settings(url: str = "redis://127.0.0.1:1/0", *peers: str, **more: Any) -> Settings:
    given = {"redis.url": url, "alertmanager.urls": list(peers)}
    return load({**given, **{k.replace("__", "."): v for k, v in more.items()}}, environ={})


def told(shown: ShownAnomaly, now: float = NOW, **more: Any) -> dict[str, Any]:
    [alert] = current([shown], now, settings(**more))
    return alert.to_dict(now)


def test_an_alert_is_known_by_labels_that_never_change() -> None:
    labels = {
        "alertname": "JobmonCommandSlow",
        "app": "shop",
        "command": "data:process",
        "severity": "warning",
        "origin": "learned",
    }
    worse = replace(SLOW, severity="critical", ratio=9.0, summary="worse")
    over = replace(worse, resolved_at=NOW - 1)
    for one in (SLOW, worse, over):
        assert told(one)["labels"] == labels
    assert told(SLOW)["startsAt"] == told(worse, NOW + 99)["startsAt"] == "2027-01-15T07:50:00.000Z"


def test_it_goes_on_for_four_minutes_without_a_word_and_ends_when_it_was_over() -> None:
    def ends(one: ShownAnomaly) -> float:
        return datetime.fromisoformat(told(one)["endsAt"]).timestamp()

    assert ends(SLOW) == NOW + HOLDS_SECONDS
    assert ends(replace(SLOW, resolved_at=NOW - 5)) == NOW - 5
    over = replace(SLOW, resolved_at=NOW - OVER_SECONDS)
    assert current([over], NOW, settings()) == []
    assert len(current([over], NOW - 1, settings())) == 1


@pytest.mark.parametrize("command", ["data:\x1b[31mprocess", "zero\u200bwidth", "x" * 300])
def test_the_command_is_called_as_in_the_labels_of_series(command: str) -> None:
    as_in_series = label(command).decode()
    assert told(replace(SLOW, command=command))["labels"]["command"] == as_in_series
    growing = replace(SLOW, command=command, signal="memory_growth")
    assert told(growing)["labels"]["name"] == as_in_series


def test_annotations_say_the_numbers_and_link() -> None:
    given = {
        "alertmanager__runbook_url": "https://runbooks.example/jobmon/",
        "public_url": "https://jobs.example/base",
    }
    alert = told(replace(SLOW, command="a b&c"), **given)
    page = "https://jobs.example/base/api/job-monitor/anomalies?command=a%20b%26c"
    assert alert["generatorURL"] == page
    assert alert["annotations"] == {
        "summary": "data:process took 9.4 min",
        "description": "performance_degradation of a b&c (shop, production), severity high, "
        "1.84 times what is usual.",
        "runbook_url": "https://runbooks.example/jobmon/JobmonCommandSlow.md",
        "dashboard_url": page,
        "owner": "data@shop.example",
    }
    bare = told(replace(SLOW, owner=None))
    assert set(bare["annotations"]) == {"summary", "description"}
    assert "generatorURL" not in bare


def test_every_kind_has_an_alert_but_good_news_that_has_no_rule() -> None:
    names = {}
    for kind in Kind:
        for alert in current([replace(SLOW, signal=kind)], NOW, settings()):
            names[kind] = alert.labels["alertname"]
            is_any = alert.labels["alertname"] == "JobmonAnomaly"
            assert (alert.labels.get("signal") == kind) is is_any
    assert set(Kind) - set(names) == {Kind.FAILURE_RATE_DROP}
    assert names[Kind.MISSED_EXECUTION] == "JobmonCommandMissed"
    assert names[Kind.OVERDUE_RUN] == "JobmonCommandStillRunningTooLong"
    assert names[Kind.MEMORY_GROWTH] == names[Kind.QUEUE_TIME_GROWTH] == "JobmonAnomaly"


def test_anomalies_with_the_same_labels_are_one_alert_until_the_last_is_over() -> None:
    early = replace(SLOW, environment="staging", opened_at=NOW - 900, resolved_at=NOW - 60)
    [alert] = current([early, SLOW], NOW, settings())
    assert (alert.starts_at, alert.ends_at) == (SLOW.opened_at, None)
    [alert] = current([early, replace(SLOW, resolved_at=NOW - 30)], NOW, settings())
    assert (alert.starts_at, alert.ends_at) == (NOW - 900, NOW - 30)


class Shown:
    """What the analysis shows, changed by a test."""

    def __init__(self, store: RedisServer, peers: list[str], **more: Any) -> None:
        self.settings = settings(store.url, *peers, **more)
        self.client = connection.connect(self.settings)
        self._store = ShownAnomalies(self.client, self.settings)
        self.sender = self.another()

    def another(self, again_seconds: float = 0.3) -> Sender:
        """A server that leads from now on."""
        self.sender = Sender(self.client, self.settings, again_seconds)
        return self.sender

    def show(self, *shown: ShownAnomaly) -> None:
        after = {f"{at}": one for at, one in enumerate(shown)}
        self._store.write(self._store.read(), after)

    def until(self, what: Any) -> None:
        """Send until something holds."""

        def holds() -> bool:
            self.sender.turn()
            return bool(what())

        until(holds, 30)

    def turn_for(self, seconds: float, holds: Any) -> None:
        """Send for so long, while something holds."""
        end = time.monotonic() + seconds

        def passed() -> bool:
            self.sender.turn()
            assert holds()
            return time.monotonic() > end

        until(passed, 30)

    def sent(self, peer: int = 0) -> dict[str, int]:
        """Counted so far of a peer, but for what is 0."""
        totals = self.client.hgetall(Keys("jobmon:").delivery_totals)
        counts = understood([{}, {}, {}, {}, totals]).deliveries.alerts
        return {result: many for (of, result), many in counts.items() if of == str(peer) and many}

    def close(self) -> None:
        self.client.close()


@pytest.fixture
def hooks() -> Iterator[Receiver]:
    one = Receiver()
    with running(one):
        yield one


def now_open(**more: Any) -> ShownAnomaly:
    return replace(SLOW, opened_at=time.time() - 60, **more)


@pytest.mark.parametrize(
    "odd",
    [
        *({name: 5} for name in ("command", "app", "environment", "signal", "severity", "summary")),
        *({"owner": 5}, {"command": None}, {"command": "\ud800"}, {"ratio": "x"}, {"ratio": None}),
        *({"opened_at": at} for at in (1e300, 1e12, -1.0, float("nan"), "soon", None, 10**400)),
        *({"resolved_at": at} for at in (1e300, float("inf"), "late")),
    ],
)
def test_an_incident_that_is_odd_hides_no_other(odd: dict[str, Any]) -> None:
    raw = {b"odd": json.dumps({**asdict(SLOW), **odd}).encode()}
    raw[b"one"] = json.dumps(asdict(SLOW)).encode()
    shown = anomalies(raw)
    assert shown == {"one": SLOW}
    [alert] = current(shown.values(), NOW, settings(public_url="https://jobs.example"))
    assert alert.to_dict(NOW)["labels"]["command"] == "data:process"


@pytest.mark.live
def test_an_anomaly_is_told_once_and_resolved_across_a_restart(
    store: RedisServer, tmp_path: Path, hooks: Receiver
) -> None:
    peer = Alertmanager(tmp_path / "am", CONFIG.format(url=hooks.url))
    with running(peer):
        until(lambda: peer.get("/api/v2/status") is not None)
        shown = Shown(store, [peer.url])
        one = now_open()
        shown.show(one)
        shown.until(lambda: hooks.alerts())
        [alert] = hooks.alerts()
        assert alert["status"] == "firing"
        assert alert["labels"]["alertname"] == "JobmonCommandSlow"
        assert alert["annotations"]["summary"] == SLOW.summary
        started = datetime.fromisoformat(alert["startsAt"]).timestamp()
        assert started == pytest.approx(one.opened_at, abs=0.002)
        # Sent again and again, it is no news; nor when it gets worse, or another server leads.
        shown.show(replace(one, severity="critical", ratio=5.0))
        before = shown.sent()["success"]
        shown.turn_for(1.5, lambda: len(hooks.alerts()) == 1)
        shown.another()
        shown.until(lambda: shown.sent()["success"] >= before + 3)
        assert len(hooks.alerts()) == 1
        [active] = peer.get("/api/v2/alerts")
        assert "5 times what is usual" in active["annotations"]["description"]
        shown.another()
        shown.show(replace(one, resolved_at=time.time()))
        shown.until(lambda: hooks.by_status("resolved"))
        assert [told["status"] for told in hooks.alerts()] == ["firing", "resolved"]
        shown.turn_for(1.0, lambda: len(hooks.alerts()) == 2)
        assert set(shown.sent()) == {"success"}
        # It comes back: the same incident.
        shown.show(one)
        shown.until(lambda: hooks.by_status("firing"))
        shown.close()


@pytest.mark.live
def test_each_peer_gets_everything_and_one_that_is_down_holds_up_no_other(
    store: RedisServer, tmp_path: Path, hooks: Receiver
) -> None:
    own = Receiver()
    first = Alertmanager(tmp_path / "first", CONFIG.format(url=hooks.url))
    second = Alertmanager(tmp_path / "second", CONFIG.format(url=own.url))
    nobody = f"http://127.0.0.1:{free_port()}"
    with running(first, second, own), receiver() as silent:
        silent.wait_seconds = 60
        shown = Shown(store, [nobody, f"http://127.0.0.1:{silent.port}", first.url, second.url])
        shown.show(now_open())
        shown.until(lambda: hooks.alerts() and own.alerts())
        assert hooks.by_status("firing") == own.by_status("firing")
        shown.until(lambda: shown.sent(0).get("error"))
        assert shown.sent(2).get("success")
        assert not shown.sent(0).get("success")
        # One that was away is told in a later round.
        second.stop()
        shown.show(now_open(), now_open(command="other"))
        shown.until(lambda: len(hooks.by_status("firing")) == 2)
        second.restart()
        shown.until(lambda: len(own.by_status("firing")) == 2)
        silent.wait_seconds = 0
        shown.close()


def analyze(server: Served) -> None:
    """As soon as it can."""

    def is_done() -> bool:
        return server.client.post(f"{PREFIX}/analysis").status_code == 200

    until(is_done)


@pytest.mark.live
def test_a_server_tells_of_a_slow_run_goes_on_after_a_restart_and_resolves(
    store: RedisServer, tmp_path: Path, hooks: Receiver
) -> None:
    peer = Alertmanager(tmp_path / "am", CONFIG.format(url=hooks.url))
    with (
        running(peer),
        made("sqlite", tmp_path) as database,
        evaluated(database, store) as fleet,
    ):
        fleet.steady(many=20)
        fleet.judge_all()
        fleet.run(seconds=30.0)
        given = {"DATABASE_URL": database.url, "ALERTMANAGER_URLS": peer.url}
        with Served(store.url, **given) as server:
            analyze(server)
            until(lambda: hooks.by_status("firing"))
            [alert] = hooks.alerts()
            assert alert["labels"] == {
                "alertname": "JobmonCommandSlow",
                "app": "default",
                "command": "data:process",
                "severity": "warning",
                "origin": "learned",
            }
            assert 'jobmon_alerts_sent_total{app="default",peer="0",result="success"} ' in (
                server.client.get("/metrics").text
            )
        for at in range(3):
            fleet.now += 60
            fleet.run(seconds=10.0 + 0.01 * at)
        with Served(store.url, **given) as server:
            analyze(server)
            until(lambda: hooks.by_status("resolved"))
        assert [one["status"] for one in hooks.alerts()] == ["firing", "resolved"]


def test_what_is_refused_is_counted_and_what_fails_is_sent_again(store: RedisServer) -> None:
    with receiver() as peer:
        peer.status = 400
        shown = Shown(store, [f"http://127.0.0.1:{peer.port}"])
        shown.show(now_open(), now_open(command="b"))
        shown.until(lambda: shown.sent().get("dropped") == 2)
        peer.status = 503
        shown.until(lambda: shown.sent().get("error"))
        peer.status = 200
        shown.until(lambda: shown.sent().get("success"))
        peer.status, peer.headers = 302, {"Location": f"http://127.0.0.1:{peer.port}/elsewhere"}
        many = shown.sent()["dropped"]
        shown.until(lambda: shown.sent()["dropped"] > many)
        assert {one.path for one in peer.requests} == {"/api/v2/alerts"}
        shown.close()


def test_news_that_was_not_taken_is_sent_again_within_seconds(store: RedisServer) -> None:
    with receiver() as peer:
        shown = Shown(store, [f"http://127.0.0.1:{peer.port}"])
        shown.another(AGAIN_SECONDS)

        def until_counted(result: str) -> None:
            before = shown.sent().get(result, 0)
            shown.until(lambda: shown.sent().get(result, 0) > before)

        one = now_open()
        for news in (one, replace(one, resolved_at=time.time())):
            peer.status = 503
            shown.show(news)
            until_counted("error")
            peer.status = 200
            until_counted("success")
        assert len(peer.requests) == 4
        shown.turn_for(SOON_SECONDS + 1, lambda: len(peer.requests) == 4)
        shown.close()


def test_nothing_is_sent_while_nothing_is_open(store: RedisServer) -> None:
    with receiver() as peer:
        shown = Shown(store, [f"http://127.0.0.1:{peer.port}"])
        shown.turn_for(0.7, lambda: not peer.requests)
        shown.close()


@pytest.mark.parametrize(
    ("user", "given", "header"),
    [
        ("", {}, None),
        ("ann:p%40ss@", {}, "Basic YW5uOnBAc3M="),
        ("", {"alertmanager__bearer_token": "sesame"}, "Bearer sesame"),
    ],
)
def test_who_sends_is_said_in_a_header_and_the_path_may_have_a_prefix(
    store: RedisServer, user: str, given: dict[str, str], header: str | None
) -> None:
    with receiver() as peer:
        shown = Shown(store, [f"http://{user}127.0.0.1:{peer.port}/am/"], **given)
        shown.show(now_open())
        shown.until(lambda: peer.requests)
        request = peer.requests[0]
        assert request.path == "/am/api/v2/alerts"
        assert request.headers.get("Authorization") == header
        assert request.headers["Host"] == f"127.0.0.1:{peer.port}"
        shown.close()


def test_severities_and_names_are_those_of_the_rules_that_ship() -> None:
    folder = Path(__file__).parents[2] / "alerts/prometheus"
    text = "".join(path.read_text() for path in sorted(folder.glob("*.rules.yaml")))
    if not text:
        pytest.skip("no rules here")
    for name, severity in {*module._ALERTS.values(), module._ANY}:
        _, found, rest = text.partition(f"- alert: {name}\n")
        assert found, name
        assert rest.partition("severity: ")[2].partition("\n")[0] == severity
