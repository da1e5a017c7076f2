"""Applies transitions: one script call per batch compares, replaces, counts and indexes."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from functools import lru_cache
from hashlib import sha1
from importlib.resources import files
from struct import Struct, error
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redis import exceptions

from jobmon.model import RANK, Outcome, RunTransition, Stage, Status, Transition
from jobmon.store.keys import SCHEMA_VERSION, Keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import redis

    from jobmon.settings import Settings

MAX_BATCH: Final = 200
"""Transitions in one call; 1,000 would hold Redis for some 10 ms."""
MAX_BATCH_BYTES: Final = 1024 * 1024
"""Bytes of their bodies in one call."""

JOB_BUCKETS: Final = (
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1800.0,
)
"""Upper bounds in seconds of the histograms of jobs; a last one has none."""
COMMAND_BUCKETS: Final = (
    1.0,
    5.0,
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1800.0,
    3600.0,
    7200.0,
    14400.0,
    43200.0,
) + (86400.0,)
"""Upper bounds in seconds of the histograms of command runs; a last one has none."""

MOST_JOB_NAMES: Final = 500
MOST_QUEUES: Final = 200
MOST_COMMANDS: Final = 500
MOST_ERROR_TYPES_OF_A_JOB: Final = 20
MOST_ERROR_TYPES: Final = 200
MOST_FINISHED_RUNS: Final = 10_000
LONGEST_LABEL: Final = 128
LONGEST_ID: Final = 512

_SETTINGS: Final = Struct("<HQQQIIIIII")
_COUNTS: Final = Struct("<HHHHHH")
_ITEM: Final = Struct("<BHHHHHBBBIQQQqQHIIIH")
_OF_RUN, _MANUAL, _RUN = 0, 1, 2
_RANKS: Final[dict[str, int]] = {str(status): rank for status, rank in RANK.items()}
_OUTCOMES: Final[dict[str, int]] = {"": 0} | {str(o): i for i, o in enumerate(Outcome, 1)}
_RUN_STATUSES: Final = {"running": 1, "completed": 2, "failed": 3, "lost": 4}
_ENDED: Final = int(Stage.ENDED | Stage.LOST)
_COPIED_FIELDS: Final = (
    *("command_name", "queue", "class", "created_at", "started_at", "finished_at"),
    *("queue_time", "execution_time", "memory_usage"),
)
"""Documented fields of ``job:metrics:<jobId>`` that come from the record."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_TROUBLE: Final = re.compile(
    r"\b(OOM|BUSY|READONLY|LOADING|NOPERM|NOAUTH|MISCONF|MASTERDOWN|NOREPLICAS|TRYAGAIN"
    r"|CLUSTERDOWN|can't run this command|can't access at least one)\b"
)
_SCRIPT: Final = files("jobmon.store").joinpath("transitions.lua").read_text("utf-8")
_SHA: Final = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()

_logger: Final = logging.getLogger("jobmon.store")


class Applied(NamedTuple):
    """What became of a batch."""

    applied: int = 0
    """They replaced the record (or were a run's start or end)."""
    late: int = 0
    """The record stands, a stage of them was counted."""
    ignored: int = 0
    """Nothing new."""
    stale: int = 0
    """Of an attempt too old to count; in `dropped` under `stale`."""
    malformed: int = 0
    """Not a valid transition, or refused by the script alone; in `dropped`."""
    version: int = 0
    """Of the last call; grows with every call."""
    refused: int = 0
    """Not written because the store's schema is newer than this jobmon."""


class Malformed(ValueError):
    """A transition that cannot be written."""


