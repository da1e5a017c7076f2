"""What is said of one command once all are judged, and what becomes of its incidents. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from jobmon.analysis import findings
from jobmon.analysis.checks import Check, Kind
from jobmon.analysis.evaluation import Answer
from jobmon.analysis.incidents import OPPOSITE, Step, alarm, end, is_past, normal
from jobmon.analysis.missed import missed
from jobmon.analysis.report import Anomaly, Missed
from jobmon.analysis.sentence import sentence
from jobmon.analysis.turns import Moment, Turn
from jobmon.anomaly import PerformanceAnomalyDetected
from jobmon.history.incidents import Change, Incident
from jobmon.history.runs import RunValues


class Settling:
    """Of one command: what is reported, and what is written."""

    def __init__(
        self, turn: Turn, values: Mapping[int, RunValues], highest: float, this: Moment
    ) -> None:
        """Work it out.

        Args:
            turn: What was found.
            values: More of the runs that it asks for.
            highest: P-value up to which what is found is news.
            this: The moment.
        """
        self.anomalies: list[Anomaly] = []
        """Of the newest run, and of those that do not end."""
        self.missed: list[Missed] = []
        self._turn = turn
        self._rules = turn.wishes.rules
        self._at_once = self._rules._replace(failures_to_open=1)
        self._now = this.at
        self._running = {one.process_id for one in this.running.get(turn.key, ())}
        self._highest = highest
        self._before = {one.anomaly_id: one for one in turn.incidents}
        self._after: dict[str, Incident | None] = dict(self._before)
        self._events: dict[str, list[PerformanceAnomalyDetected]] = {}
        for answer in turn.answers:
            own = values.get(answer.row_id)
            if own is not None:  # else it was deleted meanwhile
                self._run(answer, own)
        self._starts(
            values, is_declared=bool(turn.wishes.schedule or this.told(turn.key).schedules)
        )
        self._ends()

    def changes(self) -> list[Change]:
        """What becomes of its incidents."""
        return [
            Change(self._before.get(name), after, tuple(self._events.get(name, ())))
            for name, after in self._after.items()
            if after != self._before.get(name)
        ]

    def _run(self, answer: Answer, values: RunValues) -> None:
        strange = [one for one in answer.checks if one.is_anomaly and self._is_news(one, answer)]
        kinds = tuple(one.kind for one in strange)
        process_id = values.process_id
        for check in strange:
            also = tuple(kind for kind in kinds if kind is not check.kind)
            summary = sentence(self._turn.key.command, check, answer.jobs, answer.failed)
            anomaly = self._found(check, process_id, values.trace_id, summary, also)
            if answer.is_new:
                begun = findings.begun(anomaly, answer.started_at)
                self._end_opposite(check.kind, begun, values)
                known = self._known(check.kind)
                self._take(known, alarm(known, begun, self._rules), process_id, values)
            if answer.is_newest:
                known = self._known(check.kind)
                goes_on = known is not None and known.state != "resolved"
                self.anomalies.append(
                    replace(anomaly, id=known.anomaly_id) if known and goes_on else anomaly
                )
        if not answer.is_new:
            return
        started_at = datetime.fromtimestamp(answer.started_at, UTC)
        for check in answer.checks:
            known = self._known(check.kind)
            if known is not None and not check.is_anomaly:
                step = normal(
                    *(known, process_id, started_at, self._now, self._rules),
                    is_as_before=check.kind in answer.as_before,
                )
                self._take(known, step, process_id, values, check)

    def _end_opposite(self, kind: Kind, begun: Incident, values: RunValues) -> None:
        known = self._known(OPPOSITE.get(kind))
        if known is None or known.state == "resolved" or is_past(known, begun.last_started_at):
            return
        step = end(known, "superseded", self._now)
        self._take(known, step, values.process_id, values)

    def _is_news(self, check: Check, answer: Answer) -> bool:
        """Of what is known already, no chance among many is at work."""
        known = self._known(check.kind)
        if not answer.is_new:  # when it was, it came to an incident, or to nothing
            return known is not None and known.state != "resolved"
        return check.p_value <= self._highest or (known is not None and known.state == "open")

    def _starts(self, values: Mapping[int, RunValues], *, is_declared: bool) -> None:
        turn = self._turn
        last = turn.last_start
        row = values.get(last) if isinstance(last, int) else None
        process_id = last if isinstance(last, str) else row.process_id if row else None
        known = [
            one
            for one in self._after.values()
            if one is not None
            and one.anomaly_type == Kind.MISSED_EXECUTION
            and one.state != "resolved"
        ]
        for one in known:
            if process_id not in (None, one.process_id):
                step = end(one, "started", self._now)
                self._take(one, step, process_id, None)
            elif turn.expectation is None and not is_declared:
                step = end(one, "given up", self._now)
                self._take(one, step, one.process_id, None)
        awaited, check = turn.expectation, missed(turn.expectation)
        if awaited is None or check is None or row is None or not check.is_anomaly:
            return
        summary = findings.say_missed(turn.key.command, check, awaited.missed_count)
        anomaly = self._found(check, row.process_id, row.trace_id, summary)
        self.missed.append(
            Missed(
                command_name=turn.key.command,
                app=turn.key.app,
                environment=turn.key.environment,
                process_id=row.process_id,
                last_run_at=datetime.fromtimestamp(awaited.last_start_at, UTC),
                due_at=datetime.fromtimestamp(awaited.due_at, UTC),
                hours_since_last_run=check.current,
                expected_interval_hours=check.baseline.centre,
                severity=anomaly.anomaly_severity,
                missed_in_a_row=awaited.missed_count,
                summary=summary,
            )
        )
        same = next((one for one in known if one.process_id == row.process_id), None)
        begun = findings.begun(anomaly, occurrences=awaited.missed_count)
        self._take(same, alarm(same, begun, self._at_once), row.process_id, None)

    def _ends(self) -> None:
        turn = self._turn
        known = {
            one.process_id: one
            for one in turn.incidents
            if one.anomaly_type == Kind.OVERDUE_RUN and one.state != "resolved"
        }
        for process_id, incident in known.items():
            if process_id not in self._running:
                step = end(incident, "ended", self._now)
                self._take(incident, step, process_id, None)
        for late in turn.overdue:
            summary = sentence(turn.key.command, late.check)
            anomaly = self._found(late.check, late.process_id, late.trace_id, summary)
            self.anomalies.append(anomaly)
            same = known.get(late.process_id)
            step = alarm(same, findings.begun(anomaly), self._at_once)
            self._take(same, step, late.process_id, None)

    def _found(
        self,
        check: Check,
        process_id: str | None,
        trace_id: str | None,
        summary: str,
        also: tuple[Kind, ...] = (),
    ) -> Anomaly:
        return findings.found(
            *(self._turn.key, check),
            process_id=process_id,
            trace_id=trace_id,
            now=self._now,
            owner=self._turn.wishes.owner,
            summary=summary,
            also=also,
        )

    def _known(self, kind: Kind | None) -> Incident | None:
        """The incident of a kind that goes on, else one that may come back."""
        of_kind = [one for one in self._after.values() if one and one.anomaly_type == kind]
        going_on = [one for one in of_kind if one.state != "resolved"]
        return next(iter(going_on or of_kind[::-1]), None)

    def _take(
        self,
        before: Incident | None,
        step: Step,
        process_id: str | None,
        values: RunValues | None,
        check: Check | None = None,
    ) -> None:
        incident, turn = step
        if incident is None:
            if before is not None:
                self._after[before.anomaly_id] = None
            return
        name = incident.anomaly_id
        self._after[name] = incident
        if turn is not None:
            told = findings.event(
                *(incident, turn),
                process_id=process_id,
                now=self._now,
                values=values,
                check=check,
            )
            self._events.setdefault(name, []).append(told)
