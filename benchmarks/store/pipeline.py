"""The competitor: the store's rules done by the client, one pipeline per transition.

It reads what a decision needs, decides, and writes everything in one pipeline without WATCH, so
two writers at once would corrupt its counters; a correct one would cost more. It caches the
numbers of series, as a careful client would.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobmon.model import FINAL, STATUS_OF, Outcome, Stage, Status, Transition, order_key
from jobmon.store.keys import Keys
from jobmon.store.series import COMMAND_BUCKETS, JOB_BUCKETS

if TYPE_CHECKING:
    from jobmon.model import RunTransition
    from jobmon.settings import Settings

_HEAD = re.compile(rb'\{"status":"(\w+)","attempt":(\d+),"x":"(\w*)\.(\d+)\.(\d+)\.(\d+)\.(\d+)",')
_COUNTERS = (
    *("job_count", "success_jobs", "failed_jobs", "revoked_jobs", "peak_memory", "finished"),
    *("born", "started_at", "drain_counted", "last_end_ms", "latest_ready_ms"),
)
_TIMED = (Status.RETRYING, Status.FAILED, Status.COMPLETED)
_FAILING = (Status.FAILED, Status.LOST)
_JOB_BOUNDS = [bound * 1_000_000 for bound in JOB_BUCKETS]
_COMMAND_BOUNDS = [bound * 1_000_000 for bound in COMMAND_BUCKETS]


class PipelineStore:
    """Applies transitions one by one, each with one reading and one writing pipeline."""

    def __init__(self, client: Any, settings: Settings) -> None:
        self._client = client
        self._keys = Keys(settings.redis.prefix)
        self._settings = settings
        self._series: dict[bytes, int] = {}
        self._commands: dict[str, int] = {}

    def apply(self, item: Transition | RunTransition) -> None:
        """Apply one transition."""
        if isinstance(item, Transition):
            self._apply_job(item)
        else:
            self._apply_run(item)

    def _number(self, cache: dict[Any, int], key: str, name: Any) -> int:
        known = cache.get(name)
        if known is None:
            found = self._client.hget(key, name)
            if found is None:
                found = self._client.hlen(key) + 1
                self._client.hset(key, name, found)
            known = cache[name] = int(found)
        return known

    def _apply_job(self, item: Transition) -> None:
        keys, own = self._keys, self._keys.of(item.process_id)
        metrics = own.metrics(item.command)
        labels = f"{item.engine}\x1f{item.queue}\x1f{item.job_name}".encode()
        series = self._number(self._series, keys.job_series, labels)
        command = self._number(self._commands, keys.command_series, item.command)
        reading = self._client.pipeline(transaction=False)
        reading.hget(own.jobs, item.job_id)
        reading.hmget(metrics, _COUNTERS)
        raw, counters = reading.execute()
        now = time.time()
        status = Status(item.status)
        old: Status | None = None
        old_attempt, seen, old_time, peak = item.attempt, 0, 0, 0
        stages, places_were, replaces = "", (), True
        if raw is not None:
            head = _HEAD.match(raw)
            assert head is not None
            old, old_attempt = Status(head[1].decode()), int(head[2])
            stages, peak = head[3].decode(), int(head[6])
            old_time = int(head[5]) if old in _TIMED else 0
            replaces = order_key(status, item.attempt, item.delivery) > order_key(
                old, old_attempt, int(head[4])
            )
            places_were = self._places(old, int(head[7]))
        back = old_attempt - item.attempt
        if 0 <= back < len(stages):
            seen = int(stages[back], 16)
        bits = item.stages & ~seen
        if status == Status.LOST:
            bits &= ~Stage.ENDED if replaces else ~(Stage.ENDED | Stage.LOST)
        else:
            bits &= ~Stage.LOST
        writing = self._client.pipeline(transaction=False)
        self._count(writing, item, bits, seen, series, command)
        now_ms, version = int(now * 1000), int(now * 1_000_000)
        if not replaces:
            if bits and 0 <= back < 7:
                stages = stages.ljust(back, "0")
                stages = stages[:back] + f"{seen | bits:x}" + stages[back + 1 :]
                assert raw is not None
                changed = raw.split(b'"', 10)
                numbers = changed[9].split(b".", 1)
                writing.hset(
                    own.jobs,
                    item.job_id,
                    raw.replace(changed[9], stages.encode() + b"." + numbers[1], 1),
                )
            writing.execute()
            return
        if raw is None or back < 0:
            stages = f"{bits:x}" + "0" * max(0, -back - 1) + stages
        else:
            stages = f"{seen | bits:x}" + stages[1:]
        peak = max(peak, item.peak_memory_bytes)
        head_now = (
            f'{{"status":"{status}","attempt":{item.attempt},"x":"{stages[:7]}.{item.delivery}.'
            f'{item.execution_us}.{peak}.{series}",'
        )
        writing.hset(own.jobs, item.job_id, head_now.encode() + item.body)
        if raw is not None and back < 0:
            writing.hset(own.attempts, f"{item.job_id}:{old_attempt}", raw)
            writing.hdel(own.attempts, f"{item.job_id}:{old_attempt - 20}")
        deltas = {
            "job_count": int(old is None),
            "success_jobs": (status == Status.COMPLETED) - (old == Status.COMPLETED),
            "failed_jobs": (status in _FAILING) - (old in _FAILING),
            "lost_jobs": (status == Status.LOST) - (old == Status.LOST),
            "revoked_jobs": (status == Status.REVOKED) - (old == Status.REVOKED),
            "retried_jobs": (item.attempt > 1) - (old is not None and old_attempt > 1),
        }
        for field, delta in deltas.items():
            if delta:
                writing.hincrby(metrics, field, delta)
        spent = item.execution_us if status in _TIMED else 0
        if spent != old_time:
            writing.hincrbyfloat(metrics, "total_job_time", (spent - old_time) / 1_000_000)
        known = dict(zip(_COUNTERS, counters, strict=True))
        fields: dict[str, object] = {"version": version, "last_update": f"{now:.6f}"}
        if peak > int(known["peak_memory"] or 0):
            fields["peak_memory"] = peak
        if known["born"] is None:
            fields |= {"born": version, "partial": 1}
        last_end = int(known["last_end_ms"] or 0)
        if status in FINAL or status == Status.LOST:
            last_end = max(last_end, item.at_ms)
            fields["last_end_ms"] = last_end
        latest_ready = int(known["latest_ready_ms"] or 0)
        if status in (Status.PENDING, Status.RETRYING) and item.at_ms > now_ms:
            latest_ready = max(latest_ready, item.at_ms)
            fields["latest_ready_ms"] = latest_ready
        counts = {f: int(known[f] or 0) + deltas[f] for f in _COUNTERS[:4]}
        still_open = counts["job_count"] - sum(counts[f] for f in _COUNTERS[1:4])
        if known["finished"] and not still_open:
            self._drain(writing, item.process_id, command, known, last_end, fields, version)
        writing.hset(metrics, mapping=fields)
        self._index(writing, item, raw, status, series, places_were)
        touched = (status, old)
        if any(one in FINAL or one == Status.LOST for one in touched):
            writing.rpush(own.unsynced, f"{version}:1", item.job_id)
            writing.zadd(keys.unsynced, {item.process_id: version})
        if item.message and status == Status.FAILED:
            writing.set(keys.message(item.job_id), item.message, ex=self._settings.failed_ttl)
        self._expire(writing, own, metrics, still_open, known, counts, latest_ready, now_ms)
        writing.zadd(keys.queues, {item.queue: now_ms})
        writing.hincrby(keys.recorder_totals, "transitions", 1)
        writing.hset(keys.recorder_totals, "lag_ms", max(0, now_ms - item.at_ms))
        writing.hset(keys.meta, mapping={"schema": 1, "clock": version})
        writing.execute()

    def _index(
        self,
        writing: Any,
        item: Transition,
        raw: bytes | None,
        status: Status,
        series: int,
        places_were: Sequence[str],
    ) -> None:
        keys = self._keys
        member = f"{item.process_id}/{item.job_id}"
        places = self._places(status, series)
        if raw is None:
            failed = (keys.failed, keys.failed_in(series))
            places_were = (*failed, keys.pending(series), keys.processing(series))
        for name in places_were:
            if name not in places:
                writing.zrem(name, member)
        for name in places:
            writing.zadd(name, {member: item.at_ms})

    def _places(self, status: Status, series: int) -> Sequence[str]:
        if status in _FAILING:
            return self._keys.failed, self._keys.failed_in(series)
        if status == Status.PROCESSING:
            return (self._keys.processing(series),)
        return () if status in FINAL else (self._keys.pending(series),)

    def _expire(
        self,
        writing: Any,
        own: Any,
        metrics: str,
        still_open: int,
        known: dict[str, bytes | None],
        counts: dict[str, int],
        latest_ready: int,
        now_ms: int,
    ) -> None:
        options = self._settings
        ttl = options.tracking_ttl if still_open or not known["finished"] else options.completed_ttl
        if counts["failed_jobs"]:
            ttl = max(ttl, options.failed_ttl)
        expires = now_ms + ttl * 1000
        if still_open:
            expires = max(expires, latest_ready + options.tracking_ttl * 1000)
        for name in (own.jobs, metrics, own.attempts, own.unsynced):
            writing.pexpireat(name, expires)

    def _drain(
        self,
        writing: Any,
        process_id: str,
        command: int,
        known: dict[str, bytes | None],
        last_end_ms: int,
        fields: dict[str, object],
        version: int,
    ) -> None:
        fields["drained_at"] = f"{last_end_ms / 1000:.3f}"
        writing.zadd(self._keys.drained, {process_id: version})
        if known["drain_counted"] is None and known["started_at"]:
            fields["drain_counted"] = 1
            duration = max(0, last_end_ms * 1000 - round(float(known["started_at"]) * 1_000_000))
            self._observe(
                writing,
                self._keys.command_totals,
                f"{command}:drain_duration",
                _COMMAND_BOUNDS,
                duration,
            )

    def _count(
        self, writing: Any, item: Transition, bits: int, seen: int, series: int, command: int
    ) -> None:
        totals = self._keys.job_totals
        if bits & Stage.ENQUEUED:
            writing.hincrby(totals, f"{series}:enqueued", 1)
        if bits & Stage.STARTED:
            writing.hincrby(totals, f"{series}:started", 1)
            if item.queue_time_us >= 0:
                name = f"{series}:queue_time"
                self._observe(writing, totals, name, _JOB_BOUNDS, item.queue_time_us)
        if bits & (Stage.ENDED | Stage.LOST):
            outcome = "lost" if bits & Stage.LOST else item.outcome
            writing.hincrby(totals, f"{series}:finished:{outcome}", 1)
            writing.hincrby(self._keys.command_totals, f"{command}:jobs_finished:{outcome}", 1)
            if bits & Stage.ENDED and seen & Stage.LOST:
                writing.hincrby(totals, f"{series}:lost_corrected", 1)
            if bits & Stage.ENDED and STATUS_OF[Outcome(outcome)] != Status.REVOKED:
                name = f"{series}:duration"
                self._observe(writing, totals, name, _JOB_BOUNDS, item.execution_us)
            if item.error_type:
                writing.hincrby(totals, f"{series}:errors:{item.error_type}", 1)

    @staticmethod
    def _observe(writing: Any, key: str, name: str, bounds: list[float], value: int) -> None:
        writing.hincrby(key, f"{name}:{bisect_left(bounds, value)}", 1)
        writing.hincrby(key, f"{name}:sum_us", value)

    def _apply_run(self, item: RunTransition) -> None:
        keys, own = self._keys, self._keys.of(item.process_id)
        metrics = own.metrics(item.command)
        writing = self._client.pipeline(transaction=False)
        if item.status == "running":
            writing.hset(keys.running, item.process_id, item.body)
            writing.set(keys.newest_run(item.command), item.process_id, ex=86_400)
            writing.hset(
                metrics,
                mapping={"started_at": f"{item.at_ms / 1000:.3f}", "started": 1, "born": 1},
            )
        else:
            writing.hdel(keys.running, item.process_id)
            writing.hset(keys.finished, item.process_id, item.body)
            writing.zadd(keys.finished_by_time, {item.process_id: item.at_ms + 3_600_000})
            writing.hset(metrics, mapping={"finished": 1})
        writing.execute()
