"""Queues of RQ, key by key: its own registries clean up when they are counted."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from jobmon.queues import connection
from jobmon.queues.answers import told
from jobmon.queues.broker import SECONDS
from jobmon.store.queues import QueueDepth

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_QUEUES: Final = 1_000
"""Looked at, of those that RQ itself names."""
_REGISTRIES: Final = ("scheduled", "deferred", "wip", "failed")


class Rq:
    """One client, made when it is needed."""

    engine = "rq"

    def __init__(self, url: str | None, store: Any) -> None:
        """Make it; nothing is asked yet.

        Args:
            url: ``rq.redis_url``; None: RQ's server is the store's.
            store: A client of the store.
        """
        self._url = url
        self._store = store
        self._client: Any = None

    def read(self, names: Sequence[str]) -> list[QueueDepth] | None:
        """See :class:`jobmon.queues.broker.Broker`."""
        if self._url is None and not names:
            return None
        if self._client is None:
            self._client = connection.rq(self._url, self._store, SECONDS)
        queues = list(dict.fromkeys((*names, *self._queues())))
        pipeline = self._client.pipeline(transaction=False)
        for name in queues:
            # A worker takes a job from one to the other, and from there into the registry.
            lists = (f"rq:queue:{name}", f"rq:queue:{name}:intermediate")
            for own in lists:
                pipeline.llen(own)
                pipeline.lindex(own, 0)
            for registry in _REGISTRIES:
                pipeline.zcard(f"rq:{registry}:{name}")
        answers = told(pipeline)
        each = len(answers) // len(queues) if queues else 0
        own = [answers[at * each : (at + 1) * each] for at in range(len(queues))]
        oldest = self._enqueued([head for one in own for head in (one[1], one[3])])
        found: list[QueueDepth] = []
        for at, (name, one) in enumerate(zip(queues, own, strict=True)):
            waiting, _, taken, _, scheduled, deferred, running, failed = (n or 0 for n in one)
            jobs = {
                "waiting": waiting,
                "scheduled": scheduled,
                "deferred": deferred,
                "reserved": running + taken,
                "failed": failed,
            }
            ages = [age for age in oldest[2 * at : 2 * at + 2] if age is not None]
            found.append(QueueDepth(self.engine, name, jobs, min(ages, default=None)))
        return found

    def close(self) -> None:
        """See :class:`jobmon.queues.broker.Broker`."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _queues(self) -> list[str]:
        some = islice(self._client.sscan_iter("rq:queues", count=_MOST_QUEUES), _MOST_QUEUES)
        return sorted(one.decode("utf-8", "replace").removeprefix("rq:queue:") for one in some)

    def _enqueued(self, job_ids: list[bytes | None]) -> list[float | None]:
        """When jobs were enqueued."""
        pipeline = self._client.pipeline(transaction=False)
        asked = [job_id for job_id in job_ids if job_id is not None]
        for job_id in asked:
            pipeline.hget(b"rq:job:" + job_id, "enqueued_at")
        found = dict(zip(asked, told(pipeline), strict=True))
        return [None if job_id is None else _moment(found[job_id]) for job_id in job_ids]


def _moment(said: bytes | None) -> float | None:
    try:
        return datetime.fromisoformat((said or b"").decode()).timestamp()
    except ValueError:
        return None
