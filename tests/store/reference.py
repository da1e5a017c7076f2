"""The store's rules once more, as plain Python over all that was delivered, and their check.

The reference keeps every transition and derives everything from the whole history where the
script keeps compact numbers. `check` compares both, and recounts the run counters from the
stored records alone.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import redis

from jobmon.model import (
    RunTransition,
    Stage,
    Status,
    Transition,
    order_key,
)
from jobmon.settings import Settings
from jobmon.store.keys import Keys
from jobmon.store.series import COMMAND_BUCKETS, JOB_BUCKETS

HEAD = re.compile(rb'\{"status":"(\w+)","attempt":(\d+),"x":"(\w*)\.(\d+)\.(\d+)\.(\d+)\.(\d+)",')
FAILING = (Status.FAILED, Status.LOST)
FINAL = (Status.REVOKED, Status.FAILED, Status.COMPLETED)
TIMED = (Status.RETRYING, Status.FAILED, Status.COMPLETED)


def key_of(item: Transition) -> tuple[int, bool, int, int]:
    return order_key(Status(item.status), item.attempt, item.delivery)


@dataclass
class Job:
    """All that was delivered of one job since its keys were born."""

    best: dict[int, Transition] = field(default_factory=dict)
    """By attempt."""
    seen: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    peak: int = 0
    extended_ms: int = 0
    """Until when it was made to live, if it has no run."""

    @property
    def record(self) -> Transition:
        return self.best[max(self.best)]


@dataclass
class Run:
    command: str
    jobs: dict[str, Job] = field(default_factory=dict)
    start: RunTransition | None = None
    end: RunTransition | None = None
    exists: bool = False
    partial: bool = False
    drain_counted: bool = False
    was_drained: bool = False
    unsynced: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Jobs by the call that changed them."""
    changed: int = 0
    """The last call that changed it."""
    extended_ms: int = 0
    """Until when it was made to live."""
    last_end_ms: int = 0
    latest_ready_ms: int = 0

    def count(self, *statuses: Status) -> int:
        return sum(job.record.status in statuses for job in self.jobs.values())

    @property
    def open(self) -> int:
        return len(self.jobs) - self.count(*FINAL, Status.LOST)

    @property
    def drained(self) -> bool:
        return self.end is not None and self.open == 0

    @property
    def started_ms(self) -> int:
        if self.start is not None:
            return self.start.at_ms
        assert self.end is not None
        return self.end.at_ms - self.end.duration_us // 1000


