"""Generated histories: batches of transitions in any order, with expiry between them."""

from __future__ import annotations

import os
import time
from typing import Any
from zlib import crc32

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from jobmon.model import FINAL, RunTransition, Stage, Status, Transition
from jobmon.settings import Settings
from jobmon.store.keys import Keys
from jobmon.store.writer import Writer
from tests.store.reference import Reference, check, snapshot

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
"""A batch, a process id whose keys expire, or `sync` and a process id."""


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


def run_transition(process_id: str, status: str, at: int = 0) -> RunTransition:
    """The start or an end of a run."""
    at_ms = NOW_MS - 30_000 + at if status == "running" else NOW_MS + at
    outcome = "" if status == "running" else status
    return RunTransition(
        process_id=process_id,
        command=RUNS[process_id],
        status=status,
        outcome=outcome,
        at_ms=at_ms,
        duration_us=0 if status == "running" else 20_000_000 + at * 1000,
        exit_code={"completed": 0, "failed": 3, "lost": -1}.get(status, 0),
        body=f'{{"id":"{process_id}","command":"c","status":"{status}","at":{at_ms}}}'.encode(),
    )


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
    run_transition,
    st.sampled_from(list(RUNS)),
    st.sampled_from(["running", "running", "completed", "completed", "failed", "lost"]),
    st.sampled_from([0, 0, 250]),
)
batches = st.lists(
    st.one_of(transitions, transitions, transitions, run_transitions), min_size=1, max_size=6
)
histories: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        batches, batches, batches, batches, batches, st.sampled_from([*RUNS, TREE, "sync p1"])
    ),
    min_size=1,
    max_size=14,
)


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


def clear_unsynced(client: Any, options: Settings, process_id: str) -> None:
    """What the history does once it has everything of a run."""
    keys = Keys(options.redis.prefix)
    client.delete(keys.of(process_id).unsynced)
    client.zrem(keys.unsynced, process_id)
    client.zrem(keys.drained, process_id)


def play(client: Any, history: list[Step], options: Settings | None = None) -> None:
    """Apply a history to an emptied server and check everything after every call."""
    client.flushdb()
    options = options or Settings()
    reference = Reference(options)
    writer = Writer(client, options)
    version = 0
    for step in history:
        if isinstance(step, str) and step.startswith("sync "):
            clear_unsynced(client, options, step[5:])
            reference.sync(step[5:])
            continue
        if isinstance(step, str):
            expire(client, options, step)
            reference.expire(step)
            continue
        expected = reference.apply(step, int(time.time() * 1000))
        applied = writer.apply(step)
        told = (applied.applied, applied.late, applied.ignored, applied.stale)
        names = ("applied", "late", "ignored", "stale")
        assert told == tuple(expected[name] for name in names), (told, expected)
        assert applied.version > version
        assert applied.malformed == applied.refused == 0
        version = applied.version
        check(reference, snapshot(client))
