"""Analyses that are made by themselves: when all is judged again, whatever happens to the store."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis

from jobmon.analysis.rounds import Rounds
from tests.analysis.evaluated import HOUR, evaluated
from tests.conftest import RedisServer
from tests.databases import made


def test_what_cannot_be_shown_is_not_judged_again(store: RedisServer, tmp_path: Path) -> None:
    with made("sqlite", tmp_path) as database, evaluated(database, store) as fleet:
        fleet.steady(many=3)
        rounds = Rounds(fleet.settings)
        fleet.client.set("jobmon:anomalies:shown", "somebody's")
        with pytest.raises(redis.ResponseError):
            rounds.scheduled(HOUR)
        fleet.client.delete("jobmon:anomalies:shown")
        report = rounds.scheduled(HOUR)
        assert report is not None
        assert report.commands_analyzed == 0
        rounds.close()


def test_one_that_the_time_was_too_short_for_is_no_analysis_of_all(
    store: RedisServer, tmp_path: Path
) -> None:
    with made("sqlite", tmp_path) as database, evaluated(database, store) as fleet:
        fleet.steady(many=3)
        fleet.judge_all()
        rounds = Rounds(fleet.settings)
        for deadline in (time.monotonic() - 1, None, time.monotonic() + 60):
            report = rounds.all(deadline=deadline) if deadline else rounds.scheduled(HOUR)
            assert report is not None
            assert report.commands_analyzed == (deadline is None or report.is_complete)
        report = rounds.scheduled(HOUR)
        assert report is not None
        assert report.commands_analyzed == 0
        rounds.close()