@dataclass
class Reference:
    settings: Settings
    runs: dict[str, Run] = field(default_factory=dict)
    trees: dict[str, dict[str, Job]] = field(default_factory=dict)
    job_totals: Counter[tuple[str, str]] = field(default_factory=Counter)
    command_totals: Counter[tuple[str, str]] = field(default_factory=Counter)
    latest: dict[tuple[str, str], int] = field(default_factory=dict)
    running: dict[str, bytes] = field(default_factory=dict)
    finished: dict[str, bytes] = field(default_factory=dict)
    beating: set[str] = field(default_factory=set)
    results: Counter[str] = field(default_factory=Counter)
    gone: set[str] = field(default_factory=set)
    """Process ids whose keys expired once."""
    commands: dict[str, str] = field(default_factory=dict)
    """Of the runs."""
    calls: int = 0
    versions: dict[int, int] = field(default_factory=dict)
    """By call, as the script gave them."""
    marks: dict[tuple[str, str | None], int] = field(default_factory=dict)
    """Unsynced runs, and jobs without one, by the call that marked them."""
    synced: dict[tuple[str, str | None], int] = field(default_factory=dict)
    """What cleanup knows, by the call that had marked it."""
    drained: dict[str, int] = field(default_factory=dict)
    failures: dict[tuple[str, str], int] = field(default_factory=dict)
    """Jobs whose place among the failed ones is to be told, by the call that changed it."""

    def apply(self, batch: list[Transition | RunTransition], now_ms: int) -> Counter[str]:
        """Apply a batch; the counts of what became of it."""
        self.results = Counter()
        self.calls += 1
        changed: set[str] = set()
        for item in batch:
            self.commands[item.process_id] = item.command
            if isinstance(item, RunTransition):
                if self._apply_run(item, now_ms):
                    changed.add(item.process_id)
            elif self._apply_job(item, now_ms):
                changed.add(item.process_id)
        for pid in changed & self.runs.keys():
            run = self.runs[pid]
            if not run.exists:
                run.exists = True
                run.partial = run.start is None
            run.changed = self.calls
            run.extended_ms = 0
            if run.drained:
                self.drained[pid] = self.calls
            elif run.was_drained:
                self.drained.pop(pid, None)
            run.was_drained = run.drained
            if run.drained and run.end and not run.drain_counted and run.end.status != "lost":
                run.drain_counted = True
                drained_ms = max(run.end.at_ms, run.last_end_ms)
                duration = max(0, drained_ms - run.started_ms) * 1000
                self._observe(
                    self.command_totals, run.command, "drain_duration", duration, COMMAND_BUCKETS
                )
        return self.results

    def _apply_run(self, item: RunTransition, now_ms: int) -> bool:
        run = self.runs.setdefault(item.process_id, Run(item.command))
        pid, command = item.process_id, item.command
        if item.status in ("running", "sent"):
            alive = (
                item.beats
                and run.end is not None
                and run.end.status == "lost"
                and item.at_ms + item.duration_us // 1000 > run.end.at_ms
            )
            again = run.start is not None and (
                item.status == "sent" or run.start.status == "running"
            )
            if again and not alive:
                self.results["ignored"] += 1
                return False
            if alive:
                run.end = None
                self.marks[pid, None] = self.calls
                self.finished.pop(pid, None)
                self.command_totals[command, "runs_lost_corrected"] += 1
            run.start = item
            run.partial = False
            if run.end is not None:
                self.marks[pid, None] = self.calls
            else:
                self.running[pid] = item.body
                if item.beats:
                    self.beating.add(pid)
            if item.status == "running":
                self._latest(command, "last_start", item.at_ms)
        else:
            correction = run.end is not None and run.end.status == "lost" != item.status
            too_early = item.status == "lost" and pid in self.beating and item.at_ms < now_ms
            if (run.end is not None and not correction) or too_early:
                self.results["ignored"] += 1
                return False
            run.end = item
            self.marks[pid, None] = self.calls
            self.running.pop(pid, None)
            self.beating.discard(pid)
            self.finished[pid] = item.body
            self.command_totals[command, f"runs:{item.outcome}"] += 1
            if correction:
                self.command_totals[command, "runs_lost_corrected"] += 1
            if item.status != "lost":
                self._observe(
                    self.command_totals,
                    command,
                    "run_duration",
                    item.duration_us,
                    COMMAND_BUCKETS,
                )
            if item.at_ms >= self.latest.get((command, "last_end"), 0):
                self.latest[command, "last_end"] = item.at_ms
                self.latest[command, "last_duration_us"] = item.duration_us
                self.latest[command, "last_run_failed"] = int(item.status != "completed")
            if item.status == "completed":
                self._latest(command, "last_success", item.at_ms)
        self.results["applied"] += 1
        return True

    def _latest(self, command: str, name: str, value: int) -> None:
        self.latest[command, name] = max(self.latest.get((command, name), 0), value)

    def _apply_job(self, item: Transition, now_ms: int) -> bool:
        if item.manual:
            jobs = self.trees.setdefault(item.process_id, {})
            run = None
        else:
            run = self.runs.setdefault(item.process_id, Run(item.command))
            jobs = run.jobs
        job = jobs.setdefault(item.job_id, Job())
        old = job.record if job.best else None
        replaces = old is None or key_of(item) > key_of(old)
        back = old.attempt - item.attempt if old is not None else 0
        if replaces or back < 7:
            bits = item.stages & ~job.seen[item.attempt]
            if item.status == Status.LOST:
                bits &= ~Stage.ENDED
                if not replaces:
                    bits &= ~Stage.LOST
            else:
                bits &= ~Stage.LOST
            self._count(item, bits, job.seen[item.attempt])
        else:
            bits = 0
        shown = run is not None and item.peak_memory_bytes > job.peak
        changed = bits != 0 or item.peak_memory_bytes > job.peak
        job.seen[item.attempt] |= bits
        job.peak = max(job.peak, item.peak_memory_bytes)
        best = job.best.get(item.attempt)
        if (best is None or key_of(item) > key_of(best)) and back <= 20:
            job.best[item.attempt] = item
            changed = shown = True
        ended = (*FINAL, Status.LOST)
        if run is not None and item.status in ended:
            run.last_end_ms = max(run.last_end_ms, item.at_ms)
        if replaces:
            self.results["applied"] += 1
        elif back >= 7:
            self.results["stale"] += 1
        else:
            self.results["late" if changed else "ignored"] += 1
        if not replaces:
            if shown and old is not None and old.status in ended:
                self._mark(item, run)
            return False
        was = old.status if old is not None else ""
        if item.status in FAILING or was in FAILING:
            self.failures[item.process_id, item.job_id] = self.calls
        if run is None:
            job.extended_ms = 0
            if item.status in ended or was in ended:
                self._mark(item, run)
            return False
        if item.status in ended or was in ended:
            self._mark(item, run)
        if item.status in (Status.PENDING, Status.RETRYING) and item.at_ms > now_ms:
            run.latest_ready_ms = max(run.latest_ready_ms, item.at_ms)
        return True

    def _mark(self, item: Transition, run: Run | None) -> None:
        self.marks[item.process_id, None if run else item.job_id] = self.calls
        if run:
            run.unsynced[self.calls].add(item.job_id)

    def _count(self, item: Transition, bits: int, seen: int) -> None:
        labels = f"{item.engine}\x1f{item.queue}\x1f{item.job_name}"
        totals = self.job_totals
        if bits & Stage.ENQUEUED:
            totals[labels, "enqueued"] += 1
        if bits & Stage.STARTED:
            totals[labels, "started"] += 1
            if item.queue_time_us >= 0:
                self._observe(totals, labels, "queue_time", item.queue_time_us, JOB_BUCKETS)
        if bits & (Stage.ENDED | Stage.LOST):
            outcome = "lost" if bits & Stage.LOST else item.outcome
            totals[labels, f"finished:{outcome}"] += 1
            self.command_totals[item.command, f"jobs_finished:{outcome}"] += 1
            if bits & Stage.ENDED:
                if seen & Stage.LOST:
                    totals[labels, "lost_corrected"] += 1
                    self.command_totals[item.command, "lost_corrected"] += 1
                if item.outcome != "revoked":
                    self._observe(totals, labels, "duration", item.execution_us, JOB_BUCKETS)
            if item.error_type:
                totals[labels, f"errors:{item.error_type}"] += 1

    @staticmethod
    def _observe(
        totals: Counter[tuple[str, str]],
        series: str,
        family: str,
        value_us: int,
        bounds: tuple[float, ...],
    ) -> None:
        totals[series, f"{family}:{bisect_left([b * 1_000_000 for b in bounds], value_us)}"] += 1
        totals[series, f"{family}:sum_us"] += value_us

    def expire(self, process_id: str) -> None:
        """The keys of a run or of a tree are gone."""
        self.runs.pop(process_id, None)
        self.trees.pop(process_id, None)
        self.gone.add(process_id)

    def read(self, process_id: str, limit: int) -> list[Held]:
        """What a sync reads of a run or a tree."""
        held: list[Held] = []
        for (owner, job_id), marked in self.marks.items():
            if owner != process_id:
                continue
            ids: set[str] = set()
            up_to, more = 0, False
            run = self.runs.get(owner)
            for call, some in (run.unsynced if run and job_id is None else {}).items():
                if len(ids) >= limit:
                    more = True
                    break
                ids |= some
                up_to = call
            held.append(Held((owner, job_id), marked, ids, up_to, more))
        return held

    def clear(self, held: list[Held]) -> None:
        """The history has what was read."""
        for (owner, job_id), marked, _, up_to, more in held:
            run = self.runs.get(owner) if job_id is None else None
            if run:
                for call in [one for one in run.unsynced if one <= up_to]:
                    del run.unsynced[call]
            if more or (run and run.unsynced) or self.marks.get((owner, job_id)) != marked:
                continue
            del self.marks[owner, job_id]
            if job_id is None:
                self.drained.pop(owner, None)
            if (run and run.exists) or job_id in self.trees.get(owner, ()):
                self.synced[owner, job_id] = marked

    def remove(self) -> int:
        """Cleanup of all that is done; how many records of jobs that takes away."""
        removed = 0
        for (owner, job_id), marked in list(self.synced.items()):
            if min(self.failures.values(), default=self.calls + 1) <= marked:
                continue
            del self.synced[owner, job_id]
            if (owner, job_id) in self.marks:
                continue
            if job_id is None:
                run = self.runs.get(owner)
                if run and run.drained and run.changed <= marked:
                    removed += len(run.jobs)
                    self.expire(owner)
                continue
            job = self.trees.get(owner, {}).get(job_id)
            if job and job.record.status in (*FINAL, Status.LOST):
                removed += 1
                self.gone.add(owner)
                del self.trees[owner][job_id]
        return removed


