"""Jobs that end without running: cancelled, deleted, or given up for a worker that died.

These happen in whatever process somebody acts in, and merely counting RQ's started jobs makes
that process declare jobs abandoned. None of it is on a job's straight path, so here a round trip
is allowed.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar, Token
from typing import Any, Final

from jobmon.instrument import jobs
from jobmon.instrument.context import HEADER, JobContext
from jobmon.instrument.guard import thrown_in
from jobmon.instrument.patches import Hook
from jobmon.instrument.quiet import quiet
from jobmon.instrument.rq_field import context_of, keeping, seconds, stamp_of
from jobmon.instrument.rq_horses import execution_of, running
from jobmon.model import Outcome

_UNSTARTED: Final = frozenset(
    {b"queued", b"scheduled", b"deferred", b"rate_limited", b"ready_to_enqueue"}
)
"""RQ's words for a job that was published and does not run."""

cleaning: Final[ContextVar[bool]] = ContextVar("jobmon_rq_cleaning", default=False)
"""Whether RQ is looking for jobs whose worker no longer extends its lease on them."""


def end_abandoned(job: Any, outcome: Outcome) -> None:
    """Say that the worker which ran a job is taken for dead.

    A guess: the horse may have outlived its worker, and its word counts more.
    """
    execution = execution_of(job, job.origin, job.worker_name or "")
    execution.started_at = seconds(job.started_at)
    text = "WorkerLost: the worker stopped extending its lease on the job"
    jobs.end_elsewhere(execution, outcome, error_text=text)


def _revoking(job: Any, *_: Any, **__: Any) -> Any:
    """Whether a job that is about to be cancelled or deleted had still to start.

    One that runs goes on, whatever RQ calls it, and says itself how it ended. The object at hand
    may be older than the last retry, so the hash is asked.
    """
    if job._id in running:
        return None
    try:
        with quiet():
            status, text = job.connection.hmget(job.key, "status", HEADER)
    except Exception as error:
        if thrown_in(error):
            raise
        return None  # RQ is about to meet the same error
    if status not in _UNSTARTED:
        return None
    own = JobContext.decode(text)
    if own is not None:
        stamp_of(job).context = own
    return job


def _revoked(job: Any, _: Any, error: BaseException | None) -> None:
    if job is not None and error is None:
        jobs.end_elsewhere(execution_of(job, context_of(job).queue or job.origin), Outcome.REVOKED)


def _cleaning_up(*_: Any, **__: Any) -> tuple[Token[bool], Token[bool]]:
    return cleaning.set(True), keeping.set(True)


def _cleaned_up(
    tokens: tuple[Token[bool], Token[bool]] | None, _: Any, __: BaseException | None
) -> None:
    if tokens is not None:
        cleaning.reset(tokens[0])
        keeping.reset(tokens[1])


def _failed(_: Any, job: Any, *__: Any, **___: Any) -> None:
    """RQ writes down a failure, perhaps on behalf of another worker."""
    current = running.get(job._id)
    if current is not None:
        if current.worker is None:
            current.error = sys.exc_info()[1]
    elif cleaning.get():
        end_abandoned(job, Outcome.LOST)


REVOKING_HOOKS: Final = (
    Hook("cancel", _revoking, _revoked),
    Hook("delete", _revoking, _revoked),
)
CLEANUP_HOOKS: Final = (Hook("cleanup", _cleaning_up, _cleaned_up),)
FAILED_HOOKS: Final = (Hook("add", _failed),)
