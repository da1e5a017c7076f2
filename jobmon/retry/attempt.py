"""The next attempt of a failed job: what its message carries, and what the store records of it."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from jobmon.instrument.context import JobContext
from jobmon.model import MANUAL_DISPATCH, Stage, Status, Transition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobmon.retry.claims import Claim, Failure

_OF_ONE_ATTEMPT: Final = frozenset(
    """
    status attempt x started_at finished_at queue_time execution_time memory_usage error outcome
    worker host trace_id span_id eta arguments
    """.split()
)


def following(
    failure: Failure, carried: JobContext | None, claim: Claim, *, renamed: bool
) -> JobContext:
    """What the message of the next attempt carries.

    Args:
        failure: The job as it failed.
        carried: By the message that failed; None: it was published without jobmon.
        claim: Who asks, and when.
        renamed: Whether the engine refuses the job's id, so that another job stands for it.
    """
    before = carried or JobContext(
        failure.job_id, failure.process_id, failure.command, root_id=failure.job_id
    )
    now = claim.at.timestamp()
    own = replace(
        before,
        job_id=failure.job_id,
        process_id=failure.process_id,
        command=failure.command,
        manual=before.manual or failure.command == MANUAL_DISPATCH,
        attempt=failure.attempt + 1,
        queue=failure.queue or before.queue,
        enqueued_at=now,
        eta=0.0,
        retried_at=now,
        retried_by=claim.who,
    )
    if not renamed:
        return own
    # The same whoever makes it: a job that was pushed can be told from one that was not.
    name = f"{failure.process_id}/{failure.job_id}/{failure.attempt}"
    job_id = str(uuid.uuid5(uuid.NAMESPACE_OID, name))
    root_id = job_id if own.root_id == own.job_id else own.root_id
    return replace(
        own, job_id=job_id, root_id=root_id, attempt=1, created_at=now, stands_for=failure.job_id
    )


def pending(failure: Failure, own: JobContext, record: Mapping[str, Any]) -> Transition:
    """The transition that says that it waits again, as its publisher would have said it.

    Args:
        failure: The job as it failed.
        own: What the message carries.
        record: Of the attempt that failed; empty once it has expired.
    """
    known: dict[str, Any] = {
        "queue": own.queue,
        "class": failure.job_name,
        "command_name": own.command,
        "process_id": own.process_id,
        "engine": failure.engine,
        "app": failure.app,
        "v": 1,
    }
    if own.created_at:
        known["created_at"] = own.created_at
    if own.root_id:
        known["root_id"] = own.root_id
    known |= {name: value for name, value in record.items() if name not in _OF_ONE_ATTEMPT}
    known |= {
        "enqueued_at": own.enqueued_at,
        "retried_by": own.retried_by,
        "retried_at": own.retried_at,
    }
    if own.stands_for:
        known |= {"retry_of": own.stands_for, "created_at": own.created_at, "root_id": own.root_id}
    body = json.dumps(known, separators=(",", ":"), ensure_ascii=False)
    return Transition(
        process_id=own.process_id,
        command=own.command,
        manual=own.manual,
        job_id=own.job_id,
        engine=failure.engine,
        queue=own.queue,
        job_name=failure.job_name,
        status=str(Status.PENDING),
        outcome="",
        attempt=own.attempt,
        delivery=0,
        stages=int(Stage.ENQUEUED),
        at_ms=int(own.enqueued_at * 1000),
        execution_us=0,
        queue_time_us=-1,
        peak_memory_bytes=0,
        error_type="",
        body=body[1:].encode("utf-8", "replace"),
    )


def readable(raw: bytes | None) -> dict[str, Any]:
    """A record as it is stored, empty where there is none or it cannot be read."""
    try:
        found = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