class Held(NamedTuple):
    """What a sync has read and not cleared."""

    mark: tuple[str, str | None]
    marked: int
    ids: set[str]
    up_to: int
    more: bool


def values(client: Any) -> dict[str, Any]:
    """Everything in the server but when it expires."""
    return {name: value for name, (value, _) in snapshot(client).items()}


Snapshot = dict[str, tuple[Any, int]]
"""Value and expiry (Unix ms, -1 never) of every key."""


def snapshot(client: Any) -> Snapshot:
    """Everything in the server."""
    names = sorted(client.keys())
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.type(name)
    kinds = pipeline.execute()
    for name, kind in zip(names, kinds, strict=True):
        match kind:
            case b"hash":
                pipeline.hgetall(name)
            case b"zset":
                pipeline.zrange(name, 0, -1, withscores=True)
            case b"set":
                pipeline.smembers(name)
            case b"list":
                pipeline.lrange(name, 0, -1)
            case _:
                pipeline.get(name)
    values = pipeline.execute()
    found = zip(values, expiries(client, names), strict=True)
    return {name.decode(): pair for name, pair in zip(names, found, strict=True)}


def expiries(client: Any, names: Sequence[bytes | str]) -> list[int]:
    """When keys expire in Unix ms: -1 never, -2 they are not there."""
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.execute_command("PEXPIRETIME", name)
    try:
        return pipeline.execute()
    except redis.ResponseError:
        return _expiries_before_redis_7(client, names)


