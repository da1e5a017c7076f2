"""What a Celery message and its worker say of a job, in every process the same."""

from __future__ import annotations

import uuid
from importlib import import_module
from typing import Any, Final

from jobmon.instrument import context
from jobmon.instrument.context import HEADER, JobContext
from jobmon.instrument.jobs import REDELIVERED, Execution
from jobmon.model import MANUAL_DISPATCH

ENGINE: Final = "celery"

BUILT_IN: Final = "celery."
"""Celery's own tasks: ``celery.chord_unlock``, ``celery.chunks``, ``celery.starmap`` …"""


def module(name: str) -> Any:
    """A module of Celery's, which has no types."""
    return import_module(name)


def execution_of(task_id: str, job_name: str, message: dict[str, Any]) -> Execution:
    """An attempt of a job.

    Args:
        task_id: Its id.
        job_name: The task's name.
        message: The message's headers, with what the worker adds to them.
    """
    delivery: dict[str, Any] = message.get("delivery_info") or {}
    own = JobContext.decode(message.get(HEADER))
    if own is None or own.job_id != task_id:
        own = _foreign(task_id, message.get("root_id"))
    return Execution(
        ENGINE,
        task_id,
        job_name,
        own,
        queue=own.queue or delivery.get("routing_key") or "",
        worker=message.get("hostname") or "",
        delivery=REDELIVERED if delivery.get("redelivered") else 0,
        group_id=message.get("group") or "",
        parent_id=message.get("parent_id") or "",
        root_id=message.get("root_id") or "",
        built_in=job_name.startswith(BUILT_IN),
    )


def _foreign(task_id: str, root_id: object) -> JobContext:
    """Context of a job whose producer runs without jobmon, the same in every process."""
    process_id = (
        context.canonical_uuid(str(root_id or ""))
        or context.canonical_uuid(task_id)
        or str(uuid.uuid5(uuid.NAMESPACE_OID, task_id))
    )
    return JobContext(task_id, process_id, MANUAL_DISPATCH, manual=True)
