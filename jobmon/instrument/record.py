"""The JSON of a job's record, from its second member on.

Written member by member: the encoder of the standard library takes three times as long, and
this is most of what a job costs. It writes only what users wrote: errors and arguments.
"""

from __future__ import annotations

import json
import platform
from json.encoder import encode_basestring as _quoted
from typing import TYPE_CHECKING, Any, Final

from jobmon.instrument import redaction
from jobmon.instrument.arguments import shown
from jobmon.settings import Settings

if TYPE_CHECKING:
    from jobmon.instrument.jobs import Execution

RECORD_VERSION: Final = 1
MAX_RECORD_BYTES: Final = 16 * 1024

_encode: Final = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=str
).encode
_constants = ""
_room = MAX_RECORD_BYTES


def configure(settings: Settings) -> None:
    """Take what is the same in every record of this process."""
    global _constants, _room
    constants: dict[str, object] = {
        "host": platform.node(),
        "app": settings.app,
        "environment": settings.environment,
        "release": settings.release,
        "tags": list(settings.tags),
        "v": RECORD_VERSION,
    }
    _constants = "," + _encode({k: v for k, v in constants.items() if v})[1:]
    # The store puts its own members before ours.
    _room = MAX_RECORD_BYTES - 256


def beginning(execution: Execution, queue_seconds: float) -> str:
    """Members that stay as they are from the start of an attempt to its end.

    Args:
        execution: What is known of the attempt.
        queue_seconds: How long it waited, -1 while unknown.
    """
    ctx = execution.context
    text = (
        f'"queue":{_quoted(execution.queue or ctx.queue)},"class":{_quoted(execution.job_name)},'
        f'"command_name":{_quoted(ctx.command)},"process_id":{_quoted(ctx.process_id)},'
        f'"engine":{_quoted(execution.engine)}'
    )
    if ctx.job_type:
        text += f',"job_type":{_quoted(ctx.job_type)}'
    if ctx.created_at:
        text += f',"created_at":{ctx.created_at:.6f}'
    if ctx.enqueued_at:
        text += f',"enqueued_at":{ctx.enqueued_at:.6f}'
    if ctx.eta:
        text += f',"eta":{ctx.eta:.6f}'
    if execution.started_at:
        text += f',"started_at":{execution.started_at:.6f}'
    if queue_seconds >= 0:
        text += f',"queue_time":{queue_seconds:.6f}'
    if execution.worker:
        text += f',"worker":{_quoted(execution.worker)}'
    parent_id = ctx.parent_id or execution.parent_id
    if parent_id and parent_id != execution.job_id:
        text += f',"parent_id":{_quoted(parent_id)}'
    root_id = ctx.root_id or execution.root_id
    if root_id:
        text += f',"root_id":{_quoted(root_id)}'
    if execution.group_id:
        text += f',"group_id":{_quoted(execution.group_id)}'
    if ctx.retried_at:
        text += f',"retried_by":{_quoted(ctx.retried_by)},"retried_at":{ctx.retried_at:.6f}'
        if ctx.stands_for:
            text += f',"retry_of":{_quoted(ctx.stands_for)}'
    if execution.built_in:
        text += ',"built_in":true'
    span = execution.span
    if span is not None and span.trace_id:
        text += f',"trace_id":"{span.trace_id}","span_id":"{span.span_id}"'
    return text


def end(finished_at: float, elapsed: float | None, peak: int, outcome: str) -> str:
    """Members that the end of an attempt adds.

    Args:
        finished_at: Unix seconds.
        elapsed: Seconds that it ran, None if it never started.
        peak: Bytes, 0 where unknown.
        outcome: How it ended.
    """
    text = f',"finished_at":{finished_at:.6f},"outcome":"{outcome}"'
    if elapsed is not None:
        text += f',"execution_time":{elapsed:.6f}'
    if peak:
        text += f',"memory_usage":{peak}'
    return text


def arguments(execution: Execution, settings: Settings) -> str:
    """The job's arguments for people to read, redacted."""
    if execution.arguments is None:
        return ""
    return f',"arguments":{shown(*execution.arguments(), settings)}'


def complete(text: str, error: dict[str, Any] | None, arguments: str) -> bytes:
    """The whole, at most :data:`MAX_RECORD_BYTES` long.

    What is too long loses its exception first, then its arguments.
    """
    body = _joined(text, error, arguments)
    if len(body) > _room and error is not None:
        error = {"class": error.get("class", ""), "message": redaction.TRUNCATED}
        body = _joined(text, error, arguments)
    if len(body) > _room:
        body = _joined(text, error, "")
    if len(body) > _room:
        body = _joined(text, None, "")
    return body


def _joined(text: str, error: dict[str, Any] | None, arguments: str) -> bytes:
    described = f',"error":{_encode(error)}' if error is not None else ""
    return f"{text}{described}{arguments}{_constants}".encode("utf-8", "replace")
