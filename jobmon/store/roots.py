"""Runs of schedulers that nobody ended: what the record of their root job says instead.

Whoever tells the end of a root job tells that of its run. The run stays open where that word was
dropped, where the job's worker died with it, and where the message vanished from the broker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobmon.model import FINAL, SCHEDULE, Outcome, RunTransition, Status
from jobmon.store.members import decoded, unix_time
from jobmon.store.run_record import end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobmon.settings import Settings
    from jobmon.store.keys import Keys

GRACE_SECONDS: Final = 60.0
"""For the word of whoever saw the end."""
MOST_RUNS: Final = 1_000
"""Looked at in one call, those first that were sent first."""

_OUTCOME_OF: Final = {
    Status.COMPLETED: Outcome.COMPLETED,
    Status.FAILED: Outcome.FAILED,
    Status.REVOKED: Outcome.REVOKED,
    Status.LOST: Outcome.LOST,
}
_ENDED: Final = FINAL | {Status.LOST}


def overdue(server: Any, keys: Keys, settings: Settings) -> list[RunTransition]:
    """Ends of open runs whose root job has ended a minute ago, or has been forgotten.

    A root job without any record after ``tracking_ttl`` is lost: nothing would ever end its run.

    Raises:
        redis.RedisError: The store cannot be read.
    """
    pipeline = server.pipeline(transaction=False)
    pipeline.time()
    pipeline.hvals(keys.running)
    (seconds, micros), bodies = pipeline.execute()
    now = seconds + micros / 1_000_000
    runs = sorted(_sent_before(bodies, now - GRACE_SECONDS), key=lambda run: run["sent_at"])
    for run in runs[:MOST_RUNS]:
        pipeline.hget(keys.of(run["id"]).jobs, run["root_job_id"])
    found: list[RunTransition] = []
    for run, raw in zip(runs, pipeline.execute(), strict=False):
        ended = _end_of(run, raw, now, settings)
        if ended is not None:
            found.append(ended)
    return found


def _sent_before(bodies: list[bytes], moment: float) -> Iterator[dict[str, Any]]:
    for raw in bodies:
        run = decoded(raw)
        if run is None or run.get("source") != SCHEDULE:
            continue
        texts = (run.get(name) for name in ("id", "command", "root_job_id"))
        sent_at = unix_time(run.get("sent_at"))
        if sent_at is None or sent_at >= moment:
            continue
        if all(isinstance(one, str) and one for one in texts):
            yield run


def _end_of(
    run: dict[str, Any], raw: bytes | None, now: float, settings: Settings
) -> RunTransition | None:
    job = decoded(raw) if raw is not None else None
    if job is None:
        if raw is not None or now - run["sent_at"] < settings.tracking_ttl:
            return None
        outcome, finished_at = Outcome.LOST, run["sent_at"] + settings.tracking_ttl
    else:
        try:
            status = Status(job.get("status"))
        except ValueError:
            return None
        finished = unix_time(job.get("finished_at"))
        if status not in _ENDED or finished is None or now - finished < GRACE_SECONDS:
            return None
        outcome, finished_at = _OUTCOME_OF[status], finished
        started = unix_time(job.get("started_at"))
        if started is not None:
            run.setdefault("started_at", started)
    return end(run, outcome, finished_at)
