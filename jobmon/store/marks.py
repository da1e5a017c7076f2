"""Marks of what the history lacks, and what they stand for, as it was read.

A list of a run is read before its records, so that a record is never older than the version that
comes with it. Nothing of what is read is trusted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redis import exceptions

from jobmon.store.totals import text
from jobmon.store.writer import MAX_BATCH

if TYPE_CHECKING:
    from jobmon.store.keys import Keys

_CHUNK_HEAD: Final = re.compile(rb"(\d{1,16}):(\d{1,9})")


class Mark(NamedTuple):
    """A run, or a job without one, of which the history lacks something."""

    version: int
    """Of its newest change; grows with every call of a writer (µs of the server's clock)."""
    process_id: str
    """Of the run, or of the tree that the job belongs to."""
    command: str | None
    """Of the run; None for a job."""
    job_id: str | None
    """None for a run."""
    member: bytes
    """As it stands in the index."""


class JobChange(NamedTuple):
    """A job that changed."""

    job_id: str
    version: int
    """At least that of its record."""
    record: bytes | None
    """As stored; None: it has expired."""


class Change(NamedTuple):
    """What a mark stands for."""

    mark: Mark
    jobs: list[JobChange]
    """Oldest change first, each once; of a run not more than were asked for, but whole calls."""
    run: dict[str, str] | None
    """All fields of the run's ``command:metrics:…``; None: it has expired, or it is a job's."""
    more: bool
    """True: the run's list holds further jobs."""
    gone: bool
    """True: nothing is left of it, neither counters nor record."""
    trouble: str
    """Why it cannot be read; empty where it can."""
    up_to: int | None
    """Of the newest change in `jobs` of a run: what :class:`Done` says of them."""


class Done(NamedTuple):
    """What has been written of a change, or will never be."""

    mark: Mark
    up_to: int | None
    """`Change.up_to` of the jobs that are written; None for none, and for a job without a run."""
    whole: bool
    """True: there is nothing else to write of this mark."""
    expired: bool
    """True: count it among what expired before it was written."""


def mark_of(names: Keys, member: bytes, version: int) -> Mark:
    """The mark that a member of the index is."""
    name = text(member)
    if names.is_metrics(name):
        process_id = name.rpartition(":")[2]
        return Mark(version, process_id, names.command_of(name), None, member)
    process_id, slash, job_id = name.partition("/")
    return Mark(version, process_id, None, job_id if slash else None, member)


class Reading:
    """A mark between the two round trips."""

    def __init__(
        self,
        mark: Mark,
        place: int,
        elements: list[bytes] | Exception,
        length: int | Exception,
        limit: int,
    ) -> None:
        self.mark = mark
        self.asked = 0
        self.end = place
        """Where the next page of the list begins."""
        self.versions: dict[bytes, int] = {}
        """Of the jobs by id, oldest first."""
        self.trouble = ""
        self.up_to: int | None = None
        self.more = False
        if mark.job_id is not None:
            return
        for answer in (elements, length):
            if isinstance(answer, Exception):
                self.trouble = _trouble(answer)
        if isinstance(elements, list) and isinstance(length, int):
            self.end += self._parse(elements, limit)
            self.more = self.end < length

    def _parse(self, elements: list[bytes], limit: int) -> int:
        whole = len(elements) <= limit + MAX_BATCH  # to the end of the list
        at = newest = 0
        while at < len(elements) and len(self.versions) < limit:
            head = _CHUNK_HEAD.fullmatch(elements[at])
            count = int(head[2]) if head else MAX_BATCH + 1
            if head is None or count > MAX_BATCH:
                # No chunk of ours: whatever it names is looked up as a job. Its version is none
                # that would settle what follows it.
                self._take(elements[at : at + 1], newest)
                at += 1
                continue
            end = at + 1 + count
            if end > len(elements) and not whole:
                break
            newest = max(newest, int(head[1]))
            self._take(elements[at + 1 : end], newest)
            at = min(end, len(elements))
        if at:
            self.up_to = newest
        return at

    def _take(self, ids: list[bytes], version: int) -> None:
        for job_id in ids:
            self.versions.pop(job_id, None)
            self.versions[job_id] = version

    def change(self, answers: list[Any]) -> Change:
        """What it came to.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        for answer in answers:
            if isinstance(answer, Exception):
                self.trouble = self.trouble or _trouble(answer)
        if self.trouble:
            up_to = self.mark.version if self.mark.job_id is None else None
            return Change(self.mark, [], None, False, False, self.trouble, up_to)
        mark = self.mark
        if not answers:
            return Change(mark, [], None, False, True, "", None)
        if mark.job_id is not None:
            owner, record = answers[0]
            if owner is not None and text(owner) != mark.process_id:
                record = None
            job = JobChange(mark.job_id, mark.version, record)
            return Change(mark, [job], None, False, record is None, "", None)
        records = [record for some in answers[:-1] for record in some]
        jobs = [
            JobChange(text(job_id), version, record)
            for (job_id, version), record in zip(self.versions.items(), records, strict=True)
        ]
        fields: dict[bytes, bytes] = answers[-1]
        run = {text(name): text(value) for name, value in fields.items()} or None
        gone = run is None and not any(records) and not self.more
        return Change(mark, jobs, run, self.more, gone, "", self.up_to)


def readable(answer: Any) -> Any:
    """An answer of a pipeline, None where the key is of another type.

    Raises:
        redis.RedisError: The store cannot be asked.
    """
    if not isinstance(answer, Exception):
        return answer
    _trouble(answer)
    return None


def _trouble(reason: Exception) -> str:
    # Of its keys one may be of another type, which is no trouble of the server's.
    if isinstance(reason, exceptions.ResponseError) and str(reason).startswith("WRONGTYPE"):
        return "a key of it is of another type"
    raise reason
