"""Families of anomalies: what goes on, and what was, as the analysis tells the store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobmon.analysis.rounds import Rounds
from jobmon.history import database
from jobmon.store import connection
from jobmon.store.anomalies import MOST_SHOWN, SHOWN_SECONDS, ShownAnomalies, ShownAnomaly
from jobmon.store.keys import Keys
from tests.analysis.evaluated import OWN, Evaluated, evaluated
from tests.conftest import RedisServer
from tests.databases import Database, made
from tests.metrics.conftest import Sampled
from tests.serving import Recorded

SLOW = {"scope": "command", "name": "data:process", "signal": "performance_degradation"}
ONE = ShownAnomaly(
    command="data:process",
    app="default",
    environment="production",
    signal="performance_degradation",
    severity="high",
    ratio=3.0,
    summary="it is slow",
    owner=None,
    opened_at=1.0,
)
OPENED = {"scope": "command", "signal": "performance_degradation"}


@pytest.fixture
def fleet(recorded: Recorded, store: RedisServer, own_database: Database) -> Iterator[Evaluated]:
    with evaluated(own_database, store) as one:
        yield one


def analyze(fleet: Evaluated) -> None:
    """As another server each time."""
    rounds = Rounds(fleet.settings)
    try:
        assert rounds.all() is not None
    finally:
        rounds.close()


def test_an_anomaly_is_active_counted_once_and_inactive_for_an_hour(
    fleet: Evaluated, sampled: Sampled
) -> None:
    fleet.steady(many=20)
    fleet.judge_all()
    analyze(fleet)
    assert sampled("jobmon_anomaly_active", **SLOW) is None
    assert sampled("jobmon_anomalies_total", **OPENED) == 0
    fleet.run(seconds=30.0)
    for _ in range(3):
        analyze(fleet)
        assert sampled("jobmon_anomaly_active", **SLOW) == 1
        assert sampled("jobmon_anomaly_score", **SLOW) == pytest.approx(3.0, rel=0.1)
        assert sampled("jobmon_anomalies_total", **OPENED) == 1
    for _ in range(3):
        fleet.now += 60
        fleet.run(seconds=10.0)
        analyze(fleet)
    assert sampled("jobmon_anomaly_active", **SLOW) == 0
    assert sampled("jobmon_anomaly_score", **SLOW) is None
    analyze(fleet)
    assert sampled("jobmon_anomaly_active", **SLOW) == 0
    shown = ShownAnomalies(fleet.client, fleet.settings)
    [(name, over)] = shown.read().items()
    assert over.resolved_at is not None
    long_over = replace(over, resolved_at=over.resolved_at - SHOWN_SECONDS)
    shown.write(shown.read(), {name: long_over})
    assert sampled("jobmon_anomaly_active", **SLOW) is None
    assert sampled("jobmon_anomalies_total", **OPENED) == 1


def test_what_was_found_holds_as_long_as_analyses_go_on(fleet: Evaluated, sampled: Sampled) -> None:
    name = Keys("jobmon:").shown_anomalies
    fleet.steady(many=20)
    fleet.judge_all()
    fleet.run(seconds=30.0)
    analyze(fleet)
    assert 0 < fleet.client.ttl(name) <= 3 * 3600
    fleet.client.expire(name, 10)
    analyze(fleet)
    assert fleet.client.ttl(name) > 10
    # As time does without any; the next one shows it again.
    fleet.client.delete(name)
    assert sampled("jobmon_anomaly_active", **SLOW) is None
    analyze(fleet)
    assert sampled("jobmon_anomaly_active", **SLOW) == 1


def test_the_history_that_was_there_before_is_not_counted_nor_is_anything_twice(
    fleet: Evaluated, sampled: Sampled
) -> None:
    fleet.steady(many=20)
    fleet.judge_all()
    fleet.run(seconds=30.0)
    fleet.analyze()
    analyze(fleet)
    assert sampled("jobmon_anomalies_total", **OPENED) == 0
    shown = ShownAnomalies(fleet.client, fleet.settings)
    last = shown.counted()
    assert last is not None
    # Two that count at once: one of them does.
    assert shown.count(last, last + 1, {"performance_degradation": 1})
    assert not shown.count(last, last + 1, {"performance_degradation": 1})
    assert sampled("jobmon_anomalies_total", **OPENED) == 1
    # A history that is another one begins anew, and the counter goes on.
    with fleet.engine.begin() as writing:
        writing.execute(sa.delete(OWN.anomaly_events))
    analyze(fleet)
    assert shown.counted() == 0
    assert sampled("jobmon_anomalies_total", **OPENED) == 1


def test_what_is_muted_or_pending_is_not_shown(
    recorded: Recorded, store: RedisServer, tmp_path: Path
) -> None:
    commands = {"quiet": {"mute": True}, "patient": {"failures_to_open": 2}}
    given = {"analyze_mode__commands": commands}
    with made("sqlite", tmp_path) as one, evaluated(one, store, **given) as fleet:
        for command in ("quiet", "patient", "loud"):
            fleet.steady(command, many=20)
        fleet.judge_all()
        for command in ("quiet", "patient", "loud"):
            fleet.run(command, seconds=30.0)
        analyze(fleet)
        shown = ShownAnomalies(fleet.client, fleet.settings)
        assert [one.command for one in shown.read().values()] == ["loud"]
        # Muted once it is open, it is shown no more; its end is told to who was told of it.
        muted = {"analyze_mode__commands": {**commands, "loud": {"mute": True}}}
    with evaluated(one, store, **muted) as fleet:
        analyze(fleet)
        assert shown_now(fleet) == {}


def shown_now(fleet: Evaluated) -> dict[str, ShownAnomaly]:
    return ShownAnomalies(fleet.client, fleet.settings).read()


def test_the_end_of_what_was_muted_meanwhile_is_told(store: RedisServer, tmp_path: Path) -> None:
    with made("sqlite", tmp_path) as one:
        with evaluated(one, store) as fleet:
            fleet.steady(many=20)
            fleet.judge_all()
            fleet.run(seconds=30.0)
            fleet.analyze()
            now = fleet.now
        muted = {"analyze_mode__commands": {"data:process": {"mute": True}}}
        with evaluated(one, store, **muted) as fleet:
            for at in range(3):
                fleet.now = now + 60 * (at + 1)
                fleet.run(seconds=10.0)
                fleet.analyze_new()
            assert [state for state, _ in fleet.turns()] == ["opened", "resolved"]


def test_five_hundred_are_shown_and_names_of_several_environments_once(
    recorded: Recorded, sampled: Sampled
) -> None:
    with connection.connect(recorded.settings) as client:
        shown = ShownAnomalies(client, recorded.settings)
        over = replace(ONE, environment="staging", ratio=9.0, resolved_at=time.time())
        shown.write({}, {"a": ONE, "b": over})
        client.hset("jobmon:anomalies:shown", "broken", b"[")
        client.hset("jobmon:anomalies:shown", "partial", b'{"command": "x"}')
        assert shown.read() == {"a": ONE, "b": over}
        assert sampled("jobmon_anomaly_active", **SLOW) == 1
        assert sampled("jobmon_anomaly_score", **SLOW) == 3


def test_the_newest_are_shown_of_more_than_there_is_room_for(
    fleet: Evaluated, sampled: Sampled
) -> None:
    fleet.steady(many=20)
    fleet.judge_all()
    fleet.run(seconds=30.0)
    fleet.analyze()
    [row] = fleet.incidents()
    del row["id"]
    with database.writing(fleet.engine) as writing:
        more = [
            {**row, "anomaly_id": f"a{at}", "process_id": f"p{at}", "command_name": f"c{at}"}
            for at in range(MOST_SHOWN)
        ]
        writing.execute(sa.insert(OWN.anomalies), more)
    analyze(fleet)
    assert len(shown_now(fleet)) == MOST_SHOWN
