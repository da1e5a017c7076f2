"""Where the record of a job is, by its id alone, if the history may not know it yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobmon.store.chunks import chunks
from jobmon.store.totals import text

if TYPE_CHECKING:
    from jobmon.store.keys import Keys

_CHUNK: Final = 1000


def process_of(client: Any, keys: Keys, job_id: str) -> str | None:
    """Process id under which a job is recorded: of a tree without a run, or of a run that has
    something open or uncopied.

    Raises:
        redis.RedisError: The store cannot be read.
    """
    pipeline = client.pipeline(transaction=False)
    pipeline.hget(keys.job(job_id), "process_id")
    pipeline.zrevrange(keys.unsynced, 0, -1)
    pipeline.zrevrange(keys.open_runs, 0, -1)
    owner, unsynced, open_runs = pipeline.execute()
    if owner is not None:
        return text(owner)
    names = (text(name) for name in (*unsynced, *open_runs))
    runs = list(dict.fromkeys(name.rpartition(":")[2] for name in names if keys.is_metrics(name)))
    for some in chunks(runs, _CHUNK):
        for process_id in some:
            pipeline.hexists(keys.of(process_id).jobs, job_id)
        for process_id, is_there in zip(some, pipeline.execute(), strict=True):
            if is_there:
                return process_id
    return None