class Writer:
    """The writing half of the store. One per thread that writes."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._client = client
        self._keys = Keys(settings.redis.prefix)
        keys = self._keys
        self._fixed_keys = [
            *(keys.meta, keys.job_series, keys.command_series, keys.error_series),
            *(keys.job_names, keys.queues, keys.error_types),
            *(keys.job_totals, keys.command_totals, keys.recorder_totals),
            *(keys.unsynced, keys.drained, keys.failed),
            *(keys.running, keys.finished, keys.finished_by_time),
        ]
        self._fixed_arguments: list[str | bytes] = [
            _SETTINGS.pack(
                SCHEMA_VERSION,
                settings.tracking_ttl * 1000,
                settings.completed_ttl * 1000,
                settings.failed_ttl * 1000,
                *(MOST_JOB_NAMES, MOST_QUEUES, MOST_COMMANDS),
                *(MOST_ERROR_TYPES_OF_A_JOB, MOST_ERROR_TYPES, MOST_FINISHED_RUNS),
            ),
            _packed(JOB_BUCKETS),
            _packed(COMMAND_BUCKETS),
            keys.pending(""),
            keys.processing(""),
        ]
        self._owed: Counter[str] = Counter()

    def apply(
        self,
        batch: Sequence[Transition | RunTransition],
        dropped: Mapping[str, int] = {},
    ) -> Applied:
        """Apply a batch. Sent again, it changes nothing.

        Args:
            batch: In the order they happened. More than :data:`MAX_BATCH` or
                :data:`MAX_BATCH_BYTES` take several calls.
            dropped: Transitions lost since the last successful call, by reason.

        Raises:
            redis.RedisError: Nothing of the last call was applied, or its answer was lost;
                send the batch again later.
        """
        owed = self._owed + Counter(dropped)
        result = [0] * len(Applied._fields)
        for part in _parts(batch):
            self._apply(part, owed, result)
        self._owed = owed
        return Applied(*result)

    def _apply(
        self, part: Sequence[Transition | RunTransition], owed: Counter[str], result: list[int]
    ) -> None:
        call = _Call(self._keys, self._fixed_keys, self._fixed_arguments)
        for item in part:
            try:
                call.add(item)
            except (ValueError, TypeError, AttributeError, LookupError, error) as reason:
                result[4] += 1
                owed["malformed"] += 1
                _logger.debug("a transition was dropped: %s", reason)
        if not call.count and not owed:
            return
        try:
            answer = self._evaluate(call, owed)
        except exceptions.ResponseError as reason:
            if _is_trouble(reason):
                raise
            if call.count <= 1:
                result[4] += call.count
                owed["script_error"] += call.count
                _logger.warning("the state store refuses a transition: %s", reason)
                return
            middle = len(part) // 2
            self._apply(part[:middle], owed, result)
            self._apply(part[middle:], owed, result)
            return
        owed.clear()
        if answer[0] == -1:
            result[6] += call.count
            _logger.warning(
                "the state store has schema %s, this jobmon writes %s: upgrade it, nothing is "
                "recorded until then",
                answer[1],
                SCHEMA_VERSION,
            )
            return
        for place in range(4):
            result[place] += answer[place]
        result[5] = int(answer[4])

    def _evaluate(self, call: _Call, owed: Mapping[str, int]) -> list[Any]:
        keys_and_arguments = call.keys_and_arguments(owed)
        evaluate: Any = self._client.execute_command
        try:
            return evaluate("EVALSHA", _SHA, len(call.keys), *keys_and_arguments)
        except exceptions.NoScriptError:
            # After a restart, a flush or a failover the server no longer knows the script.
            return evaluate("EVAL", _SCRIPT, len(call.keys), *keys_and_arguments)


class _Call:
    """Keys and arguments of one call of the script; see the header of ``transitions.lua``."""

    def __init__(
        self, names: Keys, fixed_keys: list[str], fixed_arguments: list[str | bytes]
    ) -> None:
        self.count = 0
        self.keys: list[str] = fixed_keys.copy()
        self._names = names
        self._arguments = fixed_arguments
        self._blob: list[bytes] = []
        self._process_ids: dict[str, int] = {}
        self._labels: dict[bytes, int] = {}
        self._commands: dict[bytes, int] = {}
        self._errors: dict[bytes, int] = {}
        self._runs: dict[str, int] = {}
        self._manual_jobs: dict[str, int] = {}

    def add(self, item: Transition | RunTransition) -> None:
        """Pack one item.

        Raises:
            Malformed: It is not a valid one; the call is as before.
            struct.error: A number of it is out of range.
        """
        if type(item) is Transition or isinstance(item, Transition):
            self._add_job(item)
        else:
            self._add_run(item)
        self.count += 1

    def _add_job(self, item: Transition) -> None:
        (process_id, command, manual, job_id, engine, queue, job_name, status, outcome) = item[:9]
        (attempt, delivery, stages, at_ms, execution_us, queue_time_us) = item[9:15]
        (peak_memory_bytes, error_type, body, message) = item[15:]
        own_id = job_id.encode("utf-8", "replace")
        rank = _RANKS.get(status)
        if not own_id or len(own_id) > LONGEST_ID:
            raise Malformed(f"job id {job_id[:80]!r}: 1 to {LONGEST_ID} bytes are allowed")
        if rank is None:
            raise Malformed(f"job {job_id}: status {status!r} is none of {', '.join(_RANKS)}")
        if attempt < 1 or (delivery | at_ms | execution_us | peak_memory_bytes) >> 53:
            raise Malformed(f"job {job_id}: a number of {item!r:.500} is out of range")
        if stages & _ENDED and not outcome:
            raise Malformed(f"job {job_id}: it ended without an outcome")
        if not (body.startswith(b'"') and body.endswith(b"}")) or len(body) > MAX_BATCH_BYTES:
            raise Malformed(f"job {job_id}: its body is no JSON object without its first brace")
        fields = _fields(item) if manual else b""
        head = _ITEM.pack(
            _MANUAL if manual else _OF_RUN,
            self._process(process_id),
            self._job_keys(item) if manual else self._run_keys(process_id, command),
            self._commands.setdefault(_label(command), len(self._commands) + 1),
            self._labels.setdefault(_label_set(engine, queue, job_name), len(self._labels) + 1),
            self._errors.setdefault(_label(error_type), len(self._errors) + 1) if error_type else 0,
            rank,
            _OUTCOMES[outcome],
            stages & 15,
            *(attempt, delivery, at_ms, execution_us, queue_time_us, peak_memory_bytes),
            *(len(own_id), len(body), len(fields), len(message)),
            self._add_keys(self._names.message(job_id)) if message else 0,
        )
        self._blob += (head, own_id, body, fields, message)

    def _add_run(self, item: RunTransition) -> None:
        status = _RUN_STATUSES.get(item.status)
        if status is None:
            raise Malformed(f"run {item.process_id}: status {item.status!r}")
        if status != 1 and not item.outcome:
            raise Malformed(f"run {item.process_id}: it ended without an outcome")
        if (item.at_ms | item.duration_us) >> 53 or item.at_ms <= 0:
            raise Malformed(f"run {item.process_id}: a number of {item!r:.500} is out of range")
        if not (item.body.startswith(b"{") and item.body.endswith(b"}")):
            raise Malformed(f"run {item.process_id}: its body is no JSON object")
        head = _ITEM.pack(
            _RUN,
            self._process(item.process_id),
            self._run_keys(item.process_id, item.command),
            self._commands.setdefault(_label(item.command), len(self._commands) + 1),
            *(0, 0, status, _OUTCOMES[item.outcome], 0, 1, 0),
            *(item.at_ms, item.duration_us, item.exit_code, 0, 0, len(item.body), 0, 0, 0),
        )
        self._blob += (head, item.body)

    def _process(self, process_id: str) -> int:
        known = self._process_ids.get(process_id)
        if known is None:
            if not process_id or "/" in process_id or len(process_id) > LONGEST_ID:
                raise Malformed(f"process id {process_id[:80]!r}")
            known = self._process_ids[process_id] = len(self._process_ids) + 1
        return known

    def _run_keys(self, process_id: str, command: str) -> int:
        at = self._runs.get(process_id)
        if at is None:
            own = self._names.of(process_id)
            at = self._runs[process_id] = self._add_keys(
                own.jobs,
                own.metrics(command),
                own.attempts,
                own.unsynced,
                self._names.newest_run(command),
            )
        return at

    def _job_keys(self, item: Transition) -> int:
        at = self._manual_jobs.get(item.job_id)
        if at is None:
            at = self._manual_jobs[item.job_id] = self._add_keys(
                self._names.job(item.job_id),
                self._names.job_attempts(item.job_id),
                self._names.of(item.process_id).manual,
            )
        return at

    def _add_keys(self, *names: str) -> int:
        at = len(self.keys) + 1
        self.keys += names
        return at

    def keys_and_arguments(self, dropped: Mapping[str, int]) -> list[Any]:
        """All that follows the number of keys."""
        counts = _COUNTS.pack(
            len(self._process_ids),
            len(self._labels),
            len(self._commands),
            len(self._errors),
            len(dropped),
            self.count,
        )
        arguments: list[Any] = [
            *self.keys,
            *self._arguments,
            counts,
            b"".join(self._blob),
            *self._process_ids,
            *self._labels,
            *self._commands,
            *self._errors,
        ]
        for reason, number in dropped.items():
            arguments += (_label(reason), number)
        return arguments


def _parts(
    batch: Sequence[Transition | RunTransition],
) -> Iterator[Sequence[Transition | RunTransition]]:
    start = size = 0
    for at, item in enumerate(batch):
        size += len(item.body)
        if at > start and (at - start >= MAX_BATCH or size > MAX_BATCH_BYTES):
            yield batch[start:at]
            start, size = at, len(item.body)
    yield batch[start:]


def _is_trouble(reason: exceptions.ResponseError) -> bool:
    """Whether the server refuses everything for now, rather than one transition."""
    if isinstance(reason, exceptions.OutOfMemoryError | exceptions.ReadOnlyError):
        return True
    if isinstance(reason, exceptions.NoPermissionError):
        return True
    return _TROUBLE.search(str(reason)) is not None


@lru_cache(4096)
def _label(text: str) -> bytes:
    return _CONTROL.sub("", text)[:LONGEST_LABEL].encode("utf-8", "replace")


@lru_cache(4096)
def _label_set(engine: str, queue: str, job_name: str) -> bytes:
    return b"\x1f".join((_label(engine), _label(queue), _label(job_name)))


def _fields(item: Transition) -> bytes:
    record: dict[str, Any] = json.loads(b"{" + item.body)
    record.setdefault("command_name", item.command)
    record.setdefault("queue", item.queue)
    record.setdefault("class", item.job_name)
    fields: list[str] = []
    for name in _COPIED_FIELDS:
        value = record.get(name)
        if value is not None:
            fields += (name, str(value).encode("utf-8", "replace").decode())
    return json.dumps(fields, ensure_ascii=False).encode()


def _packed(bounds: Sequence[float]) -> bytes:
    return Struct(f"<{len(bounds)}Q").pack(*(round(bound * 1_000_000) for bound in bounds))


assert [str(status) for status in sorted(Status, key=RANK.__getitem__)] == list(_RANKS)
