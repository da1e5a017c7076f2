"""The end of a run whose process cannot tell it."""

from __future__ import annotations

import json
from typing import Any

from jobmon.model import Outcome, RunTransition, end_of_run
from jobmon.store.members import unix_time


def end(run: dict[str, Any], outcome: Outcome, finished_at: float) -> RunTransition:
    """The end of a run that somebody else tells.

    Args:
        run: As it was recorded, with ``id`` and ``command``; its end is filled in here.
        outcome: How it ended.
        finished_at: When, Unix seconds.
    """
    started_at = unix_time(run.get("started_at"))
    duration = 0.0 if started_at is None else max(0.0, finished_at - started_at)
    status, exit_code = end_of_run(outcome)
    run |= {
        "finished_at": finished_at,
        "exit_code": exit_code,
        "duration": round(duration, 6),
        "outcome": str(outcome),
        "status": str(status),
    }
    return RunTransition(
        process_id=run["id"],
        command=run["command"],
        status=str(status),
        outcome=str(outcome),
        at_ms=round(finished_at * 1000),
        duration_us=int(duration * 1_000_000),
        exit_code=exit_code,
        body=json.dumps(run, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"),
    )
