"""Brings a batch into the database: tries again while it is away, finds the row it refuses."""

from __future__ import annotations

import logging
import threading
from dataclasses import fields
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jobmon.errors import JobmonError
from jobmon.history.database import (
    DatabaseUnavailable,
    is_away,
    is_in_the_way,
    is_of_the_row,
    said,
)
from jobmon.history.rows import Row
from jobmon.history.write import Batch, History

if TYPE_CHECKING:
    from jobmon.settings import Settings

_LONGEST_DELAY_SECONDS: Final = 600.0

_logger: Final = logging.getLogger("jobmon.sync")


class DatabaseRefusesError(JobmonError):
    """The database refuses, whatever the rows hold. Nothing of the batch was written."""


class Refused(NamedTuple):
    """A row that the database takes from nobody."""

    row: Row
    reason: str


class Committer:
    """Commits batches, as patiently as ``sync.retry_*`` says."""

    def __init__(self, history: History, settings: Settings, stop: threading.Event) -> None:
        self._history = history
        self._attempts = settings.sync.retry_attempts
        self._delay = settings.sync.retry_delay_seconds
        self._stop = stop

    @property
    def is_stopping(self) -> bool:
        """Whether the current batch is to be the last."""
        return self._stop.is_set()

    def commit(self, token: int, batch: Batch) -> list[Refused]:
        """Write all of it; rows that are refused for what they hold are left out and named.

        Raises:
            DatabaseUnavailable: It was tried often enough, or work is to stop.
            FencedError: Somebody else does the work by now.
            DatabaseRefusesError: It takes no row: no right to write, no such table.
        """
        try:
            self._write(token, batch)
        except (StatementError, UnicodeEncodeError, OverflowError) as error:
            if not is_of_the_row(error) or not len(batch):
                raise DatabaseRefusesError(f"the database refused: {said(error)}") from error
            if len(batch) == 1:
                return [Refused(_only(batch), said(error))]
        else:
            return []
        # Found by halves: one row of n that is refused costs 2 log n transactions.
        return [one for half in _halves(batch) for one in self.commit(token, half)]

    def _write(self, token: int, batch: Batch) -> None:
        delay = float(self._delay)
        for left in range(self._attempts, -1, -1):
            try:
                self._history.write(token, batch)
                return
            except (DBAPIError, PoolTimeout) as error:
                if not (is_away(error) or is_in_the_way(error)):
                    raise
                if not left or self._stop.is_set():
                    raise DatabaseUnavailable(
                        f"the database did not take {len(batch)} rows: {said(error)}"
                    ) from error
                _logger.warning(
                    "the database did not take %d rows; tried again in %g s, %d times at most: %s",
                    *(len(batch), delay, left, said(error)),
                )
                self._stop.wait(delay)
                delay = min(delay * 2, _LONGEST_DELAY_SECONDS)


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    """Of at least two rows, in their order: jobs are written before their run is counted."""
    rows = [(one.name, row) for one in fields(Batch) for row in getattr(batch, one.name)]
    halves = Batch(), Batch()
    for at, (name, row) in enumerate(rows):
        getattr(halves[2 * at >= len(rows)], name).append(row)
    return halves


def _only(batch: Batch) -> Row:
    return next(row for one in fields(Batch) for row in getattr(batch, one.name))
