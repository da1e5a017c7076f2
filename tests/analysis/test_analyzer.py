"""Evaluations from a real database and a real store: what is found, told, and told once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobmon.analysis.checks import Kind
from tests.analysis.evaluated import HOUR, Evaluated, evaluated
from tests.conftest import RedisServer
from tests.databases import Database


@pytest.fixture
def fleet(own_database: Database, store: RedisServer) -> Iterator[Evaluated]:
    with evaluated(own_database, store) as one:
        yield one


def test_a_run_that_took_three_times_as_long_is_found_told_and_told_once(fleet: Evaluated) -> None:
    fleet.steady(many=20)
    fleet.judge_all()
    slow = fleet.run(seconds=30.0)
    for _ in range(2):
        report = fleet.analyze()
        assert report.errors == []
        [found] = report.anomalies
        assert (found.anomaly_type, found.process_id) == (Kind.PERFORMANCE_DEGRADATION, slow)
        assert report.counts()["performance_degradations"] == 1
        [event] = fleet.events()
        assert (event["state"], event["anomaly_id"]) == ("opened", found.id)
    assert event["latest_metric"]["total_time"] == pytest.approx(30.0)
    [row] = fleet.incidents()
    assert (row["state"], row["occurrences"], row["process_id"]) == ("open", 1, slow)
