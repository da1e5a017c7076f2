"""Keys and arguments of one call of ``transitions.lua``, whose header describes them."""

from __future__ import annotations

import json
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from jobmon.model import RANK, Outcome, RunTransition, Stage, Transition
from jobmon.store import series
from jobmon.store.keys import SCHEMA_VERSION, Keys
from jobmon.store.series import label, label_set

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobmon.settings import Settings

MAX_BODY_BYTES: Final = 1024 * 1024
LONGEST_ID: Final = 512
MOST_FINISHED_RUNS: Final = 10_000

_SETTINGS: Final = Struct("<HQQQIIIIIII")
_COUNTS: Final = Struct("<HHHHHH")
_ITEM: Final = Struct("<BHHHHHBBBIQQQqQHIIIHH")
_OF_RUN, _MANUAL, _RUN = 0, 1, 2
_RANKS: Final[dict[str, int]] = {str(status): rank for status, rank in RANK.items()}
_OUTCOMES: Final[dict[str, int]] = {"": 0} | {str(o): i for i, o in enumerate(Outcome, 1)}
_RUN_STATUSES: Final = {"running": 1, "completed": 2, "failed": 3, "lost": 4, "sent": 5}
_OPEN: Final = frozenset({1, 5})
_ENDED: Final = int(Stage.ENDED | Stage.LOST)
_TRACE_ID: Final = b'"trace_id":"'
_SPAN_ID: Final = b'","span_id":"'
_IDS_WITHIN: Final = 32 * 1024
"""Bytes of a record in which they are looked for; they come before errors and arguments."""
_COPIED_FIELDS: Final = (
    *("command_name", "queue", "class", "created_at", "started_at", "finished_at"),
    *("queue_time", "execution_time", "memory_usage"),
)
"""Documented fields of ``job:metrics:<jobId>`` that come from the record."""


class MalformedError(ValueError):
    """A transition that cannot be written."""


def fixed_keys(keys: Keys) -> list[str]:
    """The keys that every call names first."""
    return [
        *(keys.meta, keys.job_series, keys.command_series, keys.error_series),
        *(keys.job_names, keys.queues, keys.error_types),
        *(keys.job_totals, keys.command_totals, keys.recorder_totals),
        *(keys.unsynced, keys.drained, keys.failed),
        *(keys.running, keys.finished, keys.finished_by_time, keys.open_runs, keys.run_beats),
        *(keys.failures, keys.exemplars, keys.series_seen),
    ]


def fixed_arguments(keys: Keys, settings: Settings) -> list[str | bytes]:
    """The arguments that every call of one writer has first."""
    return [
        _SETTINGS.pack(
            SCHEMA_VERSION,
            *(settings.tracking_ttl * 1000, settings.completed_ttl * 1000),
            settings.failed_ttl * 1000,
            *(series.MOST_JOB_NAMES, series.MOST_QUEUES, series.MOST_JOB_SERIES),
            *(series.MOST_COMMANDS, series.MOST_ERROR_TYPES_OF_A_JOB, series.MOST_ERROR_TYPES),
            MOST_FINISHED_RUNS,
        ),
        _packed(series.JOB_BUCKETS),
        _packed(series.COMMAND_BUCKETS),
        keys.pending(""),
        keys.processing(""),
    ]


def _packed(bounds: Sequence[float]) -> bytes:
    return Struct(f"<{len(bounds)}Q").pack(*(round(bound * 1_000_000) for bound in bounds))


class Call:
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
            MalformedError: It is not a valid one; the call is as before.
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
            raise MalformedError(f"job id {job_id[:80]!r}: 1 to {LONGEST_ID} bytes are allowed")
        if rank is None:
            raise MalformedError(f"job {job_id}: status {status!r} is none of {', '.join(_RANKS)}")
        if attempt < 1 or (delivery | at_ms | execution_us | peak_memory_bytes) >> 53:
            raise MalformedError(f"job {job_id}: a number is out of range")
        if stages & _ENDED and not outcome:
            raise MalformedError(f"job {job_id}: it ended without an outcome")
        if not (body.startswith(b'"') and body.endswith(b"}")) or len(body) > MAX_BODY_BYTES:
            raise MalformedError(
                f"job {job_id}: its body is no JSON object without its first brace"
            )
        fields = _fields(item) if manual else b""
        head = _ITEM.pack(
            _MANUAL if manual else _OF_RUN,
            self._process(process_id),
            self._job_keys(item) if manual else self._run_keys(process_id, command),
            self._commands.setdefault(label(command), len(self._commands) + 1),
            self._labels.setdefault(label_set(engine, queue, job_name), len(self._labels) + 1),
            self._errors.setdefault(label(error_type), len(self._errors) + 1) if error_type else 0,
            rank,
            _OUTCOMES[outcome],
            stages & 15,
            *(attempt, delivery, at_ms, execution_us, queue_time_us, peak_memory_bytes),
            *(len(own_id), len(body), len(fields), len(message)),
            self._add_keys(self._names.message(job_id)) if message else 0,
            _ids_at(body) if stages & _ENDED else 0,
        )
        self._blob += (head, own_id, body, fields, message)

    def _add_run(self, item: RunTransition) -> None:
        status = _RUN_STATUSES.get(item.status)
        if status is None:
            raise MalformedError(f"run {item.process_id}: status {item.status!r}")
        if status not in _OPEN and not item.outcome:
            raise MalformedError(f"run {item.process_id}: it ended without an outcome")
        if (item.at_ms | item.duration_us) >> 53 or item.at_ms <= 0:
            raise MalformedError(
                f"run {item.process_id}: a number of {item!r:.500} is out of range"
            )
        if not (item.body.startswith(b"{") and item.body.endswith(b"}")):
            raise MalformedError(f"run {item.process_id}: its body is no JSON object")
        head = _ITEM.pack(
            _RUN,
            self._process(item.process_id),
            self._run_keys(item.process_id, item.command),
            self._commands.setdefault(label(item.command), len(self._commands) + 1),
            *(0, 0, status, _OUTCOMES[item.outcome], int(item.beats), 1, 0),
            *(item.at_ms, item.duration_us, item.exit_code, 0, 0, len(item.body), 0, 0, 0, 0),
        )
        self._blob += (head, item.body)

    def _process(self, process_id: str) -> int:
        known = self._process_ids.get(process_id)
        if known is None:
            if not process_id or "/" in process_id or len(process_id) > LONGEST_ID:
                raise MalformedError(f"process id {process_id[:80]!r}")
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
            arguments += (label(reason), number)
        return arguments


def _ids_at(body: bytes) -> int:
    """Where in a record the ids of its span begin, as hexadecimal; 0 where it is not sampled."""
    found = body.find(_TRACE_ID, 0, _IDS_WITHIN)
    at = found + len(_TRACE_ID)
    if found < 0 or not body.startswith(_SPAN_ID, at + 32) or body[at + 61 : at + 62] != b'"':
        return 0
    return at


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
