"""The server's part in migrating: before it answers, or as soon as the database can be reached."""

from __future__ import annotations

import logging
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.requests import Request

from jobmon.history import migrate
from jobmon.history.database import DatabaseUnavailable
from jobmon.server.endpoints import Reply
from jobmon.server.seldom import Seldom

if TYPE_CHECKING:
    from jobmon.settings import Settings

_AGAIN_SECONDS: Final = 5.0
_LOG_EVERY_SECONDS: Final = 60.0

_log: Final = logging.getLogger("jobmon.serve")


class Migration:
    """Whether the database has the tables that this jobmon needs; once it has, for good."""

    def __init__(self, settings: Settings) -> None:
        self.done = False
        self._made: list[str] = []
        self._settings = settings
        self._trouble = Seldom(_LOG_EVERY_SECONDS)

    def attempt(self) -> None:
        """Make them, or see that they are there. Without a database it stays undone.

        Raises:
            SchemaError: They are of another version, and are not to be changed or cannot be.
            SettingsError: The database's driver is not installed.
            DBAPIError: The database does not allow it.
        """
        try:
            self._made = migrate.prepare(self._settings)
        except DatabaseUnavailable as error:
            self._failed(error)
        else:
            self.done = True

    def log(self) -> None:
        """Say what was made, if anything was."""
        if self._made:
            _log.info("the history's tables are now of version %s", self._made[-1])

    def require(self) -> None:
        """Return if it is done.

        Raises:
            DatabaseUnavailable: There is nothing to read yet.
        """
        if not self.done:
            raise DatabaseUnavailable("its tables are not there yet")

    def run(self, stop: threading.Event) -> None:
        """Until it is done, or told to stop."""
        while not (self.done or stop.wait(_AGAIN_SECONDS)):
            try:
                self.attempt()
            except Exception as error:
                self._failed(error)
            else:
                self.log()

    # A coroutine, as of the other probe.
    async def ready(self, _request: Request) -> Reply:
        """``/readyz``: 503 before it is done. Whether the database answers now does not matter."""
        status = HTTPStatus.OK if self.done else HTTPStatus.SERVICE_UNAVAILABLE
        return Reply(None, status=status)

    def _failed(self, error: Exception) -> None:
        if self._trouble.is_due():
            _log.error("no history until its tables are there: %s", error)
