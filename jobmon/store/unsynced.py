"""What the history lacks: it is read here, and its marks end here, after the commit.

A mark names a run or a job without one, and carries the version of its newest change. All that
changes something asks for the token of a lease, and clears nothing that changed after it was read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobmon.store import script
from jobmon.store.chunks import chunks
from jobmon.store.clock import now_us
from jobmon.store.keys import LEADER, SCHEMA_VERSION, SYNC, Keys
from jobmon.store.marks import Change, Done, JobChange, Mark, Reading, mark_of, readable
from jobmon.store.records import named
from jobmon.store.writer import MAX_BATCH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

    from jobmon.settings import Settings
    from jobmon.store.script import Script

__all__ = ["Change", "Done", "JobChange", "Mark", "Unsynced"]

MOST_MARKS: Final = 200
"""In one call of a script; more take several."""
KEPT_ATTEMPTS: Final = 20
FIELDS: Final = 500
"""Asked for in one command."""
_HIGHEST: Final = 1 << 53
_CLEAR: Final = script.read("unsynced.lua")
_EXTEND: Final = script.read("extend.lua")
_REMOVE: Final = script.read("remove.lua")


class Unsynced:
    """What is unsynced. Safe to share between threads."""

    def __init__(
        self, client: redis.Redis, settings: Settings, *, cleanup_after_hours: float = 24.0
    ) -> None:
        """Make one; nothing is asked yet.

        Args:
            client: Of the store.
            settings: Its prefix and TTLs.
            cleanup_after_hours: After its last change, when :meth:`remove` may take what is synced;
                :meth:`clear` remembers for it what lives that long.
        """
        self._redis: Any = client
        self._settings = settings
        self._names = Keys(settings.redis.prefix)
        self._cleanup_after_hours = cleanup_after_hours

    def size(self) -> int:
        """How many runs, and jobs without one, are marked."""
        return self._redis.zcard(self._names.unsynced)

    def members(
        self, limit: int, after: Mark | None = None, until: int | None = None
    ) -> list[Mark]:
        """Marks, oldest version first, those of one version by their names.

        Args:
            limit: Most of them.
            after: The last one of the page before.
            until: Highest version.

        Raises:
            redis.RedisError: The store cannot be read.
        """
        return [
            mark_of(self._names, member, version)
            for member, version in self._page(self._names.unsynced, limit, after, until)
        ]

    def read(self, marks: Sequence[Mark], limit: int) -> list[Change]:
        """What marks stand for, in their order: two round trips for all of them.

        What cannot be read has its `trouble` told and stops no other.

        Args:
            marks: As :meth:`members` gives them.
            limit: Jobs of each run after which no further call's are read.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        return self._read(marks, limit, [0] * len(marks))[0]

    def peek(self, marks: Sequence[Mark], limit: int) -> Iterator[Change]:
        """As :meth:`read`, but to the end of every run's list: several changes of one mark.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        places = [0] * len(marks)
        while marks:
            changes, places = self._read(marks, limit, places)
            yield from changes
            left = [at for at, change in enumerate(changes) if change.more]
            marks = [marks[at] for at in left]
            places = [places[at] for at in left]

    def attempts(self, process_id: str, jobs: Sequence[tuple[str, int]]) -> dict[str, list[bytes]]:
        """Records of earlier attempts as stored, oldest first, by job id.

        Args:
            process_id: Of the run, or of the tree of jobs without one.
            jobs: (job id, attempt of its record). Those of a first attempt have none.

        Raises:
            redis.RedisError: The store cannot be read.
        """
        own = self._names.of(process_id)
        pipeline = self._redis.pipeline(transaction=False)
        retried = [(job_id, attempt) for job_id, attempt in jobs if attempt > 1]
        for job_id, attempt in retried:
            first = max(1, attempt - KEPT_ATTEMPTS)
            fields = [f"{job_id}:{number}" for number in range(first, attempt)]
            pipeline.hmget(own.attempts, fields)
            pipeline.hmget(self._names.job_attempts(job_id), fields)
        answers = pipeline.execute()
        found: dict[str, list[bytes]] = {}
        for (job_id, _), of_run, alone in zip(retried, answers[::2], answers[1::2], strict=True):
            records = [one or other for one, other in zip(of_run, alone, strict=True)]
            if kept := [one for one in records if one]:
                found[job_id] = kept
        return found

    def clear(self, token: int, done: Sequence[Done]) -> bool:
        """Clear what has been committed; False, and nothing is changed: no lease has the token.

        More than :data:`MOST_MARKS` take several calls; where a later one is refused, the earlier
        ones stand.

        Raises:
            redis.RedisError: The last call was not made, or its answer was lost. Made again, it
                does no harm.
        """
        names = self._names
        for some in chunks(done, MOST_MARKS):
            keys: list[str | bytes] = []
            arguments: list[Any] = []
            for mark, up_to, whole, expired in some:
                if mark.job_id is None:
                    keys += (names.of(mark.process_id).unsynced, self._metrics(mark))
                else:
                    keys.append(names.job(mark.job_id))
                arguments += ("run" if mark.job_id is None else "job", mark.member, mark.version)
                arguments += (mark.process_id, "" if up_to is None else up_to)
                arguments += (int(whole), int(expired))
            if not self._clear(token, keys, arguments):
                return False
        return True

    def failures(self, limit: int) -> list[tuple[str, str, int]]:
        """Jobs that became failed or lost, changed while they were, or ceased to be.

        Gives process id, job id and version of each, oldest version first.

        Raises:
            redis.RedisError: The store cannot be read.
        """
        found: list[tuple[str, str, int]] = []
        for member, version in self._page(self._names.failures, limit, None, None):
            failure = _failure(member, version)
            if failure is not None:
                found.append(failure)
            else:
                self._redis.zrem(self._names.failures, member)
        return found

    def peek_failures(self) -> Iterator[list[tuple[str, str, int]]]:
        """As :meth:`failures`, all that are marked by now, in pages; nothing is changed.

        Raises:
            redis.RedisError: The store cannot be read.
        """
        until = now_us(self._redis)
        after: Mark | None = None
        while page := self._page(self._names.failures, MOST_MARKS, after, until):
            yield [one for one in (_failure(*entry) for entry in page) if one is not None]
            member, version = page[-1]
            after = Mark(version, "", None, None, member)

    def failure_records(
        self, members: Sequence[tuple[str, str]]
    ) -> list[tuple[bytes | None, bytes | None]]:
        """Record and replayable message of each (process id, job id); None: expired.

        A job that was run again has a record that is not failed, and may have a message.

        Raises:
            redis.RedisError: The store cannot be read.
        """
        names = self._names
        pipeline = self._redis.pipeline(transaction=False)
        for process_id, job_id in members:
            pipeline.hget(names.of(process_id).jobs, job_id)
            pipeline.hmget(names.job(job_id), "process_id", "record")
            pipeline.get(names.message(job_id))
        answers = pipeline.execute(raise_on_error=False)
        found: list[tuple[bytes | None, bytes | None]] = []
        for at, (process_id, _) in enumerate(members):
            of_run, alone, message = (readable(one) for one in answers[3 * at : 3 * at + 3])
            if of_run is None and alone is not None and alone[0] == process_id.encode():
                of_run = alone[1]
            found.append((of_run, message))
        return found

    def clear_failures(self, token: int, members: Sequence[tuple[str, str, int]]) -> bool:
        """Clear what :meth:`failures` gave, but what changed since; False: no lease has the token.

        Raises:
            redis.RedisError: The last call was not made, or its answer was lost.
        """
        for some in chunks(members, MOST_MARKS):
            arguments: list[Any] = []
            for process_id, job_id, version in some:
                arguments += ("failure", f"{process_id}/{job_id}", version, process_id, "", 1, 0)
            if not self._clear(token, [], arguments):
                return False
        return True

    def extend(self, token: int) -> int:
        """Let what waits for half of ``completed_ttl`` live until ``failed_ttl`` after its mark.

        Called more than twice in ``completed_ttl``, nothing expires while it waits, but what waits
        for longer than ``failed_ttl``. Costs some µs a mark that old.

        Returns:
            How many runs and jobs live longer now.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        settings = self._settings
        until = now_us(self._redis) - settings.completed_ttl * 500_000
        extended = 0
        after: Mark | None = None
        while marks := self.members(MOST_MARKS, after, until):
            after = marks[-1]
            keys: list[str | bytes] = [self._names.open_runs]
            arguments: list[Any] = []
            for mark in marks:
                keys += self._keys_of(mark)
                arguments.append("run" if mark.job_id is None else "job")
                arguments.append(mark.version // 1000 + settings.failed_ttl * 1000)
            count = self._fenced(_EXTEND, token, keys, arguments)
            if count < 0:
                break
            extended += count
        return extended

    def remove(self, token: int) -> int:
        """Remove what is synced, has ended and did not change for ``cleanup_after_hours``.

        Found through the index `synced`; of a run all that holds its jobs, not its entry among the
        finished ones. Nothing is removed while a failure as old as it is not written yet.

        Returns:
            How many records of jobs were removed.

        Raises:
            redis.RedisError: The store cannot be asked, or does not allow UNLINK.
        """
        names = self._names
        until = now_us(self._redis) - round(self._cleanup_after_hours * 3600e6)
        removed = 0
        after: Mark | None = None
        while page := self._page(names.synced, MOST_MARKS, after, until):
            marks = [mark_of(names, member, version) for member, version in page]
            after = marks[-1]
            keys: list[str | bytes] = [names.unsynced, names.synced, names.failures]
            arguments: list[Any] = []
            for mark in marks:
                keys += self._keys_of(mark)
                arguments += ("run" if mark.job_id is None else "job", mark.member, mark.version)
                arguments += (mark.process_id, mark.job_id or "")
            count = self._fenced(_REMOVE, token, keys, arguments)
            if count < 0:
                break
            removed += count
        return removed

    def _keys_of(self, mark: Mark) -> tuple[str | bytes, ...]:
        own = self._names.of(mark.process_id)
        if mark.job_id is None:
            return self._metrics(mark), own.jobs, own.attempts, own.unsynced
        return self._names.job(mark.job_id), self._names.job_attempts(mark.job_id), own.manual

    def _metrics(self, mark: Mark) -> str | bytes:
        # A member of no key's form must not become one that nobody may touch.
        return self._names.of(mark.process_id).metrics("") if mark.command is None else mark.member

    def _clear(self, token: int, keys: Sequence[str | bytes], arguments: Sequence[Any]) -> bool:
        names, settings = self._names, self._settings
        forgotten = max(settings.tracking_ttl, settings.completed_ttl, settings.failed_ttl) + 3600
        indexes = (names.unsynced, names.drained, names.recorder_totals, names.synced)
        first = (MAX_BATCH, round(self._cleanup_after_hours * 3600e3), forgotten * 1000)
        keys = [*indexes, names.failures, *keys]
        return self._fenced(_CLEAR, token, keys, [*first, *arguments]) >= 0

    def _fenced(
        self, what: Script, token: int, keys: Sequence[str | bytes], arguments: Sequence[Any]
    ) -> int:
        names = self._names
        keys = [names.meta, names.lease(LEADER), names.lease(SYNC), *keys]
        return what.run(self._redis, len(keys), [*keys, SCHEMA_VERSION, token, *arguments])

    def _page(
        self, index: str, limit: int, after: Mark | None, until: int | None
    ) -> list[tuple[bytes, int]]:
        least = 0 if after is None else after.version
        most = _HIGHEST if until is None else until
        found: list[tuple[bytes, int]] = []
        skipped = 0
        while len(found) < limit:
            # Those of one version before `after` are skipped here: scores cannot tell them apart.
            some: list[tuple[bytes, float]] = self._redis.zrangebyscore(
                index, least, most, start=skipped, num=limit, withscores=True
            )
            for member, score in some:
                version = int(score)
                if after is None or (version, member) > (after.version, after.member):
                    found.append((member, version))
            skipped += len(some)
            if len(some) < limit:
                break
        return found[:limit]

    def _read(
        self, marks: Sequence[Mark], limit: int, places: Sequence[int]
    ) -> tuple[list[Change], list[int]]:
        pipeline = self._redis.pipeline(transaction=False)
        for mark, place in zip(marks, places, strict=True):
            name = self._names.of(mark.process_id).unsynced
            pipeline.lrange(name, place, place + limit + MAX_BATCH)
            pipeline.llen(name)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        reading = [
            Reading(mark, place, elements, length, limit)
            for mark, place, elements, length in zip(
                marks, places, answers[::2], answers[1::2], strict=True
            )
        ]
        for one in reading:
            self._ask(pipeline, one)
        answers = pipeline.execute(raise_on_error=False)
        changes: list[Change] = []
        for one in reading:
            changes.append(one.change(answers[: one.asked]))
            del answers[: one.asked]
        return changes, [one.end for one in reading]

    def _ask(self, pipeline: Any, one: Reading) -> None:
        mark = one.mark
        if mark.job_id is not None:
            pipeline.hmget(self._names.job(mark.job_id), "process_id", "record")
            one.asked = 1
            return
        if mark.command is None:  # of no key's form: nothing to ask for
            return
        ids = list(one.versions)
        for start in range(0, len(ids), FIELDS):
            pipeline.hmget(self._names.of(mark.process_id).jobs, ids[start : start + FIELDS])
            one.asked += 1
        pipeline.hgetall(mark.member)
        one.asked += 1


def _failure(member: bytes, version: int) -> tuple[str, str, int] | None:
    """None: it names no job."""
    process_id, job_id = named(member)
    return (process_id, job_id, version) if f"{process_id}/{job_id}".encode() == member else None
