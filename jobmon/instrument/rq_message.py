"""The message of an RQ job as it was enqueued, so that it can be enqueued again.

RQ keeps it in the job's hash for as long as ``failure_ttl`` says; this outlives the hash. One
JSON object, whose values are plain: ``v`` (version of this format), ``engine``, ``id``,
``queue``, ``prefix`` (of RQ's keys, with its colon), ``redis`` (where RQ's Redis is, without
credentials) and ``fields``: those of the hash, each base64, but the ones that say how the
execution went. Nothing in it was unpickled, and any serializer's bytes are as good.

To push it again, with Redis alone: ``HSET <prefix>job:<id>`` the fields, ``status`` queued and
``enqueued_at``; ``SADD <prefix>queues <prefix>queue:<queue>``; ``RPUSH <prefix>queue:<queue>``
the id. Its ``jobmon`` field is that of the attempt which failed.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from jobmon.instrument.jobs import MAX_MESSAGE_BYTES
from jobmon.instrument.rq_field import ENGINE, HEADER, context_of, stamp_of

VERSION: Final = 1
_UNWANTED: Final = frozenset(
    """
    status enqueued_at started_at ended_at last_heartbeat worker_name exc_info result
    """.split()
)
_ADDRESS: Final = ("host", "port", "path", "db")


def of_job(job: Any) -> bytes:
    """The message of a job that fails here, from its hash as it was read before."""
    # A job performed where it was to be enqueued (is_async=False) was never read.
    raw = stamp_of(job).raw or {HEADER: context_of(job).encode(), **job.to_dict()}
    fields = {name: value for key, value in raw.items() if (name := _text(key)) not in _UNWANTED}
    options = job.connection.connection_pool.connection_kwargs
    stored: dict[str, object] = {
        "v": VERSION,
        "engine": ENGINE,
        "id": job.id,
        "queue": job.origin,
        "prefix": job.redis_job_namespace_prefix.removesuffix("job:"),
        "redis": {name: options[name] for name in _ADDRESS if name in options},
        "fields": {name: _encoded(value) for name, value in fields.items()},
    }
    return json.dumps(stored, separators=(",", ":"), default=str).encode()


def _text(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key


def _encoded(value: object) -> str:
    plain = value if isinstance(value, bytes) else str(value).encode()
    # Of one that is too large enough is left for that to be seen.
    return base64.b64encode(plain[:MAX_MESSAGE_BYTES]).decode()
