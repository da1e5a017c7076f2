"""The context of an RQ job, in a field of the job's hash.

Stamped when the job is created and written by RQ together with its own fields: no command, no
round trip, nothing in what users put into ``meta``. Processes without jobmon keep the field.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from jobmon.instrument import context, jobs
from jobmon.instrument.context import HEADER, JobContext
from jobmon.instrument.patches import Hook
from jobmon.model import MANUAL_DISPATCH

ENGINE: Final = "rq"

_ATTRIBUTE: Final = "_jobmon"
_FIELD: Final = HEADER.encode()
_CALL: Final = re.compile(r"[A-Za-z_][\w.<>]*(?=\()")

keeping: Final[ContextVar[bool]] = ContextVar("jobmon_rq_keeping", default=False)
"""Whether jobs fetched now may come to fail on our word: they keep their hash as it was read."""


@dataclass(slots=True, eq=False)
class Stamp:
    """The context that one Job object carries."""

    context: JobContext | None = None
    text: object = None
    """The field as read from the hash, until somebody asks."""
    emit: bool = False
    """Whether this object may write the field: for a publish of its own. An echo of what it
    once read could undo what another process has published since."""
    chosen: bool = False
    """Whether the user chose the id, and it is not published yet."""
    raw: Mapping[bytes, bytes] | None = None
    """The whole hash as read, where :data:`keeping` said so: what a replay needs."""


def stamp_of(job: Any) -> Stamp:
    """What this object carries, if only that it carries nothing."""
    return job.__dict__.setdefault(_ATTRIBUTE, Stamp())


def context_of(job: Any) -> JobContext:
    """The job's context under the id that it has by now."""
    stamp = stamp_of(job)
    own = stamp.context
    if own is None:
        own = stamp.context = JobContext.decode(stamp.text) or _foreign(job)
    if own.job_id != job.id:
        own = stamp.context = _renamed(own, job.id)
    return own


def seconds(moment: datetime | None) -> float:
    """Unix seconds of one of RQ's times, 0 without one."""
    if moment is None:
        return 0.0
    # RQ 1.16 has naive datetimes in UTC.
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _created(_: Any, job: Any, error: BaseException | None) -> None:
    if error is None and _ATTRIBUTE not in job.__dict__:
        # RQ distinguishes a job that was given no id, and reading `id` gives it one.
        stand_in = job._id or str(uuid.uuid4())
        own = replace(
            jobs.publish_context(stand_in, job.origin or ""), job_name=_name_at_create(job)
        )
        job.__dict__[_ATTRIBUTE] = Stamp(own, emit=True, chosen=job._id is not None)


def _serialized(job: Any, fields: Any, error: BaseException | None) -> None:
    stamp: Stamp | None = job.__dict__.get(_ATTRIBUTE)
    if error is None and stamp is not None and stamp.emit:
        fields[HEADER] = context_of(job).encode()


def _restore(job: Any, raw: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
    return job, raw


def _restored(state: tuple[Any, Any] | None, _: Any, error: BaseException | None) -> None:
    if state is None or error is not None:
        return
    job, raw = state
    text = raw.get(_FIELD) or raw.get(HEADER)
    kept = raw if keeping.get() else None
    if text or kept is not None:
        job.__dict__[_ATTRIBUTE] = Stamp(text=text, raw=kept)


def _renamed(own: JobContext, job_id: str) -> JobContext:
    process_id = own.process_id
    if own.manual and process_id == own.job_id:
        process_id = context.canonical_uuid(job_id) or process_id
    root_id = job_id if own.root_id == own.job_id else own.root_id
    return replace(own, job_id=job_id, process_id=process_id, root_id=root_id)


def _foreign(job: Any) -> JobContext:
    """Context of a job whose producer runs without jobmon, the same in every process."""
    created_at = seconds(job.created_at)
    process_id = context.canonical_uuid(job.id) or str(
        uuid.uuid5(uuid.NAMESPACE_OID, f"{job.id} {created_at}")
    )
    call = _CALL.match(job.description or "")
    return JobContext(
        job.id,
        process_id,
        MANUAL_DISPATCH,
        manual=True,
        queue=job.origin or "",
        created_at=created_at,
        enqueued_at=seconds(job.enqueued_at),
        root_id=job.id,
        # The real name is pickled with the arguments, and unpickling imports users' code.
        job_name=call.group() if call else "unknown",
    )


def _name_at_create(job: Any) -> str:
    name, instance = job._func_name, job._instance
    if instance is not None:
        return f"{type(instance).__module__}.{type(instance).__qualname__}.{name}"
    return str(name)


FIELD_HOOKS: Final = (
    Hook("create", after=_created),
    Hook("to_dict", after=_serialized),
    Hook("restore", _restore, _restored),
)
