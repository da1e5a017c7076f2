"""What the history could not take: set aside with the reason, read and tried again by people."""

from __future__ import annotations

import base64
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jobmon.store import script
from jobmon.store.call import LONGEST_ID
from jobmon.store.keys import SCHEMA_VERSION, Keys
from jobmon.store.marks import readable
from jobmon.store.members import decoded, unix_time
from jobmon.store.totals import number

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings

MOST: Final = 1_000
"""Kept; the oldest give way."""
LONGEST_BYTES: Final = 16 * 1024
"""Of one as JSON; its record is cut."""
_LONGEST_REASON: Final = 500
_LONGEST_COMMAND: Final = 255
_TOGETHER: Final = 100
_REQUEUE: Final = script.read("requeue.lua")

_logger: Final = logging.getLogger("jobmon.store")


class DeadLetter(NamedTuple):
    """A record that was set aside."""

    at: float
    """Unix seconds."""
    process_id: str
    job_id: str | None
    """None: the run itself."""
    command: str | None
    """None: unknown."""
    reason: str
    record: str
    """As stored, cut; as base64 where it is no UTF-8."""
    encoding: str
    """``text`` or ``base64``."""
    size: int
    """Bytes of the whole record."""
    raw: bytes
    """As it stands in the list."""


class DeadLetters:
    """The list of them. Safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis: Any = client
        self._names = Keys(settings.redis.prefix)

    def add(
        self,
        process_id: str,
        job_id: str | None,
        reason: str,
        record: bytes,
        *,
        command: str | None = None,
    ) -> None:
        """Set a record aside, and count it.

        Args:
            process_id: Of the run, or of the tree of jobs without one.
            job_id: None for the run itself.
            reason: Why nobody could write it; cut to 500 characters.
            record: What was read.
            command: Of the run. Without it, :meth:`requeue` asks the record, or the list of runs.

        Raises:
            redis.RedisError: The store did not take it.
        """
        if command is None:
            named = (decoded(record) or {}).get("command_name")
            command = named if isinstance(named, str) else None
        letter = _letter(process_id, job_id, command, reason, record)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hincrby(self._names.recorder_totals, "dead_letters", 1)
        pipeline.rpush(self._names.dead_letters, letter)
        pipeline.ltrim(self._names.dead_letters, -MOST, -1)
        if readable(pipeline.execute(raise_on_error=False)[1]) is None:
            _logger.warning("the list of dead letters is of another type: %s is lost", job_id)

    def size(self) -> int:
        """How many there are."""
        return self._redis.llen(self._names.dead_letters)

    def read(self, limit: int = 100) -> list[DeadLetter]:
        """The newest, newest first. What is none of ours is left out.

        Raises:
            redis.RedisError: The store cannot be read.
        """
        raws: list[bytes] = self._redis.lrange(self._names.dead_letters, -limit, -1)
        return [one for one in map(_opened, reversed(raws)) if one is not None]

    def requeue(self, count: int | None = None) -> int:
        """Have the history try again, oldest first; those are no dead letters any more.

        Args:
            count: How many at most; None: all that there are now.

        Returns:
            How many are marked as unsynced again; the others have expired, or are none of ours.

        Raises:
            redis.RedisError: The store cannot be asked; what was marked before stays so.
        """
        left = self.size() if count is None else count
        marked = 0
        while left > 0:
            raws: list[bytes] = self._redis.lrange(
                self._names.dead_letters, 0, min(left, _TOGETHER) - 1
            )
            if not raws:
                break
            left -= len(raws)
            answer = self._requeue(raws)
            if answer < 0:
                _logger.warning("the state store was written by a newer jobmon: upgrade this one")
                break
            marked += answer
        return marked

    def _requeue(self, raws: list[bytes]) -> int:
        names = self._names
        keys = [names.meta, names.dead_letters, names.unsynced, names.drained, names.failures]
        arguments: list[Any] = [SCHEMA_VERSION]
        for raw in raws:
            letter = _opened(raw)
            process_id, job_id = ("", "") if letter is None else (letter.process_id, letter.job_id)
            own = names.of(process_id)
            command = "" if letter is None else letter.command or self._command_of(process_id)
            keys += (own.metrics(command), own.jobs, own.unsynced, names.job(job_id or ""))
            arguments += (raw, process_id, job_id or "")
        return _REQUEUE.run(self._redis, len(keys), [*keys, *arguments])

    def _command_of(self, process_id: str) -> str:
        for name in (self._names.running, self._names.finished):
            body = self._redis.hget(name, process_id)
            command = (decoded(body) or {}).get("command") if body else None
            if isinstance(command, str):
                return command
        return ""


def _letter(
    process_id: str, job_id: str | None, command: str | None, reason: str, record: bytes
) -> bytes:
    members: dict[str, Any] = {
        "at": round(time.time(), 3),
        "process_id": process_id[:LONGEST_ID],
        "job_id": None if job_id is None else job_id[:LONGEST_ID],
        "command": None if command is None else command[:_LONGEST_COMMAND],
        "reason": reason[:_LONGEST_REASON],
        "size": len(record),
    }
    kept = min(len(record), LONGEST_BYTES)
    while True:
        members |= _shown(record, kept)
        letter = json.dumps(members, ensure_ascii=False).encode("utf-8", "replace")
        if len(letter) <= LONGEST_BYTES or not kept:
            return letter
        kept = min(kept * LONGEST_BYTES // len(letter), kept - 1)


def _shown(record: bytes, kept: int) -> dict[str, str]:
    part = record[:kept]
    try:
        return {"encoding": "text", "record": part.decode()}
    except UnicodeDecodeError as error:
        # A character that the cut goes through makes it no other encoding.
        if kept < len(record) and error.start >= kept - 3 and error.reason.startswith("unexpected"):
            return {"encoding": "text", "record": part[: error.start].decode()}
        return {"encoding": "base64", "record": base64.b64encode(part).decode()}


def _opened(raw: bytes) -> DeadLetter | None:
    found = decoded(raw)
    if found is None:
        return None
    process_id, job_id, command = (found.get(n) for n in ("process_id", "job_id", "command"))
    if not isinstance(process_id, str) or not isinstance(job_id, str | None):
        return None
    return DeadLetter(
        at=unix_time(found.get("at")) or 0.0,
        process_id=process_id,
        job_id=job_id,
        command=command if isinstance(command, str) else None,
        reason=str(found.get("reason", "")),
        record=str(found.get("record", "")),
        encoding=str(found.get("encoding", "text")),
        size=number(found.get("size")),
        raw=raw,
    )
