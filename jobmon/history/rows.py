"""Rows of the history, made from what the store keeps. Trusts nothing that it reads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

from jobmon.history import fields
from jobmon.history.fields import UnreadableError
from jobmon.history.schema import LONGEST_EXCEPTION_MESSAGE
from jobmon.model import Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

Row: TypeAlias = dict[str, Any]
"""Column → value, all columns of a table but its ``id``, in one order for every row of a table."""

_ENDS: Final = {
    str(Status.COMPLETED): ("success", str(Outcome.COMPLETED)),
    str(Status.FAILED): ("failed", str(Outcome.FAILED)),
    str(Status.LOST): ("failed", str(Outcome.LOST)),
}
_NAME: Final = fields.LONGEST_NAME
_JOB_TEXTS: Final = (
    *(("command_name", "command_name", _NAME), ("engine", "engine", 16), ("queue", "queue", _NAME)),
    *(("class", "job_class", _NAME), ("job_type", "job_type", 64), ("app", "app", 64)),
    *(("environment", "environment", 64), ("release", "app_release", 128), ("host", "host", _NAME)),
    *(("worker", "worker", _NAME), ("parent_id", "parent_id", _NAME)),
    *(("root_id", "root_id", _NAME), ("group_id", "group_id", _NAME)),
    *(("retry_of", "retry_of", _NAME), ("trace_id", "trace_id", 32), ("span_id", "span_id", 16)),
)
"""Members of a job's record, their columns, and the most characters of each."""
_JOB_TIMES: Final = ("enqueued_at", "started_at", "finished_at")
_JOB: Final[Row] = {
    **dict.fromkeys(("job_id", "process_id")),
    **dict.fromkeys(column for _, column, _ in _JOB_TEXTS),
    **dict.fromkeys(_JOB_TIMES),
    **dict.fromkeys(("execution_time", "queue_time", "memory_usage", "status", "outcome")),
    **dict.fromkeys(("attempts", "exception_class", "exception_message", "version")),
    **dict.fromkeys(("created_at", "updated_at")),
}
"""Row of a job of which nothing is known."""
_STATUSES: Final = frozenset(str(status) for status in Status)
_RUN_STATUSES: Final = frozenset({"running", "completed", "failed", "lost"})


class JobRecord(NamedTuple):
    """A record, taken apart."""

    data: Mapping[str, Any]
    status: str
    attempt: int
    plain: bool = False
    """True: every text in it is one that every database takes."""

    @property
    def is_failed(self) -> bool:
        """Whether it belongs among the failed jobs."""
        return self.status in (Status.FAILED, Status.LOST)


def read(raw: bytes) -> JobRecord:
    """Take a record apart.

    Raises:
        UnreadableError: It is no record, or too new.
    """
    data = fields.json_object(raw, "record")
    status, attempt = fields.one_of(data.get("status"), _STATUSES, "status"), data.get("attempt")
    if type(attempt) is not int or not 1 <= attempt <= fields.MOST_COUNTED:
        raise UnreadableError(f"attempt {fields.quoted(attempt)} is no number from 1 on")
    return JobRecord(data, status, attempt, raw.isascii() and b"\\" not in raw)


def job(process_id: str, job_id: str, version: int, record: JobRecord, now: datetime) -> Row | None:
    """Row of ``job_metrics``; None for a job that has not ended, or was revoked.

    Args:
        process_id: Of its run, or of the tree's root job.
        job_id: The engine's.
        version: Of the store's call that wrote the record.
        record: As :func:`read` gives it.
        now: When the row is written.

    Raises:
        UnreadableError: A member is of another type, or out of range.
    """
    end = _ENDS.get(record.status)
    if end is None:
        return None
    data = record.data
    row = _JOB.copy()
    row["job_id"] = fields.clean(job_id)
    row["process_id"] = process_id
    _fill(row, data, plain=record.plain)
    row["command_name"] = row["command_name"] or ""
    row["app"] = row["app"] or "default"
    row["environment"] = row["environment"] or "production"
    row["execution_time"] = fields.seconds(data, "execution_time") or 0.0
    row["queue_time"] = fields.seconds(data, "queue_time")
    row["memory_usage"] = fields.integer(data, "memory_usage") or 0
    row["status"], outcome = end
    row["outcome"] = fields.outcome(data) or outcome
    row["attempts"] = record.attempt
    if "error" in data:
        error = fields.error_of(data)
        row["exception_class"] = fields.text(error, "class")
        row["exception_message"] = fields.text(error, "message", LONGEST_EXCEPTION_MESSAGE)
    row["version"] = version
    # No row is without: it has its place among the others by its end.
    row["finished_at"] = row["finished_at"] or datetime.fromtimestamp(version / 1e6, UTC)
    row["created_at"] = row["updated_at"] = now
    return row


