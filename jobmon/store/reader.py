"""Reads the state store for the CLI, the server and metrics. Trusts nothing it reads.

What cannot be understood, or was written by a newer jobmon, is skipped and counted.
"""

from __future__ import annotations

import base64
import heapq
import json
from collections import Counter
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from jobmon.settings import PerCommand, for_command
from jobmon.store import (
    judged,
    late,
    queues,
    records,
    schedules,
    sync_state,
    waiting,
    whereabouts,
    workers,
)
from jobmon.store.chunks import chunks
from jobmon.store.clock import now_us
from jobmon.store.keys import SCHEMA_VERSION, Keys
from jobmon.store.members import decoded, finite
from jobmon.store.series import OTHER, SEPARATOR, label
from jobmon.store.state import (
    CommandRun,
    FailedJob,
    JobPage,
    Meta,
    QueueCounts,
    RunCounters,
    Totals,
)
from jobmon.store.totals import (
    command_series,
    job_series,
    known_commands,
    known_jobs,
    number,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import redis

    from jobmon.settings import Settings
    from jobmon.store.late import LateJobs
    from jobmon.store.schedules import Schedules
    from jobmon.store.sync_state import SyncState
    from jobmon.store.workers import WorkerState

T = TypeVar("T")

RECORD_VERSION: Final = 1
"""Newest record that this reader understands (its `v`)."""
QUEUE_SEEN_SECONDS: Final = 24 * 3600
CHUNK: Final = 500

_COUNTERS: Final = (
    *("job_count", "success_jobs", "failed_jobs", "revoked_jobs", "lost_jobs", "retried_jobs"),
    *("total_job_time", "peak_memory", "finished", "partial", "drained_at"),
)


class Reader:
    """The reading half of the store. Safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis: Any = client
        self._keys = Keys(settings.redis.prefix)
        self._settings = settings
        self._named = settings.analyze_mode.commands.names
        self._settings_of = lru_cache(4096)(partial(for_command, settings))
        self.skipped = 0
        """Entries that could not be understood so far."""

    def running_commands(self, limit: int = 1000) -> tuple[list[CommandRun], int]:
        """Open runs, newest first, and how many there are."""
        entries: dict[bytes, bytes] = self._redis.hgetall(self._keys.running)
        runs = self._runs(entries.items(), "running")
        runs.sort(key=lambda run: (run.opened_at or 0.0, run.process_id), reverse=True)
        return runs[:limit], len(entries)

    def finished_commands(self, limit: int = 1000) -> tuple[list[CommandRun], int]:
        """Runs that ended within their TTL, newest first, and how many there are."""
        now_ms = int(self._now() * 1000)
        ids: list[bytes] = self._redis.zrangebyscore(
            self._keys.finished_by_time, f"({now_ms}", "+inf"
        )
        bodies: list[bytes | None] = []
        for some in chunks(ids, CHUNK):
            bodies += self._redis.hmget(self._keys.finished, some)
        runs = self._runs(((i, b) for i, b in zip(ids, bodies, strict=True) if b), "completed")
        runs.sort(key=lambda run: (run.finished_at or 0.0, run.process_id), reverse=True)
        return runs[:limit], len(ids)

    def run(self, process_id: str) -> CommandRun | None:
        """One run while any of its keys lives."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hget(self._keys.running, process_id)
        pipeline.hget(self._keys.finished, process_id)
        pipeline.hscan(self._keys.of(process_id).jobs, count=1)
        running, finished, (_, some_jobs) = pipeline.execute()
        if running or finished:
            # A run that ended is in both only for the moment of a failover.
            body, status = (finished, "completed") if finished else (running, "running")
            found = self._runs([(process_id.encode(), body)], status)
            return found[0] if found else None
        for record in some_jobs.values():
            command = (self._decoded(record) or {}).get("command_name")
            if isinstance(command, str):
                body, status = self._redis.hmget(
                    self._keys.of(process_id).metrics(command), "run", "status"
                )
                if body:
                    found = self._runs([(process_id.encode(), body)], text(status or "running"))
                    return found[0] if found else None
        return None

    def run_counters(self, process_id: str, command: str) -> RunCounters | None:
        """Counters of a run, None once expired."""
        key = self._keys.of(process_id).metrics(command)
        values: list[bytes | None] = self._redis.hmget(key, _COUNTERS)
        if values[0] is None:
            return None
        return RunCounters(
            *(number(value) for value in values[:6]),
            total_job_time=_float(values[6]) or 0.0,
            peak_memory=number(values[7]),
            finished=values[8] is not None,
            partial=values[9] is not None,
            drained_at=_float(values[10]),
        )

    def jobs_of_run(self, process_id: str, *, limit: int = 10_000, cursor: str = "") -> JobPage:
        """Jobs of a run, or of the tree of a job without one, by creation, then id.

        Args:
            process_id: Of the run, or of the tree's root job.
            limit: Longest page.
            cursor: `next_cursor` of the page before.
        """
        after = _opened(cursor)
        total = 0

        def wanted() -> Iterator[tuple[tuple[float, str], bytes]]:
            nonlocal total
            for job_id, record in self._all_jobs(process_id):
                total += 1
                members = self._decoded(record)
                if members is None:
                    continue
                place = (finite(members.get("created_at")) or 0.0, job_id)
                if after is None or place > after:
                    yield place, record

        # One more than asked tells whether another page follows.
        page = heapq.nsmallest(limit + 1, wanted())
        more = len(page) > limit
        page = page[:limit]
        following = _sealed(page[-1][0]) if more and page else ""
        return JobPage([(place[1], record) for place, record in page], total, following)

    def job(self, process_id: str, job_id: str) -> bytes | None:
        """Record of one job as stored."""
        return records.of(self._redis, self._keys, [(process_id, job_id)])[0]

    def process_of(self, job_id: str) -> str | None:
        """Process id of a job by its id alone, of one that the history may lack."""
        return whereabouts.process_of(self._redis, self._keys, job_id)

    def attempts(self, process_id: str, job_id: str) -> list[bytes]:
        """Records of a job's earlier attempts, oldest first."""
        record = self.job(process_id, job_id)
        current = number((self._decoded(record) or {}).get("attempt")) if record else 0
        fields = [f"{job_id}:{attempt}" for attempt in range(max(1, current - 20), current)]
        if not fields:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hmget(self._keys.of(process_id).attempts, fields)
        pipeline.hmget(self._keys.job_attempts(job_id), fields)
        of_run, of_job = pipeline.execute()
        return [one or other for one, other in zip(of_run, of_job, strict=True) if one or other]

    def queue_counts(self) -> dict[str, QueueCounts]:
        """Counts of every queue seen in the last 24 h, or with jobs in it."""
        pipeline = self._redis.pipeline(transaction=False)
        now = self._now()
        pipeline.zrangebyscore(self._keys.queues, int((now - QUEUE_SEEN_SECONDS) * 1000), "+inf")
        pipeline.hgetall(self._keys.job_series)
        seen, series = pipeline.execute()
        numbers = [text(own) for own in series.values()]
        kept_since = int((now - self._settings.failed_ttl) * 1000)
        for own in numbers:
            pipeline.zcount(self._keys.failed_in(own), kept_since, "+inf")
        failed = dict(zip(numbers, pipeline.execute(), strict=True))
        _, sizes = waiting.by_series(self._redis, self._keys, self._settings)
        counts: dict[str, list[int]] = {text(queue): [0, 0, 0] for queue in seen}
        for labels, own in series.items():
            size = (*sizes.get(text(own), waiting.Waiting())[:2], failed[text(own)])
            parts = text(labels).split(SEPARATOR)
            if any(size) and len(parts) == 3:
                queue = counts.setdefault(parts[1], [0, 0, 0])
                for state, count in enumerate(size):
                    queue[state] += count
        counts.pop("", None)  # of jobs that were in none: eager ones
        return {queue: QueueCounts(*counts[queue]) for queue in sorted(counts)}

    def processing_by_run(self) -> dict[str, int]:
        """How many jobs of each run, or of each tree without one, run now."""
        series: list[bytes] = self._redis.hvals(self._keys.job_series)
        pipeline = self._redis.pipeline(transaction=False)
        for own in series:
            pipeline.zrange(self._keys.processing(text(own)), 0, -1)
        runs = (records.named(member)[0] for members in pipeline.execute() for member in members)
        return dict(Counter(runs))

    def failed_jobs(self, limit: int = 100, offset: int = 0) -> tuple[list[FailedJob], int]:
        """Failed and lost jobs, newest first, and how many there are."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zrevrange(self._keys.failed, offset, offset + limit - 1, withscores=True)
        pipeline.zcard(self._keys.failed)
        entries, total = pipeline.execute()
        members = [records.named(member) for member, _ in entries]
        found: list[FailedJob] = []
        for (process_id, job_id), record, (_, score) in zip(
            members, records.of(self._redis, self._keys, members), entries, strict=True
        ):
            if record is not None and self._decoded(record) is not None:
                found.append(FailedJob(process_id, job_id, score / 1000, record))
        return found, total

    def totals(self) -> Totals:
        """Everything that ``/metrics`` shows of jobs and commands, read from the primary."""
        keys = self._keys
        pipeline = self._redis.pipeline()
        for name in (keys.job_series, keys.job_totals, keys.command_series, keys.command_totals):
            pipeline.hgetall(name)
        pipeline.hgetall(keys.recorder_totals)
        pipeline.hgetall(keys.exemplars)
        pipeline.zrange(keys.known_jobs, 0, -1)
        pipeline.hvals(keys.running)
        pipeline.scard(keys.job_names)
        pipeline.zcard(keys.queues)
        pipeline.scard(keys.error_types)
        for name in (keys.worker_beats, keys.scheduler_beats, keys.schedules_seen):
            pipeline.zcard(name)
        pipeline.zrange(keys.open_runs, 0, -1)
        of_judged = judged.ask(pipeline, keys)
        asked = sync_state.ask(pipeline, keys)
        results = pipeline.execute()
        results, sync = results[:-asked], results[-asked:]
        results, noted = results[:-of_judged], results[-of_judged:]
        jobs, job_totals, commands, command_totals, recorder, exemplars, known = results[:7]
        running, *used, open_runs = results[7:]
        counters = _counters(recorder)
        lag = counters.get("lag_ms")
        _, sizes = waiting.by_series(self._redis, keys, self._settings)
        scheduled = self.schedules()
        planned = (one.name for one in scheduled.entries if one.state != "disabled")
        return Totals(
            jobs=job_series(jobs, job_totals, exemplars, sizes),
            known_jobs=known_jobs(known, jobs),
            commands=command_series(commands, command_totals, running, self._open_jobs(open_runs)),
            known_commands=known_commands((*planned, *self._named), commands),
            transitions=counters.get("transitions", 0),
            dropped=_family(counters, "dropped"),
            label_overflow=_family(counters, "overflow"),
            label_values={
                "job_name": used[0],
                "queue": used[1],
                "error_type": used[2],
                "command": len(commands),
                "worker": used[3],
                "scheduler": used[4],
                "schedule": used[5],
                "series": len(jobs),
            },
            sync=sync_state.understood(sync, counters),
            is_sync_enabled=self._settings.sync.enabled and self._settings.environment != "testing",
            lag=None if lag is None else lag / 1000,
            schedules=scheduled,
            workers=self.workers(),
            workers_lost=_family(counters, "workers_lost"),
            late=late.queues(jobs, sizes),
            queues=queues.read(self._redis, keys),
            queue_errors=_family(counters, "queue_errors"),
            configured=self._configured({text(name) for name in commands} - {OTHER}, scheduled),
            judged=judged.understood(noted),
        )

    def sync_state(self) -> SyncState:
        """How far the history is behind, what was lost on the way to it, and who works."""
        pipeline = self._redis.pipeline()
        sync_state.ask(pipeline, self._keys)
        pipeline.hgetall(self._keys.recorder_totals)
        *answers, recorder = pipeline.execute()
        return sync_state.understood(answers, _counters(recorder))

    def late_jobs(self, limit: int = 1000) -> LateJobs:
        """Jobs that run, or wait to run, for longer than ``late.*`` says, oldest first."""
        return late.jobs(self._redis, self._keys, self._settings, limit)

    def schedules(self) -> Schedules:
        """Every scheduler and the entries of their schedules, as last told."""
        return schedules.read(self._redis, self._keys)

    def workers(self) -> tuple[WorkerState, ...]:
        """Every worker, as last told; one that died until it is forgotten."""
        return workers.read(self._redis, self._keys)

    def meta(self) -> Meta:
        """Schema and version of the store."""
        schema, version = self._redis.hmget(self._keys.meta, "schema", "clock")
        written = number(schema)
        return Meta(written, number(version), written <= SCHEMA_VERSION)

    def _configured(self, commands: set[str], told: Schedules) -> dict[str, PerCommand]:
        names = commands | self._named | {one.name for one in told.entries}
        # A long name comes after what its series is called, and its settings go before.
        found = ((text(label(name)), self._settings_of(name)) for name in sorted(names))
        return {name: own for name, own in found if own != PerCommand()}

    def _open_jobs(self, open_runs: list[bytes]) -> dict[str, int]:
        pipeline = self._redis.pipeline(transaction=False)
        for metrics in open_runs:
            pipeline.hmget(metrics, "job_count", "success_jobs", "failed_jobs", "revoked_jobs")
        found: dict[str, int] = {}
        for metrics, counts in zip(open_runs, pipeline.execute(), strict=True):
            command = self._keys.command_of(text(metrics))
            jobs, *ended = map(number, counts)
            found[command] = found.get(command, 0) + max(0, jobs - sum(ended))
        return found

    def _now(self) -> float:
        return now_us(self._redis) / 1_000_000

    def _decoded(self, record: bytes) -> dict[str, Any] | None:
        found = decoded(record)
        if found is not None and number(found.get("v", 1)) <= RECORD_VERSION:
            return found
        self.skipped += 1
        return None

    def _runs(self, entries: Iterable[tuple[bytes, bytes]], status: str) -> list[CommandRun]:
        runs: list[CommandRun] = []
        for process_id, body in entries:
            data = self._decoded(body)
            if data is None:
                continue
            if not isinstance(data.get("command"), str):
                self.skipped += 1
                continue
            runs.append(_command_run(text(process_id), data, status))
        return runs

    def _all_jobs(self, process_id: str) -> Iterator[tuple[str, bytes]]:
        own = self._keys.of(process_id)
        seen: set[bytes] = set()
        cursor = 0
        while True:
            cursor, some = self._redis.hscan(own.jobs, cursor, count=CHUNK)
            for job_id, record in some.items():
                # HSCAN may repeat a field while the hash grows.
                if job_id not in seen:
                    seen.add(job_id)
                    yield text(job_id), record
            if cursor == 0:
                break
        if seen:
            return
        ids = [process_id, *sorted(text(one) for one in self._redis.smembers(own.manual))]
        for some_ids in chunks(ids, CHUNK):
            members = [(process_id, job_id) for job_id in some_ids]
            found = records.of(self._redis, self._keys, members)
            for job_id, record in zip(some_ids, found, strict=True):
                if record is not None:
                    yield job_id, record


def _command_run(process_id: str, data: dict[str, Any], status: str) -> CommandRun:
    started, finished = finite(data.get("started_at")), finite(data.get("finished_at"))
    exit_code = finite(data.get("exit_code"))
    said = data.get("status")
    if not isinstance(said, str):
        said = "failed" if status == "completed" and exit_code else status
    duration = finite(data.get("duration"))
    if duration is None and started is not None and finished is not None:
        duration = max(0.0, finished - started)
    return CommandRun(
        process_id=process_id,
        command=data["command"],
        source=str(data.get("source", "console")),
        status=said,
        started_at=started,
        finished_at=finished,
        duration=duration,
        exit_code=None if exit_code is None else int(exit_code),
        environment=str(data.get("environment", "production")),
        arguments=_mapping(data.get("arguments")),
        options=_mapping(data.get("options")),
        data=data,
        due_at=finite(data.get("due_at")),
        sent_at=finite(data.get("sent_at")),
    )


def _counters(totals: Mapping[bytes, bytes]) -> dict[str, int]:
    return {text(field): number(value) for field, value in totals.items()}


def _family(counters: Mapping[str, int], name: str) -> dict[str, int]:
    start = name + ":"
    return {key[len(start) :]: count for key, count in counters.items() if key.startswith(start)}


def _float(value: bytes | None) -> float | None:
    try:
        return None if value is None else finite(float(value))
    except ValueError:
        return None


def _mapping(value: object) -> Mapping[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _sealed(place: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _opened(cursor: str) -> tuple[float, str] | None:
    if not cursor:
        return None
    try:
        created, job_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return float(created), str(job_id)
    except (ValueError, TypeError):
        return None