def _expiries_before_redis_7(client: Any, names: Sequence[bytes | str]) -> list[int]:
    # What is left is told in ms of a clock that moves between the keys.
    found: list[int] = []
    for instant in map(int, client.eval(_EXPIRIES, len(names), *names)):
        found.append(next((one for one in found if abs(one - instant) <= 5 < instant), instant))
    return found


_EXPIRIES = """
local found = {}
for i, key in ipairs(KEYS) do
  local time, left = redis.call('TIME'), redis.call('PTTL', key)
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  found[i] = string.format('%.0f', left < 0 and left or now + left)
end
return found
"""


def recount(records: dict[bytes, bytes]) -> dict[str, object]:
    """Counters of a run from the bytes of its records."""
    counts: Counter[str] = Counter()
    peak = 0
    for raw in records.values():
        decoded = json.loads(raw)
        head = HEAD.match(raw)
        assert head is not None, raw
        status = decoded["status"]
        counts["job_count"] += 1
        counts["success_jobs"] += status == "completed"
        counts["failed_jobs"] += status in FAILING
        counts["lost_jobs"] += status == "lost"
        counts["revoked_jobs"] += status == "revoked"
        counts["retried_jobs"] += decoded["attempt"] > 1
        counts["time"] += int(head[5]) if status in TIMED else 0
        peak = max(peak, int(head[6]))
    names = ("job_count", "success_jobs", "failed_jobs", "lost_jobs", "revoked_jobs")
    return {name: counts[name] for name in (*names, "retried_jobs")} | {
        "total_job_time": f"{counts['time'] // 1_000_000}.{counts['time'] % 1_000_000:06d}",
        "peak_memory": peak,
    }


