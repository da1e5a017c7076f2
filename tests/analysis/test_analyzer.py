"""Evaluations from a real database and a real store: what is found, told, and told once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import ANY

import pytest
import sqlalchemy as sa

from jobmon.analysis import analyzer, turns
from jobmon.analysis.checks import Kind
from jobmon.analysis.discoveries import limit
from jobmon.analysis.evaluation import Evaluation, evaluate
from jobmon.analysis.schedules import Schedule
from jobmon.history import rows, runs
from jobmon.history.fence import FencedError
from jobmon.history.rows import Row
from jobmon.history.runs import Window
from jobmon.history.write import Batch
from jobmon.settings import SettingsError
from jobmon.store.bounds import Bounds, BoundStore, Learned
from tests.analysis.evaluated import HOUR, OWN, Evaluated, evaluated
from tests.conftest import RedisServer
from tests.databases import Database

WEEK = 168 * HOUR


def _times(schedule: Schedule, until: float) -> list[float]:
    """Of the last two hundred days."""
    found = [schedule.after(until - 200 * 24 * HOUR)]
    while found[-1] <= until:
        found.append(schedule.after(found[-1]))
    return found[:-1]


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


def test_runs_like_those_before_them_are_nothing_to_tell(fleet: Evaluated) -> None:
    fleet.steady(many=40)
    fleet.judge_all()
    fleet.run(seconds=10.1)
    report = fleet.analyze()
    assert (report.commands_analyzed, report.anomalies, report.further) == (1, [], [])
    assert fleet.incidents() == []
    assert fleet.analyze_new().commands_analyzed == 0


@pytest.mark.parametrize(
    ("usual", "strange", "kind"),
    [
        ({}, {"seconds": 2.0}, Kind.PERFORMANCE_IMPROVEMENT),
        ({}, {"jobs": 200, "seconds": 40.0}, Kind.WORKLOAD_SPIKE),
        ({}, {"jobs": 12, "seconds": 2.4}, Kind.WORKLOAD_DROP),
        ({"jobs": 200, "failed": 2}, {"jobs": 200, "failed": 60}, Kind.FAILURE_RATE_SPIKE),
        ({}, {"peak": 400_000_000}, Kind.MEMORY_GROWTH),
    ],
)
def test_each_kind_is_found(
    fleet: Evaluated, usual: dict[str, int], strange: dict[str, float], kind: Kind
) -> None:
    fleet.steady(many=30, **usual)
    fleet.judge_all()
    fleet.run(**strange)
    report = fleet.analyze()
    found = [*report.anomalies, *report.further]
    assert [one.anomaly_type for one in found] == [kind]
    assert fleet.turns() == [("opened", kind)]
    assert report.counts()["total_anomalies"] == (kind is not Kind.MEMORY_GROWTH)
    assert sum(list(report.counts().values())[1:5]) == len(report.anomalies)
    assert sum(list(report.counts().values())[5:]) == len(report.anomalies)


def test_one_cause_that_shows_twice_says_so(fleet: Evaluated) -> None:
    fleet.steady(many=30)
    fleet.judge_all()
    fleet.run(jobs=200, seconds=400.0)
    found = {one.anomaly_type: one.also for one in fleet.analyze().anomalies}
    assert found[Kind.WORKLOAD_SPIKE] == (Kind.PERFORMANCE_DEGRADATION,)
    assert found[Kind.PERFORMANCE_DEGRADATION] == (Kind.WORKLOAD_SPIKE,)


def test_it_is_over_after_three_normal_runs(fleet: Evaluated) -> None:
    fleet.steady(many=20)
    fleet.judge_all()
    fleet.run(seconds=30.0)
    fleet.analyze()
    for at in range(3):
        assert fleet.turns() == [("opened", Kind.PERFORMANCE_DEGRADATION)]
        fleet.now += 60
        fleet.run(seconds=10.0 + 0.01 * at)
        fleet.analyze_new()
    assert [state for state, _ in fleet.turns()] == ["opened", "resolved"]
    [row] = fleet.incidents()
    assert (row["state"], row["resolution"]) == ("resolved", "recovered")
    assert fleet.events()[1]["anomaly_current"] == pytest.approx(0.2, rel=0.05)
    fleet.now += 60
    fleet.run(seconds=31.0)  # within five runs
    fleet.analyze_new()
    [row] = fleet.incidents()
    assert (row["state"], row["occurrences"]) == ("open", 2)
    assert [state for state, _ in fleet.turns()] == ["opened", "resolved", "opened"]


@pytest.mark.parametrize("ahead", [2.0, 365 * 24 * HOUR])
def test_a_clock_that_is_ahead_hides_no_later_run(fleet: Evaluated, ahead: float) -> None:
    fleet.now -= HOUR
    fleet.steady(many=30)
    fleet.judge_all()
    fleet.run(seconds=30.0, ahead=ahead)
    fleet.analyze_new()
    for seconds in (10.0, 10.1, 9.9, 10.0, 10.1, 9.9, 90.0):
        fleet.now += 60
        fleet.run(seconds=seconds)
        fleet.analyze_new()
    assert [state for state, _ in fleet.turns()] == ["opened", "resolved", "opened"]
    [found] = fleet.analyze().anomalies
    assert found.anomaly_metrics["current"] == pytest.approx(90.0 / 50)


def test_what_stays_becomes_the_new_normal_and_is_told_of_twice_in_all(fleet: Evaluated) -> None:
    fleet.steady(many=40)
    fleet.judge_all()
    for at in range(40):
        fleet.now += 60
        fleet.run(seconds=25.0 + 0.1 * (at % 5))
        fleet.analyze_new()
    assert [state for state, _ in fleet.turns()] == ["opened", "resolved"]
    [row] = fleet.incidents()
    assert row["resolution"] == "accepted"


def test_many_new_runs_at_once_come_to_the_same_as_one_by_one(fleet: Evaluated) -> None:
    fleet.steady(many=20)
    fleet.judge_all()
    fleet.runs("data:process", [{"seconds": s} for s in (30.0, 31.0, 10.0, 10.1, 9.9)], every=60)
    fleet.now += 3600
    fleet.analyze_new()
    assert [state for state, _ in fleet.turns()] == ["opened", "resolved"]
    assert [(row["occurrences"], row["resolution"]) for row in fleet.incidents()] == [
        (2, "recovered")
    ]


def test_faster_ends_slower(fleet: Evaluated) -> None:
    fleet.steady(many=20)
    fleet.judge_all()
    for seconds in (30.0, 2.0):
        fleet.now += 60
        fleet.run(seconds=seconds)
        fleet.analyze_new()
    assert sorted(fleet.turns()[1:]) == [
        ("opened", Kind.PERFORMANCE_IMPROVEMENT),
        ("resolved", Kind.PERFORMANCE_DEGRADATION),
    ]
    assert fleet.incidents()[0]["resolution"] == "superseded"


def test_a_new_command_has_not_enough_history(fleet: Evaluated) -> None:
    fleet.steady(many=3)
    report = fleet.analyze()
    assert report.anomalies == []
    [few] = report.insufficient
    assert (few.command_name, few.runs, few.needed) == ("data:process", 2, 5)


def test_commands_of_one_name_in_two_applications_are_two(fleet: Evaluated) -> None:
    fleet.steady(many=20)
    fleet.steady(many=20, app="other", seconds=30.0)
    fleet.judge_all()
    fleet.run(seconds=30.0)
    fleet.run(seconds=30.0, app="other")
    report = fleet.analyze()
    assert report.commands_analyzed == 2
    assert [one.app for one in report.anomalies] == ["default"]


def test_one_command_alone_can_be_meant(fleet: Evaluated) -> None:
    for name in ("a", "b"):
        fleet.steady(name, many=20)
        fleet.judge_all()
    for name in ("a", "b"):
        fleet.run(name, seconds=30.0)
    report = fleet.analyze(commands=["b"], record=False)
    assert [one.command_name for one in report.anomalies] == ["b"]
    assert fleet.events() == []
    assert fleet.analyze_new().events == 2


class TestChance:
    """How many tests there are in all."""

    def test_what_was_judged_before_hides_nothing_that_is_new(
        self, fleet: Evaluated, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(30):
            fleet.steady(f"other:{number}", many=12)
        fleet.steady(many=20)
        fleet.judge_all()
        fleet.run(seconds=30.0)
        seen: list[int] = []

        def counted(p_values: Iterable[float]) -> float:
            among = list(p_values)
            seen.append(len(among))
            return limit(among)

        monkeypatch.setattr(analyzer, "limit", counted)
        assert fleet.analyze(record=False).commands_analyzed == 31
        [alone] = fleet.analyze_new().anomalies
        assert fleet.analyze().anomalies == [replace(alone, detected_at=ANY)]
        whole, new, none = seen
        assert whole == new > none == 0


def test_of_a_burst_none_is_left_out(fleet: Evaluated) -> None:
    fleet.steady(many=40)
    fleet.judge_all()
    fleet.runs("data:process", [{"seconds": 30.0}, *[{"seconds": 10.0}] * 60], every=60)
    fleet.analyze_new()
    assert [state for state, _ in fleet.turns()] == ["opened", "resolved"]


class TestSilence:
    """Starts that do not come."""

    def test_it_is_told_once_then_that_it_has_stopped_then_that_it_runs_again(
        self, fleet: Evaluated
    ) -> None:
        fleet.now -= 1.7 * HOUR
        [*_, last] = fleet.steady(many=60, every=HOUR)
        fleet.judge_all()
        for _ in range(2):
            report = fleet.analyze()
            [missed] = report.missed
            assert (missed.command_name, missed.process_id) == ("data:process", last)
            assert missed.hours_since_last_run == pytest.approx(2.7, abs=0.05)
            assert missed.expected_interval_hours == pytest.approx(1.0, abs=0.05)
            assert report.counts()["total_anomalies"] == len(report.anomalies) == 0
            assert report.warnings == ["Missed scheduled executions detected: data:process"]
        assert fleet.turns() == [("opened", Kind.MISSED_EXECUTION)]
        fleet.age(timedelta(hours=3))
        for _ in range(2):
            [missed] = fleet.analyze().missed
            assert missed.missed_in_a_row == 3
            assert "stopped" in missed.summary
        assert [state for state, _ in fleet.turns()] == ["opened", "escalated"]
        fleet.start()
        assert fleet.analyze_new().missed == []
        assert [state for state, _ in fleet.turns()] == ["opened", "escalated", "resolved"]
        [row] = fleet.incidents()
        assert (row["resolution"], row["occurrences"]) == ("started", 3)

    @pytest.mark.parametrize("days", [8, 40])  # of which 30 are read
    def test_what_nobody_declared_is_given_up_and_does_not_come_back(
        self, fleet: Evaluated, days: int
    ) -> None:
        fleet.now -= 1.7 * HOUR
        fleet.steady(many=60, every=HOUR)
        fleet.judge_all()
        fleet.analyze()
        fleet.age(timedelta(days=days))
        for _ in range(2):
            report = fleet.analyze()
            assert (report.missed, report.warnings, report.errors) == ([], [], [])
            assert [state for state, _ in fleet.turns()] == ["opened", "resolved"]
        [row] = fleet.incidents()
        assert (row["state"], row["resolution"]) == ("resolved", "given up")
        fleet.start()
        fleet.analyze()
        assert len(fleet.turns()) == 2

    @pytest.mark.parametrize("days", [8, 40])
    def test_what_is_declared_is_not_given_up(
        self, own_database: Database, store: RedisServer, days: int
    ) -> None:
        wanted = {"data:process": {"schedule": "every 1 hour"}}
        with evaluated(own_database, store, analyze_mode__commands=wanted) as fleet:
            fleet.now -= 1.7 * HOUR
            fleet.steady(many=60, every=HOUR)
            fleet.judge_all()
            fleet.analyze()
            fleet.age(timedelta(days=days))
            fleet.analyze()
            [row] = fleet.incidents()
            assert (row["state"], row["resolution"]) == ("open", None)

    def test_it_is_nobodys_business_where_that_is_switched_off(
        self, own_database: Database, store: RedisServer
    ) -> None:
        off = {"analyze_mode__schedule_analysis_enabled": False}
        with evaluated(own_database, store, **off) as fleet:
            fleet.now -= 6 * HOUR
            fleet.steady(many=60)
            report = fleet.analyze()
            assert (report.missed, fleet.events()) == ([], [])

    def test_what_is_due_is_found_without_a_new_run(self, fleet: Evaluated) -> None:
        fleet.steady(many=60, every=2.0)
        fleet.judge_all()
        assert fleet.analyze().missed == []
        assert fleet.analyze_new().commands_analyzed == 0
        late_at = min(fleet.analyzer._due_at.values())
        fleet.analyzer._due_at = dict.fromkeys(fleet.analyzer._due_at, 0.0)
        assert fleet.analyze_new().commands_analyzed == 1
        assert min(fleet.analyzer._due_at.values()) == pytest.approx(late_at, abs=5)


class TestOverdue:
    """Runs that do not end."""

    def test_it_is_told_once_and_over_with_the_run(self, fleet: Evaluated) -> None:
        fleet.steady(many=30)
        fleet.judge_all()
        running = fleet.start(ago=120.0)
        for _ in range(2):
            [found] = fleet.analyze().further
            assert (found.anomaly_type, found.process_id) == (Kind.OVERDUE_RUN, running)
            assert found.trace_id == "ab" * 16
        assert fleet.turns() == [("opened", Kind.OVERDUE_RUN)]
        assert fleet.analyze_new().commands_analyzed == 1
        fleet.finish(running)
        fleet.analyze_new()
        assert [state for state, _ in fleet.turns()] == ["opened", "resolved"]
        assert fleet.incidents()[0]["resolution"] == "ended"

    def test_one_that_runs_as_long_as_usual_is_looked_at_again_in_time(
        self, fleet: Evaluated
    ) -> None:
        fleet.steady(many=30, seconds=600.0)
        fleet.judge_all()
        running = fleet.start(ago=100.0)
        assert fleet.analyze_new().further == []
        assert fleet.analyze_new().commands_analyzed == 0
        assert fleet.analyzer._overdue_at[running] > fleet.now + 500


class TestRare:
    """Commands of which 30 days hold too few runs, or none."""

    def test_a_weekly_one_is_judged_and_its_start_is_missed(self, fleet: Evaluated) -> None:
        fleet.now -= HOUR
        fleet.steady(many=10, every=WEEK)
        fleet.judge_all()
        slow = fleet.run(seconds=30.0)
        report = fleet.analyze()
        assert [one.process_id for one in report.anomalies] == [slow]
        assert (report.insufficient, report.missed) == ([], [])
        fleet.age(timedelta(days=8))
        [missed] = fleet.analyze().missed
        assert missed.expected_interval_hours == pytest.approx(168, abs=2)

    def test_a_monthly_one_is_missed_though_its_last_run_is_older_than_what_is_kept_in_view(
        self, own_database: Database, store: RedisServer
    ) -> None:
        due_at = datetime.now(UTC) - timedelta(hours=10)
        line = f"{due_at.minute} {due_at.hour} {due_at.day} * *"
        wanted: dict[str, object] = {
            "analyze_mode__commands": {"data:monthly": {"schedule": line}},
            "analyze_mode__retention_days": 20,  # a month may have 28
        }
        with evaluated(own_database, store, **wanted) as fleet:
            *_, before, _ = _times(Schedule.parse(line, "UTC"), fleet.now)
            fleet.run("data:monthly", ago=fleet.now - before)
            fleet.run("data:other", ago=fleet.now - before)
            learned = BoundStore(fleet.client, fleet.settings)
            learned.write(
                {
                    ("default", "production", f"data:{name}"): Learned(
                        bounds=Bounds(), started_at=before
                    )
                    for name in ("monthly", "other")
                }
            )
            report = fleet.analyze()
            assert [one.command_name for one in report.missed] == ["data:monthly"]
            assert report.commands_analyzed == 1
            assert fleet.analyze_new().commands_analyzed == 0
            [(key, known)] = learned.commands().items()
            assert (key[-1], known.expected_after) == ("data:monthly", pytest.approx(before))

    def test_one_that_has_stopped_long_ago_is_awaited_no_more(self, fleet: Evaluated) -> None:
        fleet.steady(many=40, every=24 * HOUR)
        fleet.judge_all()
        fleet.age(timedelta(days=31))
        report = fleet.analyze()
        assert (report.commands_analyzed, report.missed, report.unknown) == (0, [], [])
        assert fleet.analyze(commands=["data:process"]).unknown == ["data:process"]


def test_one_that_runs_rarely_is_watched_whatever_its_namesake_does(
    own_database: Database, store: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MOST_RUNS", 30)
    with evaluated(own_database, store) as fleet:
        fleet.now -= 30 * HOUR
        fleet.steady(many=10, every=12 * HOUR, app="rare")
        fleet.now += 30 * HOUR
        fleet.steady(many=40, every=0.25 * HOUR, app="busy")
        fleet.judge_all()
        for commands in (None, ["data:process"]):
            fleet.analyzer = analyzer.Analyzer(fleet.engine, fleet.client, fleet.settings)
            assert [one.app for one in fleet.analyze(commands=commands).missed] == ["rare"]


class TestWishes:
    """What is configured for single commands."""

    def test_of_one_that_is_muted_nobody_hears(
        self, own_database: Database, store: RedisServer
    ) -> None:
        wanted = {"data:*": {"mute": True, "owner": "the data team"}}
        with evaluated(own_database, store, analyze_mode__commands=wanted) as fleet:
            fleet.steady(many=20)
            fleet.judge_all()
            fleet.run(seconds=30.0)
            [found] = fleet.analyze().anomalies
            assert found.owner == "the data team"
            [row] = fleet.incidents()
            assert (row["state"], row["owner"], row["notified_at"]) == ("open", found.owner, None)
            assert fleet.events() == []

    def test_how_many_runs_open_and_resolve_is_theirs_to_say(
        self, own_database: Database, store: RedisServer
    ) -> None:
        wanted = {"data:process": {"failures_to_open": 2, "successes_to_resolve": 1}}
        with evaluated(own_database, store, analyze_mode__commands=wanted) as fleet:
            fleet.steady(many=60)
            fleet.judge_all()
            said: list[int] = []
            for seconds in (30.0, 10.0, 30.0, 31.0, 10.0):
                fleet.now += 60
                fleet.run(seconds=seconds)
                said.append(fleet.analyze_new().events)
            assert said == [0, 0, 0, 1, 1]

    def test_thresholds_are_theirs(self, own_database: Database, store: RedisServer) -> None:
        wanted = {"data:process": {"performance_threshold": 4}}
        with evaluated(own_database, store, analyze_mode__commands=wanted) as fleet:
            fleet.steady(many=20)
            fleet.steady("other", many=20)
            fleet.judge_all()
            fleet.run(seconds=30.0)
            fleet.run("other", seconds=30.0)
            assert [one.command_name for one in fleet.analyze().anomalies] == ["other"]

    def test_what_is_switched_off_by_0_is_nothing_to_tell(
        self, own_database: Database, store: RedisServer
    ) -> None:
        names = ("performance_threshold", "job_count_threshold", "failed_jobs_threshold")
        off = {f"analyze_mode__{name}_lower": 0 for name in names}
        with evaluated(own_database, store, **off) as fleet:
            fleet.steady(many=20)
            fleet.judge_all()
            fleet.run(seconds=1.0)
            report = fleet.analyze()
            assert (report.errors, report.anomalies) == ([], [])
            fleet.now += 60
            fleet.run(seconds=30.0)
            [found] = fleet.analyze_new().anomalies
            assert found.anomaly_type == Kind.PERFORMANCE_DEGRADATION

    def test_margin_and_maximum_are_two_things(
        self, own_database: Database, store: RedisServer
    ) -> None:
        wanted = {
            "margin": {"schedule": "every 1 hour", "start_margin_seconds": 600},
            "maximum": {"schedule": "every 1 hour", "maximum_run_time_seconds": 60},
        }
        with evaluated(own_database, store, analyze_mode__commands=wanted) as fleet:
            fleet.now -= 0.25 * HOUR
            fleet.steady("margin", many=3)
            fleet.steady("maximum", many=3)
            running = fleet.start("maximum", ago=70.0)
            report = fleet.analyze()
            assert [one.command_name for one in report.missed] == ["margin"]
            [late] = report.further
            assert (late.process_id, late.anomaly_type) == (running, Kind.OVERDUE_RUN)

    def test_a_schedule_that_is_none_is_refused_at_once(
        self, own_database: Database, store: RedisServer
    ) -> None:
        wanted = {"data:process": {"schedule": "61 * * * *"}}
        with (
            pytest.raises(SettingsError, match=r"data:process: .*61"),
            evaluated(own_database, store, analyze_mode__commands=wanted),
        ):
            pass


class TestTrouble:
    """Nothing twice, nothing lost."""

    def test_of_a_transaction_that_is_killed_nothing_is_left_and_the_next_makes_up_for_it(
        self, fleet: Evaluated
    ) -> None:
        fleet.steady(many=20)
        fleet.judge_all()
        fleet.run(seconds=30.0)

        class KilledError(Exception):
            pass

        def kill(_connection: sa.Connection) -> None:
            raise KilledError

        sa.event.listen(fleet.engine, "commit", kill)
        with pytest.raises(KilledError):
            fleet.analyze()
        sa.event.remove(fleet.engine, "commit", kill)
        assert (fleet.incidents(), fleet.events()) == ([], [])
        assert fleet.analyze_new().events == 1
        assert fleet.analyze_new().commands_analyzed == 0

    def test_an_analyzer_that_was_frozen_writes_nothing(self, fleet: Evaluated) -> None:
        fleet.steady(many=20)
        fleet.judge_all()
        fleet.run(seconds=30.0)
        fleet.analyzer.analyze_new(8)
        fleet.now += 60
        fleet.run(seconds=30.0)
        with pytest.raises(FencedError):
            fleet.analyzer.analyze_new(7)
        assert len(fleet.events()) == 1
        assert fleet.incidents()[0]["occurrences"] == 1

    def test_a_run_that_changes_while_it_is_judged_is_judged_again(
        self, fleet: Evaluated, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fleet.steady(many=20)
        fleet.judge_all()
        late = fleet.row("data:process", ago=0.0, seconds=10.0)
        fleet.write(Batch(runs=[late]))

        def evaluate_late(*given: Any) -> Evaluation:
            monkeypatch.undo()
            again = fleet.row(
                "data:process", ago=0.0, seconds=30.0, process_id=str(late["process_id"])
            )
            fleet.write(Batch(runs=[again]))
            return evaluate(*given)

        monkeypatch.setattr(turns, "evaluate", evaluate_late)
        assert fleet.analyze_new().events == 0
        assert fleet.analyze_new().events == 1
        assert fleet.analyze_new().commands_analyzed == 0

    def test_a_run_that_is_copied_again_counts_once(self, fleet: Evaluated) -> None:
        fleet.steady(many=20)
        fleet.judge_all()
        slow = fleet.run(seconds=30.0)
        for seconds in (30.0, 32.0):
            fleet.analyze_new()
            again = fleet.row("data:process", ago=0.0, seconds=seconds, process_id=slow)
            fleet.write(Batch(runs=[again]))
        assert fleet.analyze_new().events == 0
        [row] = fleet.incidents()
        assert (row["occurrences"], row["current"]) == (1, pytest.approx(32 / 50))
        for at in range(3):
            fleet.now += 60
            fleet.run(seconds=10.0 + 0.01 * at)
            fleet.analyze_new()
        fleet.write(Batch(runs=[fleet.row("data:process", ago=180, seconds=33, process_id=slow)]))
        assert fleet.analyze_new().commands_analyzed == 1
        assert [state for state, _ in fleet.turns()] == ["opened", "resolved"]
        [row] = fleet.incidents()
        assert (row["state"], row["occurrences"]) == ("resolved", 1)

    def test_one_command_that_cannot_be_judged_keeps_nobody_up(
        self, fleet: Evaluated, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("bad", "good"):
            fleet.steady(name, many=20)
            fleet.judge_all()
        for name in ("bad", "good"):
            fleet.run(name, seconds=30.0)

        def refuse_bad(window: Window, *given: Any) -> Evaluation:
            if window.key.command == "bad":
                raise ZeroDivisionError("of no command's concern")
            return evaluate(window, *given)

        monkeypatch.setattr(turns, "evaluate", refuse_bad)
        report = fleet.analyze()
        assert [one.command_name for one in report.anomalies] == ["good"]
        assert report.errors == ["bad: its runs could not be judged"]
        monkeypatch.undo()
        assert fleet.analyze_new().events == 1

    def test_one_command_that_the_database_refuses_keeps_nobody_up(self, fleet: Evaluated) -> None:
        for name in ("bad", "good"):
            fleet.steady(name, many=20)
            fleet.judge_all()
        for name in ("bad", "good"):
            fleet.run(name, seconds=30.0)

        @sa.event.listens_for(fleet.engine, "before_cursor_execute", retval=True)
        def spoil(_conn: Any, _cursor: Any, statement: str, given: Any, *_: Any) -> tuple[str, Any]:
            if statement.startswith("INSERT INTO anomalies") and "bad" in str(given):
                return "INSERT INTO anomalies (id) VALUES (NULL, 1)", ()
            return statement, given

        report = fleet.analyze()
        assert report.errors == ["bad: what was found could not be written"]
        assert {row["command_name"] for row in fleet.incidents()} == {"good"}

    def test_what_is_not_judged_in_time_is_an_error_and_judged_the_next_time(
        self, fleet: Evaluated
    ) -> None:
        fleet.steady(many=20)
        fleet.judge_all()
        fleet.run(seconds=30.0)
        report = fleet.analyze(deadline=time.monotonic() - 1)
        assert (report.commands_analyzed, len(report.errors)) == (0, 1)
        assert fleet.analyze_new().events == 1


def test_runs_that_are_new_and_too_many_are_judged_from_the_newest(
    own_database: Database, store: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MOST_RUNS", 30)
    with evaluated(own_database, store) as fleet:
        fleet.steady(many=45)
        fleet.runs("other", [{"seconds": 10.0}] * 3, every=40 * 24 * HOUR)
        assert fleet.analyze().errors == []
        with fleet.engine.connect() as connection:
            left = sa.select(OWN.command_metrics.c.command_name)
            left = left.where(OWN.command_metrics.c.analyzed_at.is_(None))
            assert connection.execute(left).all() == []


def test_the_mean_time_in_queues_is_kept_with_the_run(fleet: Evaluated) -> None:
    fleet.steady(many=8)
    run = fleet.run()
    jobs: list[Row] = []
    for at, waited in enumerate((1.0, 2.0, None)):
        record: dict[str, Any] = {"attempt": 1, "command_name": "data:process"}
        if waited is not None:
            record["queue_time"] = waited
        job = rows.job(run, str(at), 1, rows.JobRecord(record, "completed", 1), datetime.now(UTC))
        assert job is not None
        jobs.append(job)
    fleet.write(Batch(jobs=jobs))
    fleet.analyze()
    own = OWN.command_metrics.c
    with fleet.engine.connect() as connection:
        known = connection.execute(sa.select(own.process_id, own.queue_time)).all()
    assert dict(map(tuple, known))[run] == 1.5
    assert {waited for _, waited in known} == {1.5, None}
