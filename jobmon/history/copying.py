"""One pass over what is unsynced: fills batches, commits them, then clears what they settle.

Jobs first, their run last. Killed anywhere and begun again, the rows are those of one clean pass.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from jobmon.errors import JobmonError
from jobmon.history import fields, rows
from jobmon.history.commit import Committer, Refused
from jobmon.history.fields import UnreadableError
from jobmon.history.memory import resident_bytes
from jobmon.history.rows import JobRecord
from jobmon.history.write import Batch
from jobmon.inert import inert
from jobmon.store.dead_letters import DeadLetters
from jobmon.store.unsynced import Change, Done, JobChange, Mark, Unsynced

if TYPE_CHECKING:
    from jobmon.settings.schema import Sync as SyncSettings

LEAST_READ: Final = 200
"""Jobs read of one run at a time, at least."""
_Letter: TypeAlias = tuple[str, str | None, str, bytes, str | None]
"""Process id, job id, reason, record and command of what is set aside."""
_ASKED: Final = "it was asked to stop"
_TAKEN_APART: Final = 200
"""Records at once: many take long to walk for who looks for garbage, and leave every cache."""
_MEBIBYTE: Final = 1024 * 1024


class LeaseLostError(JobmonError):
    """Somebody else does the work by now. What was committed before stays."""


class StoppedError(JobmonError):
    """The pass ended before everything was copied, after a whole batch."""


@dataclass(slots=True)
class Report:
    """What a pass did, or would do."""

    runs: int = 0
    jobs: int = 0
    failed_jobs: int = 0
    skipped: int = 0
    """Set aside as dead letters, or expired before anybody copied them."""
    errors: list[str] = field(default_factory=list[str])
    cleaned: int = 0
    """Records removed from the store."""
    seconds: float = 0.0
    dry_run: bool = False
    marks: int = 0
    """Runs, and jobs without one, that are settled."""
    stopped: str = ""
    """Why the pass ended before everything was copied; empty if it did not."""


class Pass:
    """One pass: the batch that is being filled, and what it will settle once it is committed."""

    def __init__(
        self,
        unsynced: Unsynced,
        dead_letters: DeadLetters,
        committer: Committer,
        settings: SyncSettings,
        token: int,
        *,
        batch_size: int,
        stop: threading.Event,
        progress: Callable[[Report], None],
    ) -> None:
        """Begin one.

        Args:
            unsynced: What is to be copied.
            dead_letters: Where goes what cannot be read or written.
            committer: Where goes the rest.
            settings: When it is enough.
            token: Of the lease.
            batch_size: Rows in one transaction.
            stop: Once set, the current batch is the last.
            progress: Told of the pass so far after each batch.
        """
        self._unsynced = unsynced
        self._dead_letters = dead_letters
        self._committer = committer
        self._settings = settings
        self._token = token
        self._size = batch_size
        self._stop = stop
        self._progress = progress
        self._batch = Batch()
        self._done: dict[Mark, Done] = {}
        self._letters: list[_Letter] = []
        self._skipped = 0
        self._has_settled = False
        self._began_with_bytes = resident_bytes()
        self.began = time.monotonic()
        self.report = Report()

    def copy(self, pages: Iterable[Sequence[Mark]]) -> None:
        """Copy what these marks stand for.

        Raises:
            StoppedError: Not everything was copied.
            LeaseLostError: The same.
        """
        for marks in pages:
            left = marks
            while left:
                limit = max(LEAST_READ, self._size // len(left))
                changes = self._unsynced.read(left, limit)
                left = [change.mark for change in changes if self._take(change)]
                if left:  # what was read leaves a run's list once it is committed
                    self._commit()
                    self._pause()
        self._commit()

    def _take(self, change: Change) -> bool:
        """Whether more of it is to be read."""
        mark = change.mark
        self._take_jobs(change)
        if change.more:
            # Also where the page named no job: what it was goes, or it would be read for ever.
            self._done[mark] = Done(mark, up_to=change.up_to, whole=False, expired=False)
            return True
        if change.trouble:
            self._set_aside(mark.process_id, mark.job_id, change.trouble, b"", mark.command)
        elif change.gone:
            self._skipped += 1
        elif change.run is not None and mark.command is not None:
            self._take_run(mark, mark.command, change.run)
        self._done[mark] = Done(mark, up_to=change.up_to, whole=True, expired=change.gone)
        self._commit_if_full()
        return False

    def _take_jobs(self, change: Change) -> None:
        mark, jobs, now = change.mark, change.jobs, datetime.now(UTC)
        for start in range(0, len(jobs), _TAKEN_APART):
            some = jobs[start : start + _TAKEN_APART]
            read = [(one, self._read(mark.process_id, one)) for one in some]
            earlier = self._earlier(mark.process_id, read)
            for at, (one, record) in enumerate(read, start + 1):
                for raw in earlier.get(one.job_id, ()):
                    self._take_attempt(mark.process_id, one, raw, now)
                if record is not None:
                    self._take_job(mark.process_id, one, record, now)
                # A version may have changed several jobs: it is settled with the last of them.
                following = jobs[at].version if at < len(jobs) else None
                if mark.job_id is None and following != one.version:
                    self._done[mark] = Done(mark, up_to=one.version, whole=False, expired=False)
                self._commit_if_full()

    def _read(self, process_id: str, one: JobChange) -> JobRecord | None:
        if one.record is None:  # expired with its run, or replaced by another tree's
            return None
        try:
            return rows.read(one.record)
        except UnreadableError as error:
            self._set_aside(process_id, one.job_id, error, one.record)
            return None

    def _take_job(self, process_id: str, one: JobChange, record: JobRecord, now: datetime) -> None:
        try:
            row = rows.job(process_id, one.job_id, one.version, record, now)
        except UnreadableError as error:
            self._set_aside(process_id, one.job_id, error, one.record or b"")
            return
        if row is not None:
            self._batch.jobs.append(row)
        else:
            self._batch.open_again.append(
                {
                    "process_id": process_id,
                    "job_id": fields.clean(one.job_id),
                    "version": one.version,
                }
            )

    def _earlier(
        self, process_id: str, read: Sequence[tuple[JobChange, JobRecord | None]]
    ) -> dict[str, list[bytes]]:
        again = [
            (one.job_id, record.attempt)
            for one, record in read
            if record is not None and record.attempt > 1
        ]
        return self._unsynced.attempts(process_id, again) if again else {}

    def _take_attempt(self, process_id: str, one: JobChange, raw: bytes, now: datetime) -> None:
        try:
            row = rows.attempt(process_id, one.job_id, one.version, raw, now)
        except UnreadableError as error:
            self._set_aside(process_id, one.job_id, error, raw)
        else:
            self._batch.attempts.append(row)

    def _take_run(self, mark: Mark, command: str, run: dict[str, str]) -> None:
        try:
            row = rows.run(mark.process_id, command, mark.version, run, datetime.now(UTC))
        except UnreadableError as error:
            self._set_aside(mark.process_id, None, error, json.dumps(run).encode(), command)
        else:
            self._batch.runs.append(row)

    def _set_aside(
        self,
        process_id: str,
        job_id: str | None,
        error: UnreadableError | str,
        raw: bytes,
        command: str | None = None,
    ) -> None:
        self._letters.append((process_id, job_id, str(error), raw, command))

    def _commit_if_full(self) -> None:
        if max(len(self._batch), len(self._done), len(self._letters)) >= self._size:
            self._commit()
            self._pause()

    def _commit(self) -> None:
        """Rows, then dead letters, then marks: of what is cut off in between, nothing is lost."""
        batch, done, letters, skipped = self._batch, self._done, self._letters, self._skipped
        self._batch, self._done, self._letters, self._skipped = Batch(), {}, [], 0
        report = self.report
        refused: list[Refused] = []
        if len(batch) or letters:  # without a row it asks whether the lease is still ours
            refused = self._committer.commit(self._token, batch)
        for row, reason in refused:
            raw = json.dumps(row, default=str).encode("utf-8", "replace")
            letters.append((row["process_id"], row.get("job_id"), reason, raw, None))
            report.errors.append(f"{inert(row.get('job_id') or row['process_id'])}: {reason}")
        for process_id, job_id, reason, raw, command in letters:
            self._dead_letters.add(process_id, job_id, reason, raw, command=command)
        if done and not self._unsynced.clear(self._token, list(done.values())):
            raise LeaseLostError("somebody else has taken over the work")
        self._has_settled = self._has_settled or bool(done)
        left_out = {id(row) for row, _ in refused}
        report.jobs += sum(id(row) not in left_out for row in batch.jobs)
        report.runs += sum(id(row) not in left_out for row in batch.runs)
        report.marks += sum(one.whole for one in done.values())
        report.skipped += skipped + len(letters)
        self._progress(report)

    def _pause(self) -> None:
        """Between two batches.

        Raises:
            StoppedError: There is to be no further one.
        """
        settings = self._settings
        if self._stop.is_set():
            raise StoppedError(_ASKED)
        if not self._has_settled:
            return  # it ended before the last job of a call of the store: the next would begin anew
        if time.monotonic() - self.began > settings.timeout_seconds:
            raise StoppedError(f"sync.timeout_seconds ({settings.timeout_seconds}) have passed")
        grown = (resident_bytes() - self._began_with_bytes) // _MEBIBYTE
        if grown > settings.max_memory_mb:
            raise StoppedError(f"it holds {grown} MiB more (sync.max_memory_mb)")
        if self._stop.wait(settings.chunk_delay_ms / 1000):
            raise StoppedError(_ASKED)
