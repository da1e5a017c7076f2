"""Generated histories: batches of transitions in any order, with expiry between them."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any
from zlib import crc32

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from jobmon.model import FINAL, RunTransition, Stage, Status, Transition
from jobmon.settings import Settings
from jobmon.store.keys import Keys
from jobmon.store.lease import Lease
from jobmon.store.unsynced import Change, Done, Unsynced
from jobmon.store.writer import Writer
from tests.store.reference import Held, Reference, check, snapshot

SOAK = 20 if os.environ.get("JOBMON_SOAK") == "1" else 1
NOW_MS = int(time.time() * 1000) - 60_000
FUTURE_MS = NOW_MS + 5 * 86_400_000
RUNS = {"p1": "data:process", "p2": "odd {name} 100%"}
TREE = "m"

OUTCOMES = {
    Status.COMPLETED: ("completed", "ignored"),
    Status.FAILED: ("failed", "timed_out", "rejected"),
    Status.LOST: ("lost",),
    Status.RETRYING: ("retried",),
    Status.REVOKED: ("revoked",),
}
STAGES = {
    Status.PENDING: (Stage.ENQUEUED,),
    Status.PROCESSING: (Stage.STARTED, Stage.STARTED | Stage.ENQUEUED),
    Status.LOST: (Stage.LOST, Stage.LOST | Stage.STARTED),
}
ENDS = (Stage.ENDED, Stage.ENDED | Stage.STARTED)

Step = str | list[Transition | RunTransition]
"""A batch, a process id whose keys expire, or what a server does.

