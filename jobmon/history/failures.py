"""Copies failed jobs without waiting for a sync, and takes out what is failed no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from jobmon.history import rows
from jobmon.history.commit import Committer
from jobmon.history.fields import UnreadableError, clean
from jobmon.history.rows import Row
from jobmon.history.write import Batch
from jobmon.store.dead_letters import DeadLetters
from jobmon.store.unsynced import Unsynced

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings

_TOGETHER: Final = 200


class Copied(NamedTuple):
    """What became of the failures that were marked."""

    failed: int = 0
    """Written to ``failed_jobs``."""
    no_more: int = 0
    """Taken out of it, if they were there: run once more, or found alive."""
    set_aside: int = 0
    """As dead letters."""


class Failures:
    """Copies what the store's index of failures names. Whoever calls holds the lease."""

    def __init__(self, client: redis.Redis, committer: Committer, settings: Settings) -> None:
        self._committer = committer
        self._unsynced = Unsynced(client, settings)
        self._dead_letters = DeadLetters(client, settings)

    def copy(self, token: int) -> Copied:
        """Copy until nothing is left that was marked, or work is to stop.

        Args:
            token: Of the lease.

        Raises:
            DatabaseUnavailable: What was committed before stays, the rest stays marked.
            FencedError: Somebody else does the work by now.
            redis.RedisError: The store cannot be asked.
        """
        copied = Copied()
        while marked := self._unsynced.failures(_TOGETHER):
            copied = Copied(*map(sum, zip(copied, self._copy(token, marked), strict=True)))
            if not self._unsynced.clear_failures(token, marked) or len(marked) < _TOGETHER:
                break
            if self._committer.is_stopping:
                break
        return copied

    def _copy(self, token: int, marked: list[tuple[str, str, int]]) -> Copied:
        failed: list[Row] = []
        no_more: list[Row] = []
        letters: list[tuple[str, str, str, bytes]] = []
        members = [(process_id, job_id) for process_id, job_id, _ in marked]
        for (process_id, job_id, version), (raw, message) in zip(
            marked, self._unsynced.failure_records(members), strict=True
        ):
            if raw is None:  # expired: what the history knows of it stays
                continue
            try:
                record = rows.read(raw)
                if record.is_failed:
                    failed.append(rows.failed(process_id, job_id, version, record, message))
                else:
                    no_more.append(
                        {"uuid": clean(job_id), "process_id": process_id, "version": version}
                    )
            except UnreadableError as error:
                letters.append((process_id, job_id, str(error), raw))
        batch = Batch(failed=failed, failed_no_more=no_more)
        refused = self._committer.commit(token, batch) if len(batch) or letters else []
        letters += [(row["process_id"], row["uuid"], reason, b"") for row, reason in refused]
        for process_id, job_id, reason, raw in letters:
            self._dead_letters.add(process_id, job_id, reason, raw)
        left_out = {id(row) for row, _ in refused}
        return Copied(sum(id(row) not in left_out for row in failed), len(no_more), len(letters))
