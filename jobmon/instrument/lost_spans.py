"""Spans of jobs whose process was killed: its worker's main process closes them in its stead.

A span dies with the process that opened it. Its ids came to the main process with the start of
the job, in what the child handed over; there it is made once more under these ids, and ended.
Where the child has said how the job ended, the span is the child's to export, and stays closed.
"""

from __future__ import annotations

import atexit
import os
import re
from typing import Final, NamedTuple

from jobmon.instrument import recorder, spans
from jobmon.instrument.guard import guarded
from jobmon.instrument.jobs import Execution
from jobmon.instrument.wire import Item
from jobmon.model import Outcome, Status, Transition

_MOST_OPEN: Final = 1000
_CATCH_UP_SECONDS: Final = 0.5
_IDS: Final = re.compile(rb'"trace_id":"([0-9a-f]{32})","span_id":"([0-9a-f]{16})"')
"""No span id where the span is not sampled. A quote inside of a value is escaped."""
_STARTED_AT: Final = re.compile(rb'"started_at":([0-9.]+)')


class _Doomed(NamedTuple):
    execution: Execution
    outcome: Outcome
    text: str


_Key = tuple[str, str, int]

_open: Final[dict[_Key, bytes]] = {}
"""Bodies of the records of jobs that run in children of this process."""
_doomed: Final[dict[_Key, _Doomed]] = {}
_awaits_exit = False
_owner = 0
"""A fork takes its copy along, of jobs that are none of its own."""


def heard(item: Item) -> None:
    """Something a child said, on the thread that reads the hand-over."""
    global _owner
    if not isinstance(item, Transition):
        return
    key = item.process_id, item.job_id, item.attempt
    if item.outcome:
        _open.pop(key, None)
        _doomed.pop(key, None)
    elif item.status == Status.PROCESSING and spans.closes_lost():
        _owner = os.getpid()
        _open[key] = item.body
        if len(_open) > _MOST_OPEN:
            _open.pop(next(iter(_open)), None)


@guarded
def name(execution: Execution) -> None:
    """Give an execution the ids of the span that its child opened, for its record."""
    found = _IDS.search(_open.get(_key(execution), b"")) if _owner == os.getpid() else None
    if found is not None:
        trace_id, span_id = (part.decode() for part in found.groups())
        execution.span = spans.held_elsewhere(f"00-{trace_id}-{span_id}-01")


@guarded
def close(execution: Execution, outcome: Outcome, text: str) -> None:
    """Close the span of a job whose process is gone, unless that has ended the job itself.

    Args:
        execution: The attempt.
        outcome: How it ended.
        text: What is known of the end, for people.
    """
    if _owner != os.getpid():
        return
    recorder.catch_up(_CATCH_UP_SECONDS)
    key = _key(execution)
    _doomed.pop(key, None)
    body = _open.pop(key, b"")
    ids, started_at = _IDS.search(body), _STARTED_AT.search(body)
    if ids is None or started_at is None:
        return
    execution.started_at = float(started_at[1])
    traceparent = f"00-{ids[1].decode()}-{ids[2].decode()}-01"
    span = spans.start_again(execution, traceparent)
    if span is not None:
        span.error_text = text
        span.end(outcome)


@guarded
def close_at_exit(execution: Execution, outcome: Outcome, text: str) -> None:
    """Like :func:`close`, for a job that may still end by itself, of a worker that is stopped."""
    global _awaits_exit
    key = _key(execution)
    if _owner != os.getpid() or key not in _open:
        return
    _doomed[key] = _Doomed(execution, outcome, text)
    if not _awaits_exit:
        _awaits_exit = True
        atexit.register(_close_all)  # before what the SDK registered, which exports them


def _close_all() -> None:
    for doomed in list(_doomed.values()):
        close(*doomed)


def _key(execution: Execution) -> _Key:
    own = execution.context
    return own.process_id, execution.job_id, own.attempt