def attempt(process_id: str, job_id: str, version: int, raw: bytes, now: datetime) -> Row:
    """Row of ``job_attempts``: an attempt that another one followed.

    Raises:
        UnreadableError: As :func:`read` and :func:`job`.
    """
    record = read(raw)
    data = record.data
    error = fields.error_of(data)
    return {
        "process_id": process_id,
        "job_id": fields.clean(job_id),
        "attempt": record.attempt,
        "status": record.status,
        "outcome": fields.outcome(data),
        "queue": fields.text(data, "queue"),
        "worker": fields.text(data, "worker"),
        "enqueued_at": fields.time(data, "enqueued_at"),
        "started_at": fields.time(data, "started_at"),
        "finished_at": fields.time(data, "finished_at"),
        "execution_time": fields.seconds(data, "execution_time"),
        "queue_time": fields.seconds(data, "queue_time"),
        "exception_class": fields.text(error, "class"),
        "exception_message": fields.text(error, "message", LONGEST_EXCEPTION_MESSAGE),
        "trace_id": fields.text(data, "trace_id", 32),
        "span_id": fields.text(data, "span_id", 16),
        "version": version,
        "created_at": now,
    }


def run(
    process_id: str, command: str, version: int, known: Mapping[str, str], now: datetime
) -> Row:
    """Row of ``command_metrics``, with the run's own counters.

    Args:
        process_id: The run's id.
        command: From the name of its key.
        version: Of its mark: a late peak of memory marks the run and leaves its own version.
        known: Fields of the run's hash.
        now: When the row is written.

    Returns:
        ``status`` is None where the hash was made by a job of an expired run.

    Raises:
        UnreadableError: A field is of another type, or out of range.
    """
    text = known.get("run")
    data = {} if text is None else fields.json_object(text, "run")
    status = known.get("status")
    if status is not None:
        fields.one_of(status, _RUN_STATUSES, "status")
    counts = {name: fields.count(known, name, fields.MOST_COUNTED) for name in COUNTERS}
    duration = fields.seconds(data, "duration")
    total = fields.decimal(known, "total_job_time") or 0.0
    version, born = max(version, fields.count(known, "version")), fields.born(known)
    # Of one whose start was never seen, when it was first heard of.
    started_at = fields.moment(known, "started_at") or born or now
    ended = [fields.moment(known, name) for name in ("finished_at", "drained_at")]
    # Likewise of one that comes from a clock that is ahead of the store's, of which a version is a
    # moment: it would stay the newest for as long as that clock is ahead.
    if born is not None and started_at.timestamp() > version / 1e6:
        started_at, heard_at = born, max(born, datetime.fromtimestamp(version / 1e6, UTC))
        ended = [None if at is None else min(at, heard_at) for at in ended]
    jobs = counts["job_count"]
    return {
        "process_id": process_id,
        "command_name": fields.clean(command)[: fields.LONGEST_NAME],
        "source": fields.text(data, "source", 32) or "console",
        **counts,
        "avg_job_time": total / jobs if jobs else 0.0,
        "total_time": total if jobs else duration or 0.0,
        "peak_memory": fields.count(known, "peak_memory"),
        "run_date": started_at.date(),
        "status": status,
        "partial": "partial" in known or status is None,
        "exit_code": fields.exit_code(known),
        "started_at": started_at,
        "finished_at": ended[0],
        "drained_at": ended[1],
        "due_at": fields.time(data, "due_at"),
        "sent_at": fields.time(data, "sent_at"),
        "schedule": fields.text(data, "schedule"),
        "duration": duration,
        "trace_id": fields.text(data, "trace_id", 32),
        "app": fields.text(data, "app", 64) or "default",
        "environment": fields.text(data, "environment", 64) or "production",
        "app_release": fields.text(data, "release", 128),
        "host": fields.text(data, "host"),
        "pid": fields.integer(data, "pid"),
        "parent_process_id": fields.text(data, "parent_process_id", 36),
        "parent_job_id": fields.text(data, "parent_job_id"),
        "arguments": fields.json_text(data, "arguments"),
        "options": fields.json_text(data, "options"),
        "born": fields.count(known, "born"),
        "version": version,
        "created_at": now,
        "updated_at": now,
    }


