"""Records by the members of indexes, wherever they are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobmon.store.chunks import chunks
from jobmon.store.totals import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobmon.store.keys import Keys

_CHUNK: Final = 500


def named(member: bytes) -> tuple[str, str]:
    """Process id and job id in a member ``<processId>/<jobId>``."""
    process_id, _, job_id = text(member).partition("/")
    return process_id, job_id


def of(client: Any, keys: Keys, members: Sequence[tuple[str, str]]) -> list[bytes | None]:
    """Records of (process id, job id), from their runs or from keys of their own.

    Raises:
        redis.RedisError: The store cannot be read.
    """
    found: list[bytes | None] = []
    for some in chunks(members, _CHUNK):
        pipeline = client.pipeline(transaction=False)
        for process_id, job_id in some:
            pipeline.hget(keys.of(process_id).jobs, job_id)
        answers: list[bytes | None] = pipeline.execute()
        absent = [place for place, record in enumerate(answers) if record is None]
        for place in absent:
            pipeline.hmget(keys.job(some[place][1]), "process_id", "record")
        for place, (owner, own) in zip(absent, pipeline.execute(), strict=True):
            if owner == some[place][0].encode():
                answers[place] = own
        found += answers
    return found
