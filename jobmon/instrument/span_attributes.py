"""What spans say of a command run and of a job's attempt, from their start.

Names are OpenTelemetry's where it has them (semantic conventions 1.44), else ``jobmon.*``.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jobmon.instrument.jobs import Execution

_brokers: Final[dict[str, dict[str, Any]]] = {}
"""What is the same for every job of an engine in this process."""


def describe_broker(engine: str, kind: str, address: object, port: object) -> None:
    """Say which broker a worker of this process takes its jobs from.

    Args:
        engine: ``celery`` or ``rq``.
        kind: ``redis``, ``amqp``, ``sqs``, …; empty where unknown.
        address: Host or path of a socket; anything but text is left out.
        port: Its port; anything but a number above 0 is left out.
    """
    found: dict[str, Any] = {"jobmon.broker": kind} if kind else {}
    if isinstance(address, str) and address:
        found["server.address"] = address
        if isinstance(port, int) and port > 0:
            found["server.port"] = port
    _brokers[engine] = found


def of_command(name: str, kind: str, run_id: str, schedule: str = "") -> dict[str, Any]:
    """Attributes of a command run's span."""
    timer = {"faas.trigger": "timer", "faas.cron": schedule} if schedule else {}
    return timer | {
        "jobmon.command.name": name,
        "jobmon.command.kind": kind,
        "jobmon.command.run_id": run_id,
        "process.executable.name": os.path.basename(sys.executable or sys.argv[0]),
        "process.pid": os.getpid(),
    }


def of_job(execution: Execution, now: float) -> dict[str, Any]:
    """Attributes of a job's span.

    Args:
        execution: The attempt.
        now: When it starts, Unix seconds.
    """
    ctx = execution.context
    found: dict[str, Any] = {
        "messaging.system": execution.engine,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": execution.queue or ctx.queue,
        "messaging.message.id": execution.job_id,
        "messaging.message.conversation_id": ctx.root_id or execution.root_id,
        "code.function.name": execution.function,
        "jobmon.job.name": execution.job_name,
        "jobmon.job.attempt": ctx.attempt,
        "jobmon.job.group_id": execution.group_id,
        "jobmon.command.name": ctx.command,
        "jobmon.command.run_id": ctx.process_id,
        "jobmon.worker.name": execution.worker,
    }
    if ctx.eta:
        found["jobmon.job.eta"] = ctx.eta
    ready_at = max(ctx.enqueued_at, ctx.eta)
    if ready_at:
        found["jobmon.job.queue_time"] = round(max(0.0, now - ready_at), 6)
    found.update(_brokers.get(execution.engine, _UNKNOWN))
    return {name: value for name, value in found.items() if value != ""}


_UNKNOWN: Final[dict[str, Any]] = {}