COUNTERS: Final = (
    *("job_count", "success_jobs", "failed_jobs"),
    *("revoked_jobs", "lost_jobs", "retried_jobs"),
)


def failed(
    process_id: str,
    job_id: str,
    version: int,
    record: JobRecord,
    message: bytes | None,
) -> Row:
    """Row of ``failed_jobs``.

    Args:
        process_id: Of its run, or of the tree's root job.
        job_id: The engine's.
        version: Of the store's call that wrote the record.
        record: Of a job that is failed or lost.
        message: The replayable one, where it was kept.

    Raises:
        UnreadableError: A member is of another type, or out of range.
    """
    data = record.data
    name = fields.text(data, "class") or ""
    engine = fields.text(data, "engine", 16) or ""
    command = fields.text(data, "command_name") or ""
    raw_arguments = data.get("arguments")
    payload: dict[str, Any] = {
        "uuid": job_id,
        "displayName": name,
        "job": f"{engine}@call",
        "maxTries": None,
        "maxExceptions": None,
        "failOnTimeout": False,
        "backoff": None,
        "timeout": None,
        "retryUntil": None,
        "attempts": record.attempt,
        "data": {"commandName": name, "command": raw_arguments or {"args": [], "kwargs": {}}},
        "engine": engine,
        "process_id": process_id,
        "command_name": command,
        "pushedAt": data.get("enqueued_at"),
    }
    failed_at = fields.time(data, "finished_at")
    return {
        "uuid": fields.clean(job_id),
        "connection": engine,
        "queue": fields.text(data, "queue") or "",
        "payload": fields.dumped(payload),
        "exception": _exception(data),
        "failed_at": failed_at or datetime.fromtimestamp(version / 1e6, UTC),
        "message": message,
        "process_id": process_id,
        "command_name": command,
        "job_class": name,
        "attempts": record.attempt,
        "trace_id": fields.text(data, "trace_id", 32),
        "app": fields.text(data, "app", 64) or "default",
        "version": version,
    }


def _fill(row: Row, data: Mapping[str, Any], *, plain: bool) -> None:
    """Texts and times of a job. In loops: a call for each takes longer than all the rest."""
    get = data.get
    for name, column, longest in _JOB_TEXTS:
        value = get(name)
        if value is None:
            continue
        if type(value) is not str:
            raise UnreadableError(f"{name} {fields.quoted(value)} is no text")
        if len(value) > longest:
            value = value[:longest]
        row[column] = value if plain else fields.clean(value)
    for name in _JOB_TIMES:
        value = get(name)
        if type(value) is float and 0 <= value <= fields.LATEST:
            row[name] = datetime.fromtimestamp(value, UTC)
        elif value is not None:
            row[name] = fields.time(data, name)


def _exception(data: Mapping[str, Any]) -> str:
    """``Class: message``, then the frames as Python prints them, innermost last."""
    error = fields.error_of(data)
    full = fields.text(error, "traceback", fields.LONGEST_RECORD_BYTES)
    if full:
        return full
    name = fields.text(error, "class") or str(data.get("outcome") or "")
    message = fields.text(error, "message", fields.LONGEST_RECORD_BYTES)
    lines = [f"{name}: {message}" if message else name]
    frames = error.get("frames")
    for frame in cast("list[Any]", frames) if isinstance(frames, list) else []:
        if isinstance(frame, dict):
            part = cast("dict[str, Any]", frame)
            where, number, function, code = map(
                _word, map(part.get, ("file", "line", "function", "code"))
            )
            lines.append(f'  File "{where}", line {number}, in {function}')
            if code:
                lines.append(f"    {code}")
    return fields.clean("\n".join(lines))


def _word(value: object) -> str:
    return str(value) if type(value) in (str, int) else ""
