"""``analysis``: what is not normal, judged now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from jobmon.analysis.report import Anomaly as Found
from jobmon.analysis.report import Missed, Report
from jobmon.analysis.rounds import Rounds
from jobmon.answers.analysis import (
    Analysis,
    AnalysisSummary,
    InsufficientHistory,
    MissedExecution,
)
from jobmon.answers.anomalies import Anomaly, Baseline
from jobmon.server.migration import Migration
from jobmon.server.query import NAME, Query, parameter
from jobmon.server.responses import Style, error, timestamp
from jobmon.settings import Settings

LONGEST_SECONDS: Final = 65.0
_JUDGING_SECONDS: Final = 60.0
"""What is not judged by then is an error of the answer."""
_DISABLED: Final = "Analysis is disabled in the configuration; it ran because it was requested."


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisBody(Query):
    """Body of ``analysis``."""

    command: str | None = parameter(NAME, "This command alone; without it, all of them.")


class Analyses:
    """Handler of ``analysis``."""

    def __init__(self, rounds: Rounds, migration: Migration, settings: Settings) -> None:
        self._turns = rounds
        self._migration = migration
        self._settings = settings

    def now(self, _request: Request, body: AnalysisBody) -> Analysis | Response:
        """Judge all commands, or one."""
        self._migration.require()
        commands = None if body.command is None else [body.command]
        report = self._turns.all(commands, deadline=time.monotonic() + _JUDGING_SECONDS)
        if report is None:
            message = "Analysis is already running."
            return error(Style.SUCCESS, HTTPStatus.CONFLICT, message=message)
        return answer(report, self._settings)


def answer(report: Report, settings: Settings) -> Analysis:
    """What is answered of it, by the API and by ``jobmon analyze``."""
    warnings = [*report.warnings]
    warnings += (f'No runs found for command "{name}".' for name in report.unknown)
    if not settings.analyze_mode.enabled:
        warnings.append(_DISABLED)
    return Analysis(
        timestamp=timestamp(report.timestamp),
        anomalies_detected=len(report.anomalies),
        commands_analyzed=report.commands_analyzed,
        errors=report.errors,
        warnings=warnings,
        summary=AnalysisSummary(**report.counts()),
        anomalies=[_anomaly(one) for one in report.anomalies],
        missed_executions=[_missed(one) for one in report.missed],
        further_anomalies=[_anomaly(one) for one in report.further],
        insufficient_history=[
            InsufficientHistory(one.command_name, one.app, one.environment, one.runs, one.needed)
            for one in report.insufficient
        ],
    )


def _anomaly(found: Found) -> Anomaly:
    usual = found.baseline
    return Anomaly(
        id=found.id,
        command_name=found.command_name,
        anomaly_type=found.anomaly_type,
        metric=found.metric,
        anomaly_metrics=dict(found.anomaly_metrics),
        anomaly_current=found.anomaly_current,
        anomaly_baseline_avg=found.anomaly_baseline_avg,
        anomaly_severity=found.anomaly_severity,
        change_percent=found.change_percent,
        threshold=found.threshold,
        baseline_runs=found.baseline_runs,
        process_id=found.process_id,
        detected_at=timestamp(found.detected_at),
        app=found.app,
        environment=found.environment,
        summary=found.summary,
        baseline=Baseline(
            centre=usual.centre,
            low=usual.low,
            high=usual.high,
            spread=usual.spread,
            runs=usual.n,
            first_at=timestamp(usual.first_at),
            last_at=timestamp(usual.last_at),
        ),
        ratio=found.ratio,
        p_value=found.p_value,
        test=found.test,
        trace_id=found.trace_id,
        owner=found.owner,
    )


def _missed(found: Missed) -> MissedExecution:
    return MissedExecution(
        command_name=found.command_name,
        last_run_at=timestamp(found.last_run_at),
        hours_since_last_run=found.hours_since_last_run,
        expected_interval_hours=found.expected_interval_hours,
        severity=found.severity,
        app=found.app,
        environment=found.environment,
        due_at=timestamp(found.due_at),
        missed_in_a_row=found.missed_in_a_row,
        summary=found.summary,
    )
