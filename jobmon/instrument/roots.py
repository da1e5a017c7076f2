"""The job that a scheduled run begins and ends with.

A scheduler publishes one job for an entry of its schedule and is done within milliseconds; the
run is what that job does. A mark in the job's context says so, and whoever tells the job's start
and end, in whatever process, tells those of the run too.
"""

from __future__ import annotations

import json
import os
import platform
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jobmon.instrument import recorder
from jobmon.instrument.guard import guarded
from jobmon.model import SCHEDULE, Outcome, RunTransition, end_of_run

if TYPE_CHECKING:
    from jobmon.instrument.jobs import Execution
    from jobmon.settings import Settings

LONGEST_SCHEDULE: Final = 200


class Mark(NamedTuple):
    """What the context of a root job says of its run. Times are Unix seconds, 0 while unknown."""

    kind: str
    """``beat`` or ``cron``."""
    due_at: float
    started_at: float
    """Start of the first attempt."""
    schedule: str
    """For people to read."""

    def encode(self) -> str:
        """As it stands in :attr:`.context.JobContext.scheduled`."""
        return f"{self.kind} {self.due_at:.3f} {self.started_at:.6f} {self.schedule}"

    @classmethod
    def decode(cls, text: str) -> Mark | None:
        """Read a mark; None when it is damaged."""
        try:
            kind, due_at, started_at, schedule = text.split(" ", 3)
            return cls(kind, float(due_at), float(started_at), schedule)
        except ValueError:
            return None


@guarded
def on_started(execution: Execution, settings: Settings) -> None:
    """A root job's attempt starts: the first one starts the run."""
    ctx = execution.context
    mark = Mark.decode(ctx.scheduled)
    if mark is None or mark.started_at or not settings.monitoring.commands_enabled:
        return
    mark = mark._replace(started_at=execution.started_at)
    ctx.scheduled = mark.encode()  # for the attempts that this one may publish
    recorder.record(
        RunTransition(
            process_id=ctx.process_id,
            command=ctx.command,
            status="running",
            outcome="",
            at_ms=int(execution.started_at * 1000),
            duration_us=0,
            exit_code=0,
            body=_body(execution, mark, settings),
        )
    )


@guarded
def on_ended(
    execution: Execution, outcome: Outcome, finished_at: float, settings: Settings
) -> None:
    """A root job's attempt ended: unless another follows, so did the run."""
    ctx = execution.context
    mark = Mark.decode(ctx.scheduled)
    if mark is None or outcome is Outcome.RETRIED or not settings.monitoring.commands_enabled:
        return
    mark = mark._replace(started_at=mark.started_at or execution.started_at)
    duration = max(0.0, finished_at - mark.started_at) if mark.started_at else 0.0
    status, exit_code = end_of_run(outcome)
    recorder.record(
        RunTransition(
            process_id=ctx.process_id,
            command=ctx.command,
            status=str(status),
            outcome=str(outcome),
            at_ms=int(finished_at * 1000),
            duration_us=int(duration * 1_000_000),
            exit_code=exit_code,
            body=_body(
                execution,
                mark,
                settings,
                finished_at=finished_at,
                exit_code=exit_code,
                duration=round(duration, 6),
                outcome=str(outcome),
                status=str(status),
            ),
        )
    )


def _body(execution: Execution, mark: Mark, settings: Settings, **more: object) -> bytes:
    ctx = execution.context
    span = execution.span
    members: dict[str, Any] = {
        "id": ctx.process_id,
        "command": ctx.command,
        "source": SCHEDULE,
        "kind": mark.kind,
        "schedule": mark.schedule,
        "due_at": mark.due_at,
        "sent_at": ctx.created_at,
        "started_at": mark.started_at,
        "environment": settings.environment,
        "arguments": {},
        "options": {},
        "root_job_id": execution.job_id,
        "trace_id": span.trace_id if span is not None else ctx.command_span[3:35],
        "host": platform.node(),
        "pid": os.getpid(),
        "app": settings.app,
        "release": settings.release,
        "tags": list(settings.tags),
    }
    known = {name: value for name, value in members.items() if value or value == {}}
    known |= more
    return json.dumps(known, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