`read`, a process id and how many jobs: what a sync holds until `clear`; `failures`: those are
written; `extend`: what is unsynced lives longer; `remove`: cleanup of all that is done.
"""


def many(count: int) -> Any:
    """Settings of a property test that runs so many histories, 20 times as many in a soak."""
    return settings(
        max_examples=count * SOAK,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def transition(
    process_id: str,
    job_id: str,
    status: Status,
    attempt: int = 1,
    delivery: int = 0,
    **fields: Any,
) -> Transition:
    """A transition whose other fields follow from its place in the order of its job."""
    place = 0 if status in FINAL else delivery
    seed = crc32(f"{process_id}/{job_id}/{status}/{attempt}/{place}".encode())
    outcomes = OUTCOMES.get(status, ("",))
    outcome = outcomes[seed % len(outcomes)]
    stages = STAGES.get(status, ENDS)
    waits = status in (Status.PENDING, Status.RETRYING)
    failing = status in (Status.FAILED, Status.LOST, Status.RETRYING)
    timed = status in (Status.RETRYING, Status.FAILED, Status.COMPLETED)
    return Transition(
        process_id=process_id,
        command=RUNS.get(process_id, "manual-dispatch"),
        manual=process_id not in RUNS,
        job_id=job_id,
        engine="celery",
        queue="default" if attempt == 1 else "later",
        job_name="app.tasks.work",
        status=str(status),
        outcome=outcome,
        attempt=attempt,
        delivery=delivery,
        stages=int(stages[seed % len(stages)]),
        at_ms=FUTURE_MS + seed % 1000 if waits and seed % 8 == 0 else NOW_MS + seed % 1000,
        execution_us=seed % 90_000_000 if timed else 0,
        queue_time_us=-1 if seed % 3 == 0 else seed % 700_000,
        peak_memory_bytes=seed % 5 * 1024,
        error_type=("", "KeyError", "ValueError")[seed % 3] if failing else "",
        body=b'"seed":%d,"note":"\\u00e9 ]}{\\"status\\":\\"x\\"","v":1}' % seed,
    )._replace(**fields)


def run_transition(
    process_id: str, status: str, at: int = 0, *, beats: bool = False
) -> RunTransition:
    """The start or an end of a run.

    With beats: a start that does (later: told again by one that lives), a loss that is no older
    than any beat.
    """
    at_ms = NOW_MS + {"sent": -45_000, "running": -30_000}.get(status, 0) + at
    if status == "lost" and beats:
        at_ms = FUTURE_MS
    outcome = "" if status in ("sent", "running") else status
    return RunTransition(
        process_id=process_id,
        command=RUNS[process_id],
        status=status,
        outcome=outcome,
        at_ms=at_ms,
        duration_us=_duration_us(status, at, at_ms, beats),
        exit_code={"completed": 0, "failed": 3, "lost": -1}.get(status, 0),
        body=f'{{"id":"{process_id}","command":"c","status":"{status}","at":{at_ms}}}'.encode(),
        beats=beats and status == "running",
    )


def _duration_us(status: str, at: int, at_ms: int, beats: bool) -> int:
    if status == "sent":
        return 0
    if status != "running":
        return 20_000_000 + at * 1000
    return (FUTURE_MS + 1 - at_ms) * 1000 if beats and at else 0


jobs = st.sampled_from(
    [(pid, job_id) for pid in RUNS for job_id in ("a", "b/c")] + [(TREE, TREE), (TREE, "n")]
)
transitions = st.builds(
    lambda job, status, attempt, delivery: transition(*job, status, attempt, delivery),
    jobs,
    st.sampled_from(list(Status)),
    st.sampled_from([1, 1, 1, 2, 2, 3, 4, 9, 24, 40]),
    st.sampled_from([0, 0, 5, 9]),
)
run_transitions = st.builds(
    lambda process_id, status, at, beats: run_transition(process_id, status, at, beats=beats),
    st.sampled_from(list(RUNS)),
    st.sampled_from(
        ["running", "running", "sent", "completed", "completed", "failed", "lost", "lost"]
    ),
    st.sampled_from([0, 0, 250]),
    st.booleans(),
)
batches = st.lists(
    st.one_of(transitions, transitions, transitions, run_transitions), min_size=1, max_size=6
)
reads = st.builds("read {} {}".format, st.sampled_from([*RUNS, TREE]), st.sampled_from([1, 9]))
upkeep = st.sampled_from(["clear", "clear", "failures", "remove", "extend"])
histories: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(*[batches] * 6, st.sampled_from([*RUNS, TREE]), st.one_of(reads, upkeep)),
    min_size=1,
    max_size=14,
)

passes: st.SearchStrategy[list[Step]] = st.builds(
    lambda read, between, after: [read, *between, "clear", *after],
    reads,
    st.one_of(st.just([]), st.just([]), st.lists(batches, min_size=1, max_size=1)),
    st.sampled_from([[], ["remove"], ["failures", "remove"], ["extend"]]),
)
served: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.lists(st.one_of(batches, batches, reads, upkeep), min_size=1, max_size=1),
        passes,
        passes,
    ),
    min_size=1,
    max_size=6,
).map(lambda parts: [step for part in parts for step in part])
"""Histories in which a server does most."""


def expire(client: Any, options: Settings, process_id: str) -> None:
    """Delete what would expire with a run or a tree."""
    keys = Keys(options.redis.prefix)
    own = keys.of(process_id)
    names = [own.jobs, own.attempts, own.unsynced, own.manual]
    if process_id in RUNS:
        names.append(own.metrics(RUNS[process_id]))
    else:
        names += [name for job in (TREE, "n") for name in (keys.job(job), keys.job_attempts(job))]
    client.delete(*names)


class Server:
    """What a server does with the marks, beside what the reference says of it."""

    def __init__(self, client: Any, options: Settings, reference: Reference) -> None:
        self._client = client
        self._keys = Keys(options.redis.prefix)
        self._reference = reference
        self._token = Lease(client, options, seconds=3600.0).acquire() or 0
        self._unsynced = Unsynced(client, options, cleanup_after_hours=0.0)
        self._hasty = Unsynced(client, replace(options, completed_ttl=0))
        self._changes: list[Change] = []
        self._held: list[Held] = []

    def do(self, step: str) -> None:
        """One step of a history."""
        match step.split():
            case ["read", process_id, limit]:
                self._read(process_id, int(limit))
            case ["clear"]:
                self._clear()
            case ["failures"]:
                failures = self._unsynced.failures(100)
                assert {(p, j) for p, j, _ in failures} == set(self._reference.failures)
                assert self._unsynced.clear_failures(self._token, failures)
                self._reference.failures.clear()
            case ["extend"]:
                self._extend()
            case _:
                assert self._unsynced.remove(self._token) == self._reference.remove()

    def _read(self, process_id: str, limit: int) -> None:
        marks = [one for one in self._unsynced.members(100) if one.process_id == process_id]
        self._changes = self._unsynced.read(marks, limit)
        self._held = self._reference.read(process_id, limit)
        expected = {held.mark: held for held in self._held}
        for change in self._changes:
            mark, jobs = change.mark, {one.job_id for one in change.jobs}
            held = expected.pop((mark.process_id, mark.job_id))
            assert not change.trouble
            assert change.more == held.more
            if mark.job_id is not None:
                alive = mark.job_id in self._reference.trees.get(process_id, ())
                assert change.gone is not alive
                continue
            run = self._reference.runs.get(process_id)
            assert change.gone is (run is None or not run.exists)
            assert jobs == held.ids
            for one in change.jobs:
                assert run is not None
                assert one.record is not None
                assert one.record.endswith(run.jobs[one.job_id].record.body)
        assert not expected

    def _clear(self) -> None:
        done = [
            Done(one.mark, one.up_to, whole=not one.more, expired=one.gone) for one in self._changes
        ]
        assert self._unsynced.clear(self._token, done)
        self._reference.clear(self._held)
        assert not done or not self._unsynced.clear(self._token - 1, done)

    def _extend(self) -> None:
        self._hasty.extend(self._token)
        settings = self._reference.settings
        for mark in self._unsynced.members(100):
            until_ms = mark.version // 1000 + settings.failed_ttl * 1000
            run = self._reference.runs.get(mark.process_id)
            if mark.job_id is not None:
                if job := self._reference.trees.get(mark.process_id, {}).get(mark.job_id):
                    job.extended_ms = until_ms
            elif run:
                run.extended_ms = until_ms


def play(client: Any, history: list[Step], options: Settings | None = None) -> None:
    """Apply a history to an emptied server and check everything after every call."""
    client.flushdb()
    options = options or Settings()
    reference = Reference(options)
    writer = Writer(client, options)
    server = Server(client, options, reference)
    version = 0
    for step in history:
        if isinstance(step, str):
            if step in (*RUNS, TREE):
                expire(client, options, step)
                reference.expire(step)
            else:
                server.do(step)
                check(reference, snapshot(client))
            continue
        expected = reference.apply(step, int(time.time() * 1000))
        applied = writer.apply(step)
        told = (applied.applied, applied.late, applied.ignored, applied.stale)
        names = ("applied", "late", "ignored", "stale")
        assert told == tuple(expected[name] for name in names), (told, expected)
        assert applied.version > version
        assert applied.malformed == applied.refused == 0
        version = reference.versions[reference.calls] = applied.version
        check(reference, snapshot(client))