def check(reference: Reference, found: Snapshot) -> None:
    """Compare all keys with the reference."""
    keys = Keys(reference.settings.redis.prefix)
    expected_keys: set[str] = set()
    places: dict[str, dict[str, int]] = {}
    """Where each live job must be: member → zset → score."""
    own_indexes: dict[str, set[str]] = {}

    def value(name: str, default: Any = None) -> Any:
        return found.get(name, ({} if default is None else default, -2))[0]

    series = {k.decode(): v.decode() for k, v in value(keys.job_series).items()}
    commands = {k.decode(): v.decode() for k, v in value(keys.command_series).items()}

    def check_record(member: str, job: Job, raw: bytes) -> None:
        record = job.record
        head = HEAD.match(raw)
        assert head is not None, raw
        assert raw[head.end() :] == record.body, (member, raw, record)
        assert (head[1].decode(), int(head[2])) == (record.status, record.attempt)
        stages = "".join(f"{job.seen[record.attempt - back]:x}" for back in range(7))
        assert head[3].decode().rstrip("0") == stages.rstrip("0"), (member, raw, job)
        assert [int(head[n]) for n in (4, 5, 6)] == [
            *(record.delivery, record.execution_us, job.peak),
        ], (member, raw, job)
        own = series[f"{record.engine}\x1f{record.queue}\x1f{record.job_name}"]
        assert head[7].decode() == own
        failed = (keys.failed, keys.failed_in(own))
        where = {
            Status.PENDING: (keys.pending(own),),
            Status.RETRYING: (keys.pending(own),),
            Status.PROCESSING: (keys.processing(own),),
            Status.FAILED: failed,
            Status.LOST: failed,
        }.get(Status(record.status), ())
        places[member] = dict.fromkeys(where, record.at_ms)
        own_indexes[member] = {*failed, keys.pending(own), keys.processing(own)}

    def check_attempts(job_id: str, job: Job, raw: dict[bytes, bytes]) -> set[str]:
        current = job.record.attempt
        own = {a: t for a, t in job.best.items() if current - 20 <= a < current}
        for attempt, best in own.items():
            stored = raw[f"{job_id}:{attempt}".encode()]
            head = HEAD.match(stored)
            assert head is not None
            assert (head[1].decode(), int(head[2])) == (best.status, attempt)
            assert stored[head.end() :] == best.body
        return {f"{job_id}:{attempt}" for attempt in own}

    settings = reference.settings
    for process_id, run in reference.runs.items():
        own = keys.of(process_id)
        metrics = own.metrics(run.command)
        if not run.exists:
            assert metrics not in found
            continue
        fields = {k.decode(): v.decode() for k, v in value(metrics).items()}
        records = value(own.jobs)
        assert {k.decode() for k in records} == set(run.jobs)
        for name, counted in recount(records).items():
            assert fields[name] == str(counted), (process_id, name, fields[name], counted)
        kept: set[str] = set()
        for job_id, job in run.jobs.items():
            check_record(f"{process_id}/{job_id}", job, records[job_id.encode()])
            kept |= check_attempts(job_id, job, value(own.attempts))
        assert {k.decode() for k in value(own.attempts)} == kept
        queued = list(value(own.unsynced, []))
        ids: set[str] = set()
        last = 0
        while queued:
            version, count = map(int, queued.pop(0).split(b":"))
            assert version > last
            last = version
            ids |= {one.decode() for one in queued[:count]}
            del queued[:count]
        assert ids == set().union(*run.unsynced.values())
        alive = {metrics}
        alive |= {own.jobs} if run.jobs else set()
        alive |= {own.attempts} if kept else set()
        alive |= {own.unsynced} if ids else set()
        expected_keys |= alive
        assert ("partial" in fields) == run.partial
        started = {None: None, "sent": "sent", "running": "1"}
        assert fields.get("started") == started[run.start.status if run.start else None]
        assert ("finished" in fields) == (run.end is not None)
        if run.end is not None:
            assert fields["status"] == run.end.status
            assert fields["exit_code"] == str(run.end.exit_code)
            assert fields["run"].encode() == run.end.body
            assert fields["finished_at"] == f"{run.end.at_ms / 1000:.3f}"
        assert ("drained_at" in fields) == run.drained
        ttl = settings.tracking_ttl if run.open or not run.end else settings.completed_ttl
        if run.count(*FAILING):
            ttl = max(ttl, settings.failed_ttl)
        changed_ms = int(fields["version"]) // 1000
        expires = changed_ms + ttl * 1000
        if run.open:
            expires = max(expires, run.latest_ready_ms + settings.tracking_ttl * 1000)
        expires = max(expires, run.extended_ms)
        assert len({found[name][1] for name in alive}) == 1, (process_id, alive)
        assert abs(found[metrics][1] - expires) < 50, (process_id, found[metrics][1] - expires)
        open_runs = {m.decode(): int(s) for m, s in value(keys.open_runs, [])}
        assert (metrics in open_runs) == (run.open > 0)
        assert abs(open_runs.get(metrics, expires) - expires) < 50

    for root, jobs in reference.trees.items():
        members = {one.decode() for one in value(keys.of(root).manual, set())}
        assert members == set(jobs) - {root}
        latest = -1
        for job_id, job in jobs.items():
            fields = value(keys.job(job_id))
            check_record(f"{root}/{job_id}", job, fields[b"record"])
            kept = check_attempts(job_id, job, value(keys.job_attempts(job_id)))
            assert {k.decode() for k in value(keys.job_attempts(job_id))} == kept
            record = job.record
            assert fields[b"status"].decode() == record.status
            assert fields[b"attempt"].decode() == str(record.attempt)
            assert fields[b"process_id"].decode() == root
            ttl = settings.tracking_ttl
            if record.status in FAILING:
                ttl = settings.failed_ttl
            elif record.status in FINAL:
                ttl = settings.completed_ttl
            expires = int(float(fields[b"last_update"]) * 1000) + ttl * 1000
            if record.status in (Status.PENDING, Status.RETRYING):
                expires = max(expires, record.at_ms + ttl * 1000)
            expires = max(expires, job.extended_ms)
            instant = found[keys.job(job_id)][1]
            assert abs(instant - expires) < 50, (job_id, instant - expires)
            if kept:
                assert found[keys.job_attempts(job_id)][1] == instant
            latest = max(latest, instant if job_id != root else -1)
            expected_keys |= {keys.job(job_id)} | ({keys.job_attempts(job_id)} if kept else set())
        if members:
            expected_keys.add(keys.of(root).manual)
            assert found[keys.of(root).manual][1] >= latest - 50

    actual: dict[str, dict[str, int]] = defaultdict(dict)
    kinds = (keys.pending(""), keys.processing(""), keys.failed_in(""))
    indexes = [name for name in found if name.startswith(kinds)]
    for name in (*indexes, keys.failed):
        for member, score in value(name, []):
            actual[member.decode()][name] = int(score)
    for member, where in places.items():
        present = actual.pop(member, {})
        if member.split("/")[0] in reference.gone:
            # An earlier life of the job may have left a member in another series' index.
            present = {k: v for k, v in present.items() if k in where or k in own_indexes[member]}
        assert present == where, (member, where, present)
    for member in actual:
        assert member.split("/")[0] in reference.gone, f"{member} has no record"

    def member(mark: tuple[str, str | None]) -> str:
        owner, job_id = mark
        if job_id is None:
            return keys.of(owner).metrics(reference.commands[owner])
        return f"{owner}/{job_id}"

    def marked(name: str) -> dict[str, int]:
        return {one.decode(): int(score) for one, score in value(name, [])}

    versions = reference.versions
    assert marked(keys.unsynced) == {member(m): versions[at] for m, at in reference.marks.items()}
    assert marked(keys.synced) == {member(m): versions[at] for m, at in reference.synced.items()}
    assert marked(keys.drained) == {pid: versions[at] for pid, at in reference.drained.items()}
    assert marked(keys.failures) == {
        f"{owner}/{job}": versions[at] for (owner, job), at in reference.failures.items()
    }

    def totals(name: str, numbers: dict[str, str]) -> dict[tuple[str, str], int]:
        label_of = {own: label for label, own in numbers.items()}
        split = {k.decode().partition(":")[::2]: int(v) for k, v in value(name).items()}
        return {(label_of[own], rest): count for (own, rest), count in split.items()}

    assert totals(keys.job_totals, series) == nonzero(reference.job_totals)
    assert totals(keys.command_totals, commands) == nonzero(reference.command_totals) | dict(
        reference.latest
    )
    assert value(keys.running) == {k.encode(): v for k, v in reference.running.items()}
    assert value(keys.finished) == {k.encode(): v for k, v in reference.finished.items()}
    assert {m.decode() for m, _ in value(keys.run_beats, [])} == reference.beating
    by_time = {m.decode() for m, _ in value(keys.finished_by_time, [])}
    assert by_time == set(reference.finished)

    forever = {
        *(keys.meta, keys.job_series, keys.command_series, keys.error_series, keys.job_names),
        *(keys.queues, keys.error_types, keys.job_totals, keys.command_totals),
        *(keys.recorder_totals, keys.unsynced, keys.drained, keys.failures, keys.failed),
        *(keys.synced, keys.running, keys.finished, keys.finished_by_time, keys.open_runs),
        *(keys.run_beats, keys.exemplars, keys.series_seen, *indexes),
    }
    for name, (_, expires_ms) in found.items():
        if name in forever:
            assert expires_ms == -1, name
        else:
            assert expires_ms > 0, name
            assert name in expected_keys or name.startswith(
                (keys.newest_run(""), keys.message(""), keys.lease(""))
            ), name


def nonzero(totals: Counter[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """As stored: a sum is written even when it is 0."""
    return {key: count for key, count in totals.items() if count or key[1].endswith("sum_us")}
