"""Runs as the store keeps them, and their ends where their processes cannot tell them."""

from __future__ import annotations

import json
from typing import Any, Final, cast

from jobmon.model import Outcome, RunTransition, end_of_run

_LATEST: Final = 1e11


def decoded(raw: bytes) -> dict[str, Any] | None:
    """The members of a JSON object, None if it is none."""
    try:
        found: object = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def unix_time(value: object) -> float | None:
    """Unix seconds, if that is what it is."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _LATEST:
        return None
    return float(value)


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
