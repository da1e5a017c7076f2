"""What people and servers ask for: a failed job run again or deleted, all of a run run again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from jobmon.history.schema import tables
from jobmon.retry import batch
from jobmon.retry.batch import Batch, Batches
from jobmon.retry.claims import LONGEST_WHO, Claims, Failure
from jobmon.retry.errors import NoneFailedError, NotFailedError
from jobmon.retry.pusher import Pusher, is_configured, no_broker
from jobmon.store.retry_requests import RetryRequest, RetryRequests

if TYPE_CHECKING:
    import redis
    from sqlalchemy import Engine

    from jobmon.settings import Settings

CLAIM_SECONDS: Final = 60.0
"""For which a claim holds: longer than all waits of a batch together."""
_RECOVER_EVERY_SECONDS: Final = 30.0


class BulkRetry(NamedTuple):
    """How far it is that many failed jobs are run again."""

    requested: int
    """How many had failed when it was asked for."""
    pushed: int
    refused: int
    """That cannot be pushed; their rows stay."""
    remaining: int
    requested_at: float | None = None
    """Unix seconds."""
    finished_at: float | None = None
    error: str = ""
    """Why the last one that was not pushed was not; empty: each was."""


class Retrier:
    """Runs failed jobs again. Safe to share between threads."""

    def __init__(
        self,
        client: redis.Redis,
        engine: Engine,
        settings: Settings,
        *,
        stop: threading.Event | None = None,
        claim_seconds: float = CLAIM_SECONDS,
    ) -> None:
        """Make one; nothing is asked yet.

        Args:
            client: Of the store.
            engine: Of the history.
            settings: Where brokers are, and the store's.
            stop: Once set, the current job is the last.
            claim_seconds: After which whoever has a job in hand is taken for dead.
        """
        self._redis = client
        self._settings = settings
        self._stop = stop or threading.Event()
        self._claims = Claims(engine, tables(settings.database.table_prefix))
        self._batches = Batches(client, self._claims, settings, self._stop, claim_seconds)
        self._requests = RetryRequests(client, settings)
        self._recover_at = 0.0

    def retry(self, given: str, who: str, *, force: bool = False) -> Failure:
        """Run one job again.

        Args:
            given: The number of its row, or its own id.
            who: Asks; shown with the job.
            force: Push also what an earlier call may have pushed.

        Returns:
            The job as it failed.

        Raises:
            NotFailedError: There is none, or somebody else has it in hand.
            MessageMissingError: Its message was not kept.
            NotConfiguredError: Where its queue is has not been said.
            QueueUnavailable: Nothing was pushed.
            PerhapsPushedError: Nobody can tell whether it was.
            DatabaseUnavailable: Nothing was pushed.
            redis.RedisError: The store cannot be asked; nothing was pushed.
        """
        failure = self._claims.find(given)
        if failure is None:
            raise NotFailedError(given)
        with self._pusher() as pusher:
            done = self._batches.push(pusher, [failure], who, force=force)
        for reason in (done.broken_off, *done.refusals):
            if reason is not None:
                raise reason
        return failure

    def delete(self, given: str) -> Failure:
        """Delete a failed job: its row, and what RQ keeps of it among its failed ones.

        Returns:
            The job as it failed.

        Raises:
            NotFailedError: There is none, or somebody is just running it again.
            QueueUnavailable: RQ cannot be asked; it stays.
            DatabaseUnavailable: It stays.
            redis.RedisError: The store cannot be asked; it stays.
        """
        failure = self._claims.find(given)
        if failure is None or self._batches.is_held(failure):
            raise NotFailedError(given, "delete")
        with self._pusher() as pusher:
            pusher.forget(failure)
        if not self._claims.remove([failure]):
            raise NotFailedError(given, "delete")
        return failure

    def retry_run(self, process_id: str, who: str) -> BulkRetry:
        """Ask for all failed jobs of a run to be run again; the server that leads does it.

        Raises:
            NoneFailedError: It has none.
            NotConfiguredError: Where the queue of any of them is has not been said.
            DatabaseUnavailable: They cannot be counted.
            redis.RedisError: It was not asked for.
        """
        engines = self._claims.engines(process_id)
        if not engines:
            raise NoneFailedError
        if not any(is_configured(engine, self._settings) for engine in engines):
            raise no_broker(str(max(engines.values())))
        while True:
            request = self._requests.of(process_id)
            since = request.last if request is not None and request.finished_at is None else 0
            counts = self._claims.count(process_id, since)
            if not counts.tried + counts.untried:
                raise NoneFailedError
            many, last = counts.untried, counts.last
            if self._requests.add(process_id, who[:LONGEST_WHO], many, last, since=since):
                break
        return self.progress(process_id) or BulkRetry(many, 0, 0, many)

    def progress(self, process_id: str) -> BulkRetry | None:
        """How far what :meth:`retry_run` asked for is; None: nobody has asked lately.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        request = self._requests.of(process_id)
        if request is None:
            return None
        left = max(0, request.requested - request.pushed - request.refused)
        is_finished = request.finished_at is not None
        return BulkRetry(
            request.requested,
            # What a leader had pushed and not counted when it died is counted at the end.
            request.pushed + left if is_finished else request.pushed,
            request.refused,
            0 if is_finished else left,
            request.requested_at,
            request.finished_at,
            request.error,
        )

    def retry_all(
        self,
        process_id: str | None,
        who: str,
        progress: Callable[[BulkRetry], None] | None = None,
        *,
        force: bool = False,
    ) -> BulkRetry:
        """Run all failed jobs of a run again, here and now.

        Args:
            process_id: The run's; None: of all runs.
            who: Asks.
            progress: Told after each batch.
            force: Push also what an earlier call may have pushed.

        Raises:
            NoneFailedError: There are none.
            QueueUnavailable: The rest was not pushed.
            DatabaseUnavailable: The same.
            redis.RedisError: The same.
        """
        counts = self._claims.count(process_id)
        if not counts.untried:
            raise NoneFailedError
        found, after = BulkRetry(counts.untried, 0, 0, counts.untried), 0
        with self._pusher() as pusher:
            while not self._stop.is_set():
                page = self._claims.page(process_id, after, counts.last, batch.MOST)
                if not page:
                    break
                done = self._batches.push(pusher, page, who, force=force)
                after = done.up_to
                found = found._replace(
                    pushed=found.pushed + done.pushed,
                    refused=found.refused + len(done.refusals),
                    remaining=max(0, found.remaining - done.pushed - len(done.refusals)),
                    error=str(done.refusals[-1]) if done.refusals else found.error,
                )
                if progress is not None:
                    progress(found)
                if done.broken_off is not None:
                    raise done.broken_off
        return found

    def work(self, token: int) -> None:
        """A turn of the server that leads: recovery, then what has been asked for.

        Args:
            token: Of its lease.

        Raises:
            DatabaseUnavailable: The rest is for the next turn.
            redis.RedisError: The same.
        """
        if time.monotonic() >= self._recover_at:
            with self._pusher() as pusher:
                self._batches.recover(pusher)
            self._recover_at = time.monotonic() + _RECOVER_EVERY_SECONDS
        for process_id in self._requests.open():
            request = self._requests.of(process_id)
            if request is None:  # forgotten, and with this so is that it waits
                self._requests.note(token, process_id, after=0, error="")
            elif not self._fulfil(token, request):
                return

    def _fulfil(self, token: int, request: RetryRequest) -> bool:
        """Push what one asks for; False: not now, as work is to stop or another server leads."""
        after, error = request.after, request.error
        with self._pusher() as pusher:
            while not self._stop.is_set():
                page = self._claims.page(request.process_id, after, request.last, batch.MOST)
                done = Batch(request.last, 0, [], None)
                if page:
                    done = self._batches.push(
                        pusher, page, request.who, force=False, is_patient=True
                    )
                after = done.up_to
                for reason in (*done.refusals, done.broken_off):
                    error = str(reason) if reason is not None else error
                known = self._requests.note(
                    token,
                    request.process_id,
                    after=after,
                    error=error,
                    pushed=done.pushed,
                    refused=len(done.refusals),
                )
                if not known:
                    return False
                if after >= request.last or done.broken_off is not None or done.is_waiting:
                    return True
        return False

    def _pusher(self) -> Pusher:
        return Pusher(self._redis, self._settings)
