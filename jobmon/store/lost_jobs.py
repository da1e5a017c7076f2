"""Jobs that were running in a worker which is taken for lost: so are they.

Each verdict carries the attempt and the delivery it judges. Whatever a job does later, here or
after its broker delivered it again, stands higher.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jobmon.model import MANUAL_DISPATCH, Outcome, Stage, Status, Transition
from jobmon.store.members import decoded, unix_time
from jobmon.store.series import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobmon.store.keys import Keys
    from jobmon.store.workers import WorkerState

MOST_JOBS: Final = 10_000
"""Looked at in one pass, of each engine, queue and job name; those first that started first."""
_CHUNK: Final = 500
_HEAD: Final = re.compile(
    rb'\{"status":"processing","attempt":(\d+),"x":"[0-9a-f]*\.(\d+)\.\d+\.\d+\.\d+",'
)
_ERROR: Final = "WorkerLost"


class _Dead(NamedTuple):
    """A lost worker, and when the next of its name began on its host."""

    worker: WorkerState
    until: float


def of(server: Any, keys: Keys, workers: Sequence[WorkerState], lost: set[str]) -> list[Transition]:
    """Ends of the jobs that lost workers were running.

    Args:
        server: The store's client.
        keys: Its names.
        workers: Everyone known, those that died too.
        lost: Ids of those in question.

    Raises:
        redis.RedisError: The store cannot be read.
    """
    dead: dict[tuple[str, str, str], _Dead] = {}
    for one in workers:
        if one.id in lost:
            place = one.engine, one.name, one.hostname
            following = (
                other.started_at
                for other in workers
                if (other.engine, other.name, other.hostname) == place
                and (other.started_at or 0) > (one.started_at or 0)
            )
            until = min((at for at in following if at is not None), default=float("inf"))
            if place not in dead or until > dead[place].until:
                dead[place] = _Dead(one, until)
    if not dead:
        return []
    engines = {engine for engine, _, _ in dead}
    found: list[Transition] = []
    for process_id, job_id, raw in _processing(server, keys, engines):
        end = _end(process_id, job_id, raw, dead)
        if end is not None:
            found.append(end)
    return found


def _processing(server: Any, keys: Keys, engines: set[str]) -> Iterator[tuple[str, str, bytes]]:
    series: dict[bytes, bytes] = server.hgetall(keys.job_series)
    pipeline = server.pipeline(transaction=False)
    for labels, number in series.items():
        if labels.decode("utf-8", "replace").partition(SEPARATOR)[0] in engines:
            pipeline.zrange(keys.processing(number.decode()), 0, MOST_JOBS - 1)
    members = [
        one.decode("utf-8", "replace").partition("/") for some in pipeline.execute() for one in some
    ]
    for start in range(0, len(members), _CHUNK):
        some = members[start : start + _CHUNK]
        for process_id, _, job_id in some:
            pipeline.hget(keys.of(process_id).jobs, job_id)
            pipeline.hget(keys.job(job_id), "record")
        raws = pipeline.execute()
        for (process_id, _, job_id), of_run, alone in zip(some, raws[::2], raws[1::2], strict=True):
            if of_run or alone:
                yield process_id, job_id, of_run or alone


def _end(
    process_id: str, job_id: str, raw: bytes, dead: dict[tuple[str, str, str], _Dead]
) -> Transition | None:
    head, job = _HEAD.match(raw), decoded(raw)
    if head is None or job is None or job.get("process_id") != process_id:
        return None
    texts = tuple(
        str(job.get(name, ""))
        for name in ("engine", "worker", "host", "queue", "class", "command_name")
    )
    engine, worker, host, queue, job_name, command = texts
    started_at = unix_time(job.get("started_at"))
    found = dead.get((engine, worker, host))
    if found is None or started_at is None or started_at >= found.until:
        return None
    finished_at = max(started_at, found.worker.last_seen_at)
    elapsed = finished_at - started_at
    more: dict[str, Any] = {
        "finished_at": round(finished_at, 6),
        "execution_time": round(elapsed, 6),
        "outcome": str(Outcome.LOST),
        "error": {"class": _ERROR, "message": f"the worker {worker} died", "frames": []},
    }
    body = raw[head.end() : -1] + b"," + json.dumps(more, separators=(",", ":")).encode()[1:]
    return Transition(
        process_id=process_id,
        command=command,
        manual=command == MANUAL_DISPATCH,
        job_id=job_id,
        engine=engine,
        queue=queue,
        job_name=job_name,
        status=str(Status.LOST),
        outcome=str(Outcome.LOST),
        attempt=int(head[1]),
        delivery=int(head[2]),
        stages=int(Stage.STARTED | Stage.LOST),
        at_ms=round(finished_at * 1000),
        execution_us=int(elapsed * 1_000_000),
        queue_time_us=-1,
        peak_memory_bytes=0,
        error_type=_ERROR,
        body=body,
    )
